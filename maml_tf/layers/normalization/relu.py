"""Batch normalization, ReLU and pooling as one layer: the block of the paper's convolutional networks."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from maml_tf.layers.normalization import closed_form
from maml_tf.layers.normalization.batch import BatchNormalization
from maml_tf.layers.normalization.moments import moments, standardize, statistics_input

# What this layer settles by itself.
_SETTLED = ("axis", "momentum", "scale", "batch_statistics")


@keras.saving.register_keras_serializable(package="maml_tf")
class NormalizedReLU(BatchNormalization):
    """Batch normalization by the current batch's statistics, ReLU and 2x2 maximum pooling, in one layer.

    The same function as `BatchNormalization.transductive()`, `ReLU()` and `MaxPooling2D(2)` one after the other, with
    exact first and second derivatives, in a fraction of the passes over memory:
    `y = max_window relu((x - mean(x)) / sqrt(var(x) + epsilon) + beta)`.

    Inside a `tf.function` the second derivative must be taken in the same one: TensorFlow cannot differentiate a
    custom gradient twice from outside, and says that a tensor is out of scope.

    Args:
        pool: Whether to take the maximum of each 2x2 window of a feature map.
        epsilon: Added to the variance; positive.
        **kwargs: `BatchNormalization`'s other arguments (center, initializers, name, dtype).

    Raises:
        ValueError: If an argument is out of range.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.layers import NormalizedReLU
    >>> layer = NormalizedReLU(pool=True, name="norm")
    >>> round(float(tf.squeeze(layer(tf.reshape([1.0, 1.0, 1.0, 5.0], [1, 2, 2, 1])))), 2)
    1.73
    >>> [weight.path for weight in layer.weights]
    ['norm/beta']

    Source: Section 5.2 (modules of the classification networks); Ioffe and Szegedy, Batch Normalization, 2015.
    """

    def __init__(self, pool: bool = False, epsilon: float = 1e-3, **kwargs: Any):
        settled = sorted(set(kwargs) & set(_SETTLED))
        if settled:
            raise ValueError(f"Expected arguments other than {_SETTLED}. Received: {settled}")
        super().__init__(epsilon=epsilon, scale=False, batch_statistics="always", **kwargs)
        self.pool = bool(pool)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if self.pool and (len(input_shape) != 4 or any(size is not None and size < 2 for size in input_shape[1:3])):
            raise ValueError(
                "Expected feature maps [images, height, width, channels] of at least 2 x 2 to pool. "
                f"Received: input shape {input_shape}"
            )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Normalises, cuts off below zero and pools.

        Args:
            inputs: Tensor of any rank of at least 2; [images, height, width, channels] to pool.
            training: Without effect: the statistics are the batch's in inference too.
            mask: Not supported.

        Returns:
            A tensor of the inputs' shape, height and width halved by pooling, in the layer's compute dtype.

        Raises:
            ValueError: If there is a mask.
        """
        if mask is not None:
            raise ValueError(f"Expected no mask: use BatchNormalization and ReLU. Received: mask={mask!r}")
        x = statistics_input(inputs)
        beta = tf.cast(self.beta, x.dtype) if self.center else tf.zeros([x.shape[-1]], x.dtype)
        if closed_form.suits(x, len(x.shape) - 1):
            outputs = closed_form.normalize(x, beta, self.epsilon, relu=True, pool=self.pool)
        else:
            batch = moments(x, list(range(len(x.shape) - 1)))
            outputs = tf.nn.relu(standardize(batch.centered, batch.variance, self.epsilon, None, beta))
            outputs = tf.nn.max_pool2d(outputs, 2, 2, "VALID") if self.pool else outputs
        return tf.cast(outputs, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        if not self.pool:
            return tuple(input_shape)
        images, *sizes, channels = input_shape
        return (images, *(None if size is None else size // 2 for size in sizes), channels)

    def get_config(self) -> dict[str, Any]:
        config = {key: value for key, value in super().get_config().items() if key not in _SETTLED}
        return {**config, "pool": self.pool}
