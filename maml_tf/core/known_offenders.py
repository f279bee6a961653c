"""Keras layers whose second derivative is known to be wrong or missing on TensorFlow."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import NamedTuple

import keras
import tensorflow as tf

from maml_tf.core.keras_interface import layers_of

_STATISTICS = "its variance treats the mean as a constant, so second derivatives are wrong; use maml_tf.layers.{}"
_CUDNN = "cuDNN kernels have no second derivative; pass use_cudnn=False"
_INTERPOLATION = "interpolation {!r} has no second derivative"
_NORMALIZATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
)


class Offender(NamedTuple):
    """A layer and what is wrong with its second derivative.

    Attributes:
        layer: Name of the layer.
        reason: What is wrong, and what to use instead.
    """

    layer: str
    reason: str


def known_offenders(model: keras.Model) -> list[Offender]:
    """Lists the layers known to break exact meta-gradients, by looking at their classes alone.

    Args:
        model: A Keras model.

    Returns:
        An `Offender` for each such layer; empty if none is known.

    Example:
    >>> import keras
    >>> from maml_tf.core.known_offenders import known_offenders
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.LayerNormalization(name="norm")])
    >>> [offender.layer for offender in known_offenders(model)]
    ['norm']
    """
    return list(dict.fromkeys(_offenders_in(model)))


def _offenders_in(layer: keras.layers.Layer) -> Iterator[Offender]:
    reason = _reason(layer)
    if reason:
        yield Offender(layer.name, reason)
        return
    for inner in layers_of(layer, include_self=False, recursive=False):
        yield from _offenders_in(inner)


def warn_of_offenders(model: keras.Model) -> None:
    """Warns once, naming every layer known to break exact meta-gradients.

    Args:
        model: A Keras model.
    """
    offenders = known_offenders(model)
    if offenders:
        listed = "; ".join(f"{offender.layer}: {offender.reason}" for offender in offenders)
        warnings.warn(
            f"The exact meta-gradient will be wrong or unavailable through these layers: {listed}. See "
            "maml_tf.check_second_order.",
            stacklevel=3,
        )


def _reason(layer: keras.layers.Layer) -> str | None:
    for stock in _NORMALIZATIONS:
        # A subclass with a call of its own computes something else.
        if type(layer).call is stock.call:
            # A frozen BatchNormalization normalises with constants.
            if layer.trainable or stock is not keras.layers.BatchNormalization:
                return _STATISTICS.format(stock.__name__)
    if isinstance(layer, (keras.layers.UpSampling2D, keras.layers.Resizing)):
        if layer.interpolation != "nearest" or isinstance(layer, keras.layers.Resizing):
            return _INTERPOLATION.format(layer.interpolation)
    if getattr(layer, "activation", None) is keras.activations.softsign:
        return "softsign has no second derivative"
    if isinstance(layer, (keras.layers.LSTM, keras.layers.GRU)) and layer.use_cudnn is not False:
        return _CUDNN if tf.config.list_logical_devices("GPU") else None
    return None
