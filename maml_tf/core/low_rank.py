"""Low-rank adaptation (LoRA) with Keras' own layers, whose meta-learned factors survive copies and files."""

from __future__ import annotations

import functools
import re
from collections.abc import MutableMapping
from typing import Any

import keras
import numpy as np

from maml_tf.checks import flag, whole_number
from maml_tf.core.clone import clone
from maml_tf.core.keras_interface import layers_of, own_trainable_variables, own_variables


def lora(model: keras.Model, rank: int, pattern: str = "", *, train_base: bool = False) -> keras.Model:
    """Copies a model with a low-rank part, `kernel + A B`, in the layers whose path matches a pattern.

    `MAML(lora(model, 4), ..., adapted=maml_tf.matching("lora"))` adapts only A and B. This calls Keras' `enable_lora`
    on every matching Dense, EinsumDense, Embedding and convolution, also inside MultiHeadAttention and other layers.
    B starts at zero, so that the outputs do not change.

    Args:
        model: A built Keras model that can be rebuilt from its configuration; it stays as it is.
        rank: The number of columns of A, and of rows of B.
        pattern: Regular expression, searched for anywhere in a layer's path, such as "query|value".
        train_base: Whether the kernels and embeddings stay trainable, and so are meta-learned. By default they are
            frozen, as in Keras. All other variables stay as they are.

    Returns:
        A model of the same class that shares no variable with `model`.

    Raises:
        TypeError: If the model cannot be rebuilt from its configuration, or an argument has the wrong type.
        ValueError: If no layer matches, one already has a low-rank part, or `pattern` is not a regular expression.

    Example:
    >>> import keras
    >>> import maml_tf
    >>> layers = [keras.layers.Dense(8, "relu", name="body"), keras.layers.Dense(3, name="head")]
    >>> model = maml_tf.lora(keras.Sequential([keras.Input((4,)), *layers]), rank=2, pattern="body")
    >>> [name.split("/", 1)[1] for name in maml_tf.matching("lora")(model)]
    ['body/lora_kernel_a', 'body/lora_kernel_b']

    Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2021, equation 3.
    """
    rank, train_base = whole_number("rank", rank, minimum=1), flag("train_base", train_base)
    copy = clone(model)
    able = [layer for layer in layers_of(copy) if hasattr(layer, "enable_lora") and layer.built]
    try:
        chosen = [layer for layer in able if re.search(pattern, layer.path)]
    except (TypeError, re.error) as error:
        raise ValueError(f"Expected a regular expression. Received: {pattern!r}: {error}") from error
    if not chosen:
        raise ValueError(
            f"Expected pattern {pattern!r} to match a layer that can have a low-rank part. "
            f"Received: {[layer.path for layer in able]}"
        )
    for layer in chosen:
        trainable = [variable for variable in own_trainable_variables(layer) if variable.trainable]
        try:
            layer.enable_lora(rank)
        except ValueError as error:
            raise ValueError(
                f"Expected layers that can take a low-rank part. Received: {layer.path}: {error}"
            ) from error
        for variable in trainable if train_base else ():
            variable.trainable = True
    return copy


def keep_factors(model: keras.Model) -> None:
    """Makes layers with a low-rank part save and load it.

    Keras saves the kernel with the low-rank part added, and sets both factors to zero when it loads. The function is
    the same, but the gradients of both factors stay zero from then on. The file keeps what Keras saves, so that Keras
    can read it.

    Args:
        model: A built model.

    Raises:
        ValueError: If both factors of a layer are zero.
    """
    dead = []
    for layer in layers_of(model):
        if getattr(layer, "lora_enabled", False):
            for name, function in (("save_own_variables", _save), ("load_own_variables", _load)):
                object.__setattr__(layer, name, functools.partial(function, layer))
            if not any(np.any(factor.numpy()) for factor in _factors(layer)):
                dead.append(layer.path)
    if dead:
        raise ValueError(
            "Expected low-rank factors that can learn: load a file before enable_lora, or assign one factor. "
            f"Received: factors that are both zero, as Keras loads them, in {dead}"
        )


def _save(layer: keras.layers.Layer, store: MutableMapping[str, Any]) -> None:
    type(layer).save_own_variables(layer, store)
    for number, variable in enumerate(own_variables(layer)):
        store[f"lora_{number}"] = variable


def _load(layer: keras.layers.Layer, store: MutableMapping[str, Any]) -> None:
    first_factor = _factors(layer)[0]
    before = first_factor.numpy()
    type(layer).load_own_variables(layer, store)
    if "lora_0" in set(store.keys()):
        for number, variable in enumerate(own_variables(layer)):
            variable.assign(store[f"lora_{number}"])
    else:  # A file of Keras sets both to zero; zero in one of them is enough for a product of zero.
        first_factor.assign(before)


def _factors(layer: keras.layers.Layer) -> list[keras.Variable]:
    return [variable for variable in own_variables(layer) if variable.name.startswith("lora_")]
