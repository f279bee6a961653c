"""Mean, centred values and variance, differentiable any number of times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import keras
import tensorflow as tf


class Moments(NamedTuple):
    """Statistics over some axes, which keep length 1.

    Attributes:
        mean: The mean.
        centered: The input less its mean, of the input's shape.
        variance: The mean of `centered` squared.
    """

    mean: tf.Tensor
    centered: tf.Tensor
    variance: tf.Tensor


def moments(x: tf.Tensor, axes: Sequence[int]) -> Moments:
    """Mean and variance in two passes, `mean((x - mean(x))**2)`.

    `tf.nn.moments` computes the same numbers but stops the gradient at the mean inside the variance. That
    drops a term which is zero in the first derivative, since the centred values sum to zero, and is not zero
    in the second.

    Args:
        x: Floating-point tensor of any shape.
        axes: The axes to average over.

    Returns:
        The `Moments`.
    """
    mean = tf.reduce_mean(x, axes, keepdims=True)
    centered = x - mean
    return Moments(mean, centered, tf.reduce_mean(tf.square(centered), axes, keepdims=True))


def masked_moments(x: tf.Tensor, axes: Sequence[int], mask: tf.Tensor) -> Moments:
    """Mean and variance over the positions a mask keeps, as in `keras.layers.BatchNormalization`.

    Args:
        x: Floating-point tensor of any shape.
        axes: The axes to average over.
        mask: Boolean tensor of `x`'s shape without its last axis; true where a position counts.

    Returns:
        The `Moments`. Positions the mask leaves out are centred too.
    """
    keep = tf.broadcast_to(tf.cast(mask, tf.bool)[..., tf.newaxis], tf.shape(x))
    # Keras' own guard against an empty mask, so that the values agree with Keras' layer.
    count = tf.reduce_sum(tf.cast(keep, x.dtype), axes, keepdims=True) + keras.config.epsilon()
    zeros = tf.zeros_like(x)
    mean = tf.reduce_sum(tf.where(keep, x, zeros), axes, keepdims=True) / count
    centered = x - mean
    return Moments(
        mean, centered, tf.reduce_sum(tf.square(tf.where(keep, centered, zeros)), axes, keepdims=True) / count
    )


def standardize(
    centered: tf.Tensor, variance: tf.Tensor, epsilon: float, gamma: tf.Tensor | None, beta: tf.Tensor | None
) -> tf.Tensor:
    """`gamma * centered / sqrt(variance + epsilon) + beta`.

    Args:
        centered: Values less their mean.
        variance: Their variance, broadcastable to `centered`.
        epsilon: Added to the variance.
        gamma: Scale, broadcastable to `centered`, or None for 1.
        beta: Offset, broadcastable to `centered`, or None for 0.

    Returns:
        A tensor of `centered`'s shape.
    """
    # The scale joins the small factor, so that the large tensor is multiplied once.
    factor = tf.math.rsqrt(variance + epsilon)
    if gamma is not None:
        factor *= gamma
    outputs = centered * factor
    return outputs if beta is None else outputs + beta


def statistics_input(inputs: tf.Tensor) -> tf.Tensor:
    """Casts half precision to float32: sums over a batch neither overflow there nor lose their low bits.

    Args:
        inputs: Any float tensor.

    Returns:
        The inputs, at least in float32.
    """
    inputs = tf.convert_to_tensor(inputs)
    return tf.cast(inputs, keras.backend.result_type(inputs.dtype.name, "float32"))


def require_positive_epsilon(epsilon: float) -> None:
    """Raises a ValueError unless epsilon is positive: `rsqrt` has no finite derivative at a variance of 0.

    Args:
        epsilon: What is added to the variance.

    Raises:
        ValueError: If it is not positive.
    """
    if not epsilon > 0:
        raise ValueError(f"epsilon must be positive. Received: epsilon={epsilon!r}")
