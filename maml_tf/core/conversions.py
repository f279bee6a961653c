"""Changes made to a model's layers after their construction: a description, and its application to a rebuilt model.

A layer's configuration holds its constructor's arguments. If another layer's constructor makes it, the configuration
lacks later changes, such as those by `maml_tf.exact` or Keras' `enable_lora`. The configuration of Keras' recurrent
layers also lacks `use_cudnn`.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any

import keras

from maml_tf.core.keras_interface import computing_layers, own_trainable_variables

_ACTIVATIONS = ("activation", "recurrent_activation")


def make_exact(layer: keras.layers.Layer, exact: type[keras.layers.Layer]) -> None:
    """Gives a built layer a subclass of its class that computes the same with exact second derivatives."""
    layer.__class__ = exact
    layer.was_made_exact = True


def conversions(model: keras.layers.Layer) -> dict[str, dict[str, Any]]:
    """Describes the conversions of a model's layers as values that JSON can represent.

    Args:
        model: A built model or layer.

    Returns:
        A dictionary from a layer's number in the model to those of these that apply: `exact`, the registered name of
        its class; `activation` and `recurrent_activation`, registered names of functions of `maml_tf`; `use_cudnn` if
        it is False; `lora_rank`, `lora_alpha` and `trainable`, a flag for each of its variables. Layers to which none
        applies are left out.
    """
    found = {}
    for number, layer in enumerate(computing_layers(model)):
        told: dict[str, Any] = {}
        if getattr(layer, "was_made_exact", False):
            told["exact"] = keras.saving.get_registered_name(type(layer))
        for name in _ACTIVATIONS:
            activation = vars(layer).get(name)
            if isinstance(activation, types.FunctionType) and activation.__module__.startswith("maml_tf."):
                told[name] = keras.saving.get_registered_name(activation)
        if vars(layer).get("use_cudnn") is False:
            told["use_cudnn"] = False
        if getattr(layer, "lora_enabled", False):
            told["lora_rank"] = layer.lora_rank
            if hasattr(layer, "lora_alpha"):  # Keras 3.8 does not have it.
                told["lora_alpha"] = layer.lora_alpha
            told["trainable"] = [variable.trainable for variable in own_trainable_variables(layer)]
        if told:
            found[str(number)] = told
    return found


def convert(model: keras.layers.Layer, described: Mapping[str, Mapping[str, Any]]) -> None:
    """Applies the conversions that `conversions` described to a rebuilt model; those applied already stay.

    Args:
        model: A built model or layer whose layers are those of the described one, in their order.
        described: As `conversions` returns it.
    """
    layers = computing_layers(model)
    for number, told in described.items():
        layer = layers[int(number)]
        if "exact" in told:
            make_exact(layer, keras.saving.get_registered_object(told["exact"]))
        for name in _ACTIVATIONS:
            if name in told:
                setattr(layer, name, keras.saving.get_registered_object(told[name]))
        if "use_cudnn" in told:
            layer.use_cudnn = told["use_cudnn"]
        if "lora_rank" in told:
            if not layer.lora_enabled:
                layer.enable_lora(told["lora_rank"])
            if "lora_alpha" in told:  # A layer rebuilt from its configuration uses the rank instead.
                layer.lora_alpha = told["lora_alpha"]
            for variable, trainable in zip(own_trainable_variables(layer), told["trainable"], strict=True):
                if variable.trainable != trainable:
                    variable.trainable = trainable
