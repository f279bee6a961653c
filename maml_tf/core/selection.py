"""Which of a model's trainable variables the inner steps adapt; all of them are meta-trained."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

import keras

from maml_tf.core.functional import unique_names
from maml_tf.core.keras_interface import layers_of

Selection = Callable[[keras.Model], list[str]]
_register = keras.saving.register_keras_serializable(package="maml_tf")


@_register
def everything(model: keras.Model) -> list[str]:
    """Selects every trainable variable of a built model: MAML."""
    return unique_names(model)


@_register
def head(model: keras.Model) -> list[str]:
    """Selects the last layer that has trainable variables, with all layers inside it: ANIL (almost no inner loop).

    Raises:
        ValueError: If no layer has trainable variables.

    Source: Raghu et al., Rapid Learning or Feature Reuse?, 2020.
    """
    trainable = [layer for layer in _layers(model) if layer.trainable_variables]
    if not trainable:
        raise ValueError(f"Expected a trainable variable to adapt. Received: none in {model.name!r}")
    chosen = {id(variable) for variable in trainable[-1].trainable_variables}
    names = unique_names(model)
    return [name for name, variable in zip(names, model.trainable_variables, strict=True) if id(variable) in chosen]


@_register
def body(model: keras.Model) -> list[str]:
    """Selects every trainable variable except those of `head`: BOIL (body only update in the inner loop).

    The body's inner gradient goes through the head's weights: start these at random, not at zero.

    Raises:
        ValueError: If no variable is left.

    Source: Oh, Yoo, Kim and Yun, BOIL: Towards Representation Change for Few-shot Learning, 2021.

    Example:
    >>> import maml_tf
    >>> from maml_tf.models import mlp
    >>> maml_tf.body(mlp())
    ['hidden1/kernel', 'hidden1/bias', 'hidden2/kernel', 'hidden2/bias']
    """
    last = head(model)
    names = [name for name in everything(model) if name not in last]
    if not names:
        raise ValueError(f"Expected a trainable variable before the head. Received: {last} alone in {model.name!r}")
    return names


@_register
class matching:
    """Selects the trainable variables whose path matches a regular expression.

    Args:
        pattern: Regular expression, searched for anywhere in the path, such as "head|norm4".

    Raises:
        ValueError: If `pattern` is not a regular expression.

    Example:
    >>> import keras
    >>> import maml_tf
    >>> layers = [keras.layers.Dense(3, name="body"), keras.layers.Dense(1, name="head")]
    >>> model = keras.Sequential([keras.Input((2,)), *layers])
    >>> [name.split("/", 1)[1] for name in maml_tf.matching("kernel$")(model)]
    ['body/kernel', 'head/kernel']
    """

    def __init__(self, pattern: str):
        try:
            re.compile(pattern)
        except (TypeError, re.error) as error:
            raise ValueError(f"Expected a regular expression. Received: {pattern!r}: {error}") from error
        self.pattern = pattern

    def __call__(self, model: keras.Model) -> list[str]:
        """Lists the names of the trainable variables that match.

        Raises:
            ValueError: If none matches.
        """
        names = [name for name in everything(model) if re.search(self.pattern, name)]
        if not names:
            raise ValueError(
                f"Expected pattern {self.pattern!r} to match a trainable variable. Received: {everything(model)}"
            )
        return names

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"pattern": self.pattern}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> matching:
        """Makes a selection from `get_config`'s result."""
        return cls(**config)


def _layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Lists a model's layers in the order in which they were added, with nested models replaced by their layers."""
    inner = layers_of(model, include_self=False, recursive=False)
    listed = (_layers(layer) if isinstance(layer, keras.Model) else [layer] for layer in inner)
    return list(itertools.chain.from_iterable(listed))
