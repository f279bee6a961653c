"""Layer normalization, exact to second order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from maml_tf.layers.normalization.moments import (
    moments,
    require_positive_epsilon,
    standardize,
    statistics_input,
)


@keras.saving.register_keras_serializable(package="maml_tf")
class LayerNormalization(keras.layers.LayerNormalization):
    """`keras.layers.LayerNormalization` whose second derivative is exact.

    Values and first derivatives are Keras' own; see `maml_tf.layers.BatchNormalization` for what differs.

    Args:
        axis: The axis or axes to normalise over.
        epsilon: Added to the variance; positive.
        center: Whether to add a learned offset beta.
        scale: Whether to multiply by a learned gamma.
        **kwargs: Keras' other arguments (initializers, regularizers, constraints, name, dtype).

    Raises:
        TypeError: If `axis` is neither an integer nor a sequence.
        ValueError: If epsilon is not positive, an axis is given twice or `rms_scaling` is set.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.layers import LayerNormalization
    >>> LayerNormalization()(tf.constant([[1.0, 3.0]])).numpy().round(2).tolist()
    [[-1.0, 1.0]]

    Source: Ba, Kiros and Hinton, Layer Normalization, 2016, equation 4.
    """

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        **kwargs: Any,
    ):
        if kwargs.get("rms_scaling"):
            raise ValueError("Use keras.layers.RMSNormalization. Received: rms_scaling=True")
        require_positive_epsilon(epsilon)
        super().__init__(axis, epsilon, center, scale, **kwargs)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        rank = len(input_shape)
        axes = [self.axis] if isinstance(self.axis, int) else list(self.axis)
        if (
            not axes
            or any(not -rank <= axis < rank for axis in axes)
            or len({axis % rank for axis in axes}) < len(axes)
        ):
            raise ValueError(
                f"axis must name distinct axes of inputs of shape {input_shape}. Received: axis={self.axis}"
            )
        if any(input_shape[axis] is None for axis in axes):
            raise ValueError(f"Axes {axes} must have known lengths. Received: input shape {input_shape}")
        if min(axes) < 0 <= max(axes):
            # Keras sorts the numbers as they are: with mixed signs gamma's axes would be out of order.
            self.axis = [axis % rank for axis in axes]
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalises.

        Args:
            inputs: Tensor of any rank of at least 2.

        Returns:
            A tensor of the inputs' shape and the layer's compute dtype.
        """
        x = statistics_input(inputs)
        rank = len(x.shape)
        axes = [axis % rank for axis in self.axis]
        shape = [x.shape[axis] if axis in axes else 1 for axis in range(rank)]

        def broadcast(variable):
            return tf.reshape(tf.cast(tf.convert_to_tensor(variable), x.dtype), shape)

        gamma = broadcast(self.gamma) if self.scale else None
        beta = broadcast(self.beta) if self.center else None
        _, centered, variance = moments(x, axes)
        return tf.cast(standardize(centered, variance, self.epsilon, gamma, beta), self.compute_dtype)
