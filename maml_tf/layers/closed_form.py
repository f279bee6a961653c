"""Batch normalization with ReLU and pooling, and its first and second derivatives, in few passes over memory.

A composition of TensorFlow's operations writes a feature map a dozen times up to its second derivative. The closed
forms here read and write it as rarely as possible: everything after the pooling needs only the pooled values, and XLA
merges element-wise operations. Sums run over each image first and then over images: in float32 they are about a
thousand times more accurate than those of TensorFlow's fused kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

# The smallest images x height x width for which XLA pays.
_LEAST_POSITIONS = 2000


class _Saved(NamedTuple):
    """What the derivatives reuse from the forward pass.

    Attributes:
        mean: Mean of each channel, [channels].
        scale: `(variance + epsilon)**-0.5` of each channel, [channels].
        picked: The maxima of the windows, before normalization, [images, rows, columns, channels]; None without
            pooling.
        corner: The position of each maximum in its window, 0 to 3, int8 of the same shape; None without pooling.
    """

    mean: tf.Tensor
    scale: tf.Tensor
    picked: tf.Tensor | None = None
    corner: tf.Tensor | None = None


def suits(x: tf.Tensor, axis: int) -> bool:
    """Whether `normalize` accepts a tensor.

    Args:
        x: The tensor to normalise.
        axis: The channels' axis, not negative.

    Returns:
        True for [images, height, width, channels] of static shape; only the number of images may be dynamic.
    """
    return x.shape.rank == 4 and axis == 3 and None not in x.shape[1:]


def is_large(x: tf.Tensor) -> bool:
    """Whether to compile the closed forms for a tensor with XLA.

    Args:
        x: [images, height, width, channels].

    Returns:
        False if starting XLA's program takes as long as it saves, or the number of images is dynamic: XLA would compile
        again for every new number.
    """
    return x.shape.is_fully_defined() and x.shape.num_elements() >= _LEAST_POSITIONS * x.shape[3]


def normalize(x: tf.Tensor, beta: tf.Tensor, epsilon: float, *, relu: bool = False, pool: bool = False) -> tf.Tensor:
    """Normalises each channel by the batch's mean and variance, adds an offset, applies ReLU and pools.

    `y = max_window relu((x - mean(x)) / sqrt(var(x) + epsilon) + beta)`. The maximum is taken of `x`, because it
    commutes with the non-decreasing functions that follow. If values of a window are equal, the first one gets the
    gradient, as in TensorFlow's pooling.

    Args:
        x: [images, height, width, channels], float.
        beta: Offset [channels].
        epsilon: Added to the variance.
        relu: Whether to apply ReLU.
        pool: Whether to take the maximum of each 2x2 window; an odd last row or column counts only for the
            statistics.

    Returns:
        A tensor of `x`'s shape, with pooling of half its height and width, rounded down.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.layers.closed_form import normalize
    >>> x = tf.reshape([1.0, 1.0, 1.0, 5.0], [1, 2, 2, 1])
    >>> round(float(tf.squeeze(normalize(x, tf.zeros([1]), 1e-3, relu=True, pool=True))), 2)
    1.73
    """

    @tf.custom_gradient
    def normalized(x, beta):
        outputs, saved = _compiled(_forward, x)(x, beta, epsilon, relu, pool)
        return outputs, lambda doutputs: _backward(doutputs, x, beta, saved, epsilon, relu)

    return normalized(x, beta)


def _backward(doutputs, x, beta, saved, epsilon, relu):
    # All tensors are arguments: a closure over those of another tf.function's graph could not be differentiated.
    @tf.custom_gradient
    def backward(doutputs, x, beta, *tensors):
        saved = _Saved(*tensors)
        first = _compiled(_first_derivative, x)(x, beta, saved, doutputs, relu)

        def second(dx_cotangent, dbeta_cotangent):
            cotangents = (dx_cotangent, dbeta_cotangent)
            second = _compiled(_second_derivative, x)
            to_outputs, to_x = second(x, beta, saved.corner, doutputs, cotangents, epsilon, relu)
            # Saved tensors are functions of x: the gradient of x includes their part.
            return to_outputs, to_x, *[None] * (1 + len(tensors))

        return first, second

    return backward(doutputs, x, beta, *(tensor for tensor in saved if tensor is not None))


def _forward(x, beta, epsilon, relu, pool):
    mean, scale = _statistics(x, epsilon)
    picked, corner = _maxima(x) if pool else (x, None)
    outputs = (picked - mean) * scale + beta
    saved = _Saved(mean, scale, picked, corner) if pool else _Saved(mean, scale)
    return (tf.nn.relu(outputs) if relu else outputs), saved


def _first_derivative(x, beta, saved, doutputs, relu):
    """Pulls a cotangent of the outputs back to x and beta.

    With y the normalised x, r the scale and P(v) = v - mean(v) - y * mean(v * y): dx = r * P(v), where v is the
    cotangent at the values that pass ReLU and pooling, and zero elsewhere; so means of v need only those values.
    """
    y, picked_y = _both_normalized(x, saved)
    passed = _passed(picked_y, beta, doutputs, relu)
    dbeta = _sum(passed)
    mean, mean_y = dbeta / _count(x), _sum(passed * picked_y) / _count(x)
    return saved.scale * (_spread(passed, saved, x) - mean - y * mean_y), dbeta


def _second_derivative(x, beta, corner, doutputs, cotangents, epsilon, relu):
    """Pulls cotangents u of dx and w of dbeta back to the outputs' cotangent and to x.

    P is symmetric, so v receives r * P(u) + w; the outputs' cotangent receives the part that passes. x
    receives r * P(q) through y, where q = -r * (u * mean(v * y) + v * mean(u * y)), and -r**2 * y * mean(u * P(v))
    through r, since the derivative of r is -r**2 * y / n.

    The statistics are computed again, so that TensorFlow can differentiate this function once more.
    """
    u, w = cotangents
    mean, scale = _statistics(x, epsilon)
    saved = _Saved(mean, scale) if corner is None else _Saved(mean, scale, _pick(x, corner), corner)
    count, r = _count(x), saved.scale
    y, picked_y = _both_normalized(x, saved)
    u_picked, v = _pick(u, corner), _passed(picked_y, beta, doutputs, relu)
    mean_u = _sum(u) / count
    mean_uy = _sum_over(lambda u, x: u * ((x - saved.mean) * r), u, x) / count
    mean_v, mean_vy, mean_uv = _sum(v) / count, _sum(v * picked_y) / count, _sum(u_picked * v) / count
    to_outputs = _passed(picked_y, beta, r * (u_picked - mean_u - picked_y * mean_uy) + w, relu)
    mean_q = -r * (mean_u * mean_vy + mean_v * mean_uy)
    mean_qy = -2 * r * mean_uy * mean_vy
    mean_u_projected_v = mean_uv - mean_u * mean_v - mean_uy * mean_vy
    q = -r * (u * mean_vy + _spread(v, saved, x) * mean_uy)
    return to_outputs, r * (q - mean_q - y * (mean_qy + r * mean_u_projected_v))


def _compiled(function: Callable[..., Any], x: tf.Tensor) -> Callable[..., Any]:
    return _COMPILED[function] if is_large(x) else function


_COMPILED = {
    function: tf.function(function, jit_compile=True, autograph=False)
    for function in (_forward, _first_derivative, _second_derivative)
}


def _statistics(x: tf.Tensor, epsilon: float) -> tuple[tf.Tensor, tf.Tensor]:
    mean = _sum(x) / _count(x)
    variance = _sum_over(lambda values: tf.square(values - mean), x) / _count(x)
    return mean, tf.math.rsqrt(variance + epsilon)


def _images(x: tf.Tensor) -> int | tf.Tensor:
    return tf.shape(x)[0] if x.shape[0] is None else x.shape[0]


def _count(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(_images(x) * (x.shape[1] * x.shape[2]), x.dtype)


def _sum(x: tf.Tensor) -> tf.Tensor:
    """Sums over all positions: over an image first, then over images by a product, which XLA does not merge."""
    by_image = tf.reduce_sum(tf.reshape(x, [-1, x.shape[1] * x.shape[2], x.shape[3]]), axis=1)
    return tf.reshape(tf.matmul(tf.ones([1, _images(x)], x.dtype), by_image), [x.shape[3]])


def _sum_over(function: Callable[..., tf.Tensor], x: tf.Tensor, *others: tf.Tensor) -> tf.Tensor:
    """Sums an element-wise function of maps over all positions, first over each window, which XLA can vectorize."""
    if not is_large(x):
        return _sum(function(x, *others))
    maps = (x, *others)
    rows, columns = (size // 2 * 2 for size in x.shape[1:3])
    total = _sum(tf.add_n([function(*corners) for corners in zip(*map(_corners, maps), strict=True)]))
    if rows < x.shape[1]:
        total += _sum(function(*(values[:, rows:] for values in maps)))
    if columns < x.shape[2]:
        total += _sum(function(*(values[:, :rows, columns:] for values in maps)))
    return total


def _corners(x: tf.Tensor) -> list[tf.Tensor]:
    rows, columns = (size // 2 * 2 for size in x.shape[1:3])
    return [x[:, row:rows:2, column:columns:2] for row in (0, 1) for column in (0, 1)]


def _maxima(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns each window's maximum and the number of the first corner that has it."""
    corners = _corners(x)
    maxima = tf.maximum(tf.maximum(corners[0], corners[1]), tf.maximum(corners[2], corners[3]))
    number = tf.fill(tf.shape(maxima), tf.constant(3, tf.int8))
    for corner in (2, 1, 0):
        number = tf.where(corners[corner] == maxima, tf.constant(corner, tf.int8), number)
    return maxima, number


