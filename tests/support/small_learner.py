"""A small regression learner, its data and a subclassed model: what several tests of the learner start from."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    """Draws normal numbers, float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def make_data(tasks: int = 3, shots: int = 4, queries: int = 5) -> Any:
    """Makes a meta-batch `((support_x, support_y, query_x), query_y)` of two features and one target."""
    inputs = (draw(tasks, shots, 2), draw(tasks, shots, 1, seed=1), draw(tasks, queries, 2, seed=2))
    return inputs, draw(tasks, queries, 1, seed=3)


def assert_same(result: Any, expected: Any, rtol: float = 2e-5) -> None:
    """Fails if a number of one nest differs from its like in the other."""
    for value, other in zip(tf.nest.flatten(result), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(value, other, rtol=rtol, atol=1e-6)


@keras.saving.register_keras_serializable(package="tests")
class Subclassed(keras.Model):
    """Without a `training` argument, which Keras does not ask for."""

    def __init__(self, units: int = 3, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = units
        self.hidden, self.out = keras.layers.Dense(units), keras.layers.Dense(1)

    def build(self, input_shape):
        self.hidden.build(input_shape)
        self.out.build((None, self.units))

    def call(self, x):
        return self.out(keras.ops.tanh(self.hidden(x)))

    def get_config(self):
        return {"units": self.units}
