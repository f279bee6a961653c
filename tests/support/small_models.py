"""Small models of layers in a row: plain, of a subclass, and of one that cannot be made again."""

from __future__ import annotations

import keras


def sequential(*layers: keras.layers.Layer, features: int = 3) -> keras.Sequential:
    """Makes a built model of layers in a row."""
    return keras.Sequential([keras.Input((features,)), *layers])


class Residual(keras.Sequential):
    """Layers in a row, and code of its own."""

    def call(self, x, training=None, mask=None):
        return x + super().call(x, training=training, mask=mask)


class FixedResidual(Residual):
    """Cannot be made from its configuration, whose layers its constructor does not take."""

    def __init__(self):
        super().__init__([keras.Input((3,)), keras.layers.Dense(3)])
