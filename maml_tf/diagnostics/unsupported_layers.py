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
_INTERPOLATION = "interpolation {!r} has no second derivative; maml_tf.layers.UpSampling2D has"
_NORMALIZATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
)


class UnsupportedLayer(NamedTuple):
    """A layer with a wrong or missing second derivative.

    Attributes:
        layer: Name of the layer.
        reason: What is wrong, and what to use instead.
    """

    layer: str
    reason: str


def unsupported_layers(model: keras.Model) -> list[UnsupportedLayer]:
    """Lists the layers known to break exact meta-gradients, only by their classes; nothing is computed.

    Args:
        model: A Keras model.

    Example:
    >>> import keras
    >>> from maml_tf.diagnostics.unsupported_layers import unsupported_layers
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.LayerNormalization(name="norm")])
    >>> [found.layer for found in unsupported_layers(model)]
    ['norm']
    """
    return list(dict.fromkeys(_unsupported_in(model)))


def _unsupported_in(layer: keras.layers.Layer) -> Iterator[UnsupportedLayer]:
    reason = _reason(layer)
    if reason:
        yield UnsupportedLayer(layer.name, reason)
        return
    for inner in layers_of(layer, include_self=False, recursive=False):
        yield from _unsupported_in(inner)


def warn_of_unsupported_layers(model: keras.Model, stacklevel: int = 2) -> None:
    """Warns once, naming every layer known to break exact meta-gradients; `stacklevel` is that of `warnings.warn`."""
    unsupported = unsupported_layers(model)
    if unsupported:
        listed = "; ".join(f"{found.layer}: {found.reason}" for found in unsupported)
        warnings.warn(
            f"The exact meta-gradient will be wrong or unavailable through these layers: {listed}. "
            "maml_tf.exact(model) returns a model with exact layers in place of those that have a counterpart; "
            "maml_tf.check_second_order(model, sample_input) measures the errors.",
            stacklevel=stacklevel,
        )


def _reason(layer: keras.layers.Layer) -> str | None:
    for stock in _NORMALIZATIONS:
        # A subclass with its own `call` computes something else.
        if type(layer).call is stock.call:
            # A frozen BatchNormalization normalises with constants, and rms_scaling uses another variance.
            frozen = stock is keras.layers.BatchNormalization and not layer.trainable
            if not frozen and not getattr(layer, "rms_scaling", False):
                return _STATISTICS.format(stock.__name__)
    upsampling = type(layer).call is keras.layers.UpSampling2D.call
    if (upsampling and layer.interpolation != "nearest") or isinstance(layer, keras.layers.Resizing):
        return _INTERPOLATION.format(layer.interpolation)
    activations = (getattr(layer, name, None) for name in ("activation", "recurrent_activation"))
    if keras.activations.softsign in activations:
        return "softsign has no second derivative; use maml_tf.layers.softsign"
    if isinstance(layer, (keras.layers.LSTM, keras.layers.GRU)) and layer.use_cudnn is not False:
        return _CUDNN if tf.config.list_logical_devices("GPU") else None
    return None