def _both_normalized(x: tf.Tensor, saved: _Saved) -> tuple[tf.Tensor, tf.Tensor]:
    """Normalises all values, and those that the pooling picked."""
    y = (x - saved.mean) * saved.scale
    return y, (y if saved.picked is None else (saved.picked - saved.mean) * saved.scale)


def _passed(picked_y: tf.Tensor, beta: tf.Tensor, cotangent: tf.Tensor, relu: bool) -> tf.Tensor:
    """Returns the part of a cotangent that passes back through ReLU."""
    return tf.raw_ops.ReluGrad(gradients=cotangent, features=picked_y + beta) if relu else cotangent


def _spread(pooled: tf.Tensor, saved: _Saved, x: tf.Tensor) -> tf.Tensor:
    """Puts pooled values where their maxima were, and zero elsewhere."""
    if saved.corner is None:
        return pooled
    rows, columns, channels = pooled.shape[1:]
    number = tf.constant([0, 1, 2, 3], tf.int8, [1, 1, 2, 1, 2, 1])
    here, values = (tf.reshape(part, [-1, rows, 1, columns, 1, channels]) for part in (saved.corner, pooled))
    spread = tf.where(here == number, values, tf.zeros([], values.dtype))
    spread = tf.reshape(spread, [-1, 2 * rows, 2 * columns, channels])
    odd_row, odd_column = x.shape[1] - 2 * rows, x.shape[2] - 2 * columns
    return tf.pad(spread, [[0, 0], [0, odd_row], [0, odd_column], [0, 0]]) if odd_row or odd_column else spread


def _pick(values: tf.Tensor, corner: tf.Tensor | None) -> tf.Tensor:
    """Takes the values where the maxima were: the transpose of `_spread`."""
    if corner is None:
        return values
    corners = _corners(values)
    picked = corners[3]
    for number in (2, 1, 0):
        picked = tf.where(corner == tf.constant(number, tf.int8), corners[number], picked)
    return picked
