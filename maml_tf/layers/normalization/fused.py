"""Batch normalization of large feature maps by TensorFlow's fused kernels, with its own second derivative."""

from __future__ import annotations

import tensorflow as tf

# On a CPU the fused kernels win from about 20 x 20 positions an image on (a quarter to a third of a whole
# exact meta-step on 84 x 84 images) and lose on the small maps that few-shot networks end in. Their sums
# are less accurate, by about one decimal digit.
_LEAST_POSITIONS = 400
# Smaller ones are refused by cuDNN.
_LEAST_EPSILON = 1.001e-5
_AXES = (0, 1, 2)


def fused_suits(x: tf.Tensor, axis: int, epsilon: float) -> bool:
    """Whether the fused kernels can normalise `x`, and are the faster way to.

    Args:
        x: The tensor to normalise.
        axis: The channels' axis, not negative.
        epsilon: Added to the variance.

    Returns:
        True for float32 [images, height, width, channels] with a known and large enough height x width.
    """
    if x.dtype != tf.float32 or x.shape.rank != 4 or axis != 3 or epsilon < _LEAST_EPSILON:
        return False
    height, width = x.shape[1:3]
    return height is not None and width is not None and height * width >= _LEAST_POSITIONS


def fused_batch_normalization(x: tf.Tensor, beta: tf.Tensor | None, epsilon: float) -> tf.Tensor:
    """Normalises each channel by the batch's mean and variance, and adds an offset.

    The value and the first derivative are one kernel each. TensorFlow's derivative of the second kernel is a
    long graph; the closed form below is the same function in fewer passes over memory.

    Args:
        x: [images, height, width, channels], float32.
        beta: Offset [channels], or None for 0.
        epsilon: Added to the variance.

    Returns:
        A tensor of `x`'s shape.
    """
    ones = tf.ones([tf.shape(x)[3]], x.dtype)
    nothing = tf.zeros([0], x.dtype)

    @tf.custom_gradient
    def normalize(x, beta):
        y, _, _, *reserved = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=ones, offset=beta, mean=nothing, variance=nothing, epsilon=epsilon, is_training=True
        )

        @tf.custom_gradient
        def backward(dy, x):
            dx, _, dbeta, _, _ = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=dy,
                x=x,
                scale=ones,
                reserve_space_1=reserved[0],
                reserve_space_2=reserved[1],
                reserve_space_3=reserved[2],
                epsilon=epsilon,
                is_training=True,
            )
            return (dx, dbeta), lambda ddx, ddbeta: _derivative_of_backward(x, dy, ddx, ddbeta, epsilon)

        return y, lambda dy: backward(dy, x)

    return normalize(x, tf.zeros_like(ones) if beta is None else beta)


def _derivative_of_backward(x, dy, u, ubeta, epsilon):
    """Pulls cotangents of (dx, dbeta) back to dy and x.

    With y = (x - mean(x)) * r, r = (var(x) + epsilon)**-0.5 and P(v) = v - mean(v) - y * mean(v * y), the
    first derivative is dx = r * P(dy) and dbeta = sum(dy). P is symmetric, so dy receives r * P(u) + ubeta.
    x receives r * P(q) through y, where q = -r * (u * mean(dy * y) + dy * mean(u * y)), and
    -r**2 * y * mean(u * P(dy)) through r, since the derivative of r is -r**2 * y / n.
    """
    centered = x - tf.reduce_mean(x, _AXES)
    r = tf.math.rsqrt(tf.reduce_mean(tf.square(centered), _AXES) + epsilon)
    y = centered * r
    dy_y, u_y = tf.reduce_mean(dy * y, _AXES), tf.reduce_mean(u * y, _AXES)
    projected_dy = dy - tf.reduce_mean(dy, _AXES) - y * dy_y
    projected_u = u - tf.reduce_mean(u, _AXES) - y * u_y
    q = u * (-r * dy_y) - dy * (r * u_y)
    q_y = tf.reduce_mean(q * y, _AXES) + r * tf.reduce_mean(u * projected_dy, _AXES)
    return projected_u * r + ubeta, (q - tf.reduce_mean(q, _AXES) - y * q_y) * r
