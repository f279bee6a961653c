"""ContextVector: free parameters joined to a network's input, so that adapting them alone changes its outputs."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from maml_tf.checks import flag, whole_number


@keras.saving.register_keras_serializable(package="maml_tf")
class ContextVector(keras.layers.Layer):
    """Concatenates free parameters z to every example, along the last axis: `[x, z]`.

    The baseline of Appendix C.2 adapts only z, `maml_tf.MAML(..., adapted=maml_tf.matching("context_vector"))`, and
    meta-learns z's initial value together with the network.

    Args:
        size: Number of parameters. For images, number of channels with the same values at every position.
        per_position: Whether images get different parameters at every position, [height, width, size]. Batch
            normalization by the batch's statistics cancels a channel that is the same everywhere, except at padded
            borders.
        initializer: Initializer of the parameters.
        **kwargs: Keras' other arguments.

    Raises:
        ValueError: If `size` is not a positive whole number.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.layers import ContextVector
    >>> ContextVector(2)(tf.ones([5, 28, 28, 1])).shape
    TensorShape([5, 28, 28, 3])

    Source: Finn, Abbeel and Levine (2017), Appendix C.2.
    """

    def __init__(
        self, size: int, per_position: bool = False, initializer: str | keras.Initializer = "zeros", **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.size = whole_number("size", size, minimum=1)
        self.per_position = flag("per_position", per_position)
        self.initializer = keras.initializers.get(initializer)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        positions = tuple(input_shape[1:-1])
        if self.per_position and None in positions:
            raise ValueError(f"Expected inputs of a known size for per_position=True. Received: shape {input_shape}")
        shape = (*(positions if self.per_position else (1,) * len(positions)), self.size)
        self.context = self.add_weight(name="context", shape=shape, initializer=self.initializer)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Joins the parameters to inputs [batch, features] or [batch, ..., channels]."""
        shape = tf.concat([tf.shape(inputs)[:-1], [self.size]], axis=0)
        context = tf.broadcast_to(self.context, shape)
        return tf.concat([inputs, context], axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], input_shape[-1] + self.size)

    def get_config(self) -> dict[str, Any]:
        initializer = keras.initializers.serialize(self.initializer)
        own = {"size": self.size, "per_position": self.per_position, "initializer": initializer}
        return {**super().get_config(), **own}
