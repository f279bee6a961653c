"""DropBlock: dropout of whole squares of feature maps."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from maml_tf.checks import number, whole_number


@keras.saving.register_keras_serializable(package="maml_tf")
class DropBlock(keras.layers.Layer):
    """Sets squares of feature maps to zero in training, and scales the rest so that the expected sum stays the same.

    A position around which a square of side s fits is the centre of a square with probability
    `gamma = rate / s^2 * (height * width) / ((height - s + 1) * (width - s + 1))`, in each map of each example. The
    result is `x * m * count(m) / sum(m)` with the mask m. Inner steps call a model with training=True, so each step
    draws new squares.

    Args:
        rate: Fraction of the positions to drop, from 0 to less than 1.
        block_size: Side of a square in positions; on a smaller map, the side of the map.
        seed: Seed of the squares.
        **kwargs: Keras' other arguments.

    Raises:
        ValueError: If a number is out of range.

    Source: Ghiasi, Lin and Le, DropBlock, 2018, Algorithm 1.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.layers import DropBlock
    >>> dropped = DropBlock(0.5, block_size=2, seed=1)(tf.ones([8, 6, 6, 4]), training=True)
    >>> bool(tf.abs(tf.reduce_mean(dropped) - 1) < 0.01)
    True
    """

    def __init__(self, rate: float, block_size: int = 5, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate = number("rate", rate, minimum=0, maximum=1)
        if self.rate == 1:
            raise ValueError(f"Expected rate to be less than 1. Received: rate={rate}")
        self.block_size, self.seed = whole_number("block_size", block_size, minimum=1), seed
        self.seed_generator = keras.random.SeedGenerator(seed) if self.rate else None
        self.supports_masking = True
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Drops squares of [batch, height, width, channels]."""
        if not (training and self.rate):
            return inputs
        height, width = inputs.shape[1:3]
        side = min(self.block_size, height, width)
        room = [height - side + 1, width - side + 1]
        gamma = self.rate / side**2 * (height * width) / (room[0] * room[1])
        shape = [tf.shape(inputs)[0], *room, inputs.shape[3]]
        centres = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator) < gamma
        before = (side - 1) // 2
        around = [[before, height - room[0] - before], [before, width - room[1] - before]]
        centres = tf.pad(tf.cast(centres, tf.float32), [[0, 0], *around, [0, 0]])
        # Pooling extends each centre to its square.
        padded = tf.pad(centres, [[0, 0], *[[side - 1 - before, before]] * 2, [0, 0]])
        kept = 1 - tf.nn.max_pool2d(padded, side, 1, "VALID")
        scale = tf.cast(tf.size(kept), tf.float32) / tf.maximum(tf.reduce_sum(kept), 1)
        return inputs * tf.cast(kept * scale, inputs.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "block_size": self.block_size, "seed": self.seed}
