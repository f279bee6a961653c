"""Group normalization, exact to second order."""

from __future__ import annotations

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
class GroupNormalization(keras.layers.GroupNormalization):
    """`keras.layers.GroupNormalization` whose second derivative is exact.

    Values and first derivatives are Keras' own; see `maml_tf.layers.BatchNormalization` for what differs.

    Args:
        groups: Number of groups the channels are divided into; -1 for one a channel (instance normalization).
        axis: The channels' axis; not the first.
        epsilon: Added to the variance; positive.
        center: Whether to add a learned offset beta.
        scale: Whether to multiply by a learned gamma.
        **kwargs: Keras' other arguments (initializers, regularizers, constraints, name, dtype).

    Raises:
        ValueError: If `groups` is not a positive number or -1, or epsilon is not positive.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.layers import GroupNormalization
    >>> GroupNormalization(groups=2)(tf.constant([[1.0, 3.0, 10.0, 20.0]])).numpy().round(2).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]

    Source: Wu and He, Group Normalization, 2018, section 3.1.
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        **kwargs: Any,
    ):
        require_positive_epsilon(epsilon)
        if groups < 1 and groups != -1:  # Keras checks it from 3.13 on.
            raise ValueError(f"groups must be positive or -1. Received: groups={groups}")
        super().__init__(groups, axis, epsilon, center, scale, **kwargs)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        rank = len(input_shape)
        if not -rank <= self.axis < rank or self.axis % rank == 0:
            raise ValueError(
                f"axis must exist in inputs of shape {input_shape} and not be the first. Received: axis={self.axis}"
            )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalises.

        Args:
            inputs: [batch, ...] of any rank of at least 2.

        Returns:
            A tensor of the inputs' shape and the layer's compute dtype.
        """
        x = statistics_input(inputs)
        rank = len(x.shape)
        axis = self.axis % rank
        group_shape = [self.groups, x.shape[axis] // self.groups]
        sizes = tf.shape(x)
        grouped = tf.reshape(x, tf.concat([sizes[:axis], group_shape, sizes[axis + 1 :]], 0))

        def broadcast(variable):
            value = tf.cast(tf.convert_to_tensor(variable), x.dtype)
            return tf.reshape(value, group_shape + [1] * (rank - 1 - axis))

        gamma = broadcast(self.gamma) if self.scale else None
        beta = broadcast(self.beta) if self.center else None
        # Everything but the batch and the groups, which stand where the channels stood.
        _, centered, variance = moments(grouped, [other for other in range(1, rank + 1) if other != axis])
        outputs = standardize(centered, variance, self.epsilon, gamma, beta)
        return tf.cast(tf.reshape(outputs, sizes), self.compute_dtype)
