"""Small models of every kind of class: layers in a row, subclasses that can be made again, and one that cannot."""

from __future__ import annotations

from typing import Any

import keras


def sequential(*layers: keras.layers.Layer, features: int = 3) -> keras.Sequential:
    """Makes a built model of layers in a row."""
    return keras.Sequential([keras.Input((features,)), *layers])


@keras.saving.register_keras_serializable(package="tests")
class TwoDense(keras.Model):
    """Two layers, made again from its configuration."""

    def __init__(self, units: int = 4, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = units
        self.first, self.second = keras.layers.Dense(units), keras.layers.Dense(1)

    def build(self, input_shape):
        self.first.build(input_shape)
        self.second.build((*input_shape[:-1], self.units))

    def call(self, x):
        return self.second(keras.ops.tanh(self.first(x)))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Residual(keras.Sequential):
    """Layers in a row, and code of its own."""

    def call(self, x, training=None, mask=None):
        return x + super().call(x, training=training, mask=mask)


class FixedResidual(Residual):
    """Cannot be made from its configuration, whose layers its constructor does not take."""

    def __init__(self):
        super().__init__([keras.Input((3,)), keras.layers.Dense(3)])
