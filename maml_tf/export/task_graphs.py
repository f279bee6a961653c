"""What every export format holds: adaptation to one task and prediction, as functions of a flat vector of weights.

The weights of a task are what adaptation changes: the parameters that adapt, and state such as moving statistics, but
not random seeds. A selection such as `maml_tf.head` makes them few. All other values are exported with the functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf


class Part(NamedTuple):
    """One tensor of a task's weights.

    Attributes:
        name: The variable's path; that of a state variable begins with "state/".
        shape: Its shape.
        dtype: Its data type.
    """

    name: str
    shape: tuple[int, ...]
    dtype: tf.DType


class Adapted(NamedTuple):
    """The result of an adaptation.

    Attributes:
        weights: The adapted weights, a tensor for each part.
        losses: The loss before each step, [steps].
        fault: The first fault of the examples, float64 [6]; see `maml_tf.core.faults.first_fault`.
    """

    weights: list[tf.Tensor]
    losses: tf.Tensor
    fault: tf.Tensor


class TaskGraphs:
    """Adaptation and prediction of one task, as pure functions of its weights.

    Attributes:
        parts: The tensors that the weights consist of.
        support: The arguments of `adapt` without the number, a `tf.TensorSpec` for each name, in order.
        query: The arguments of `predict` without the weights, likewise.
        number: Name of the last argument of `adapt`.
        continues: Whether `adapt` starts from the weights that it is given, instead of the meta-learned ones.
    """

    parts: list[Part]
    support: dict[str, tf.TensorSpec]
    query: dict[str, tf.TensorSpec]
    number = "steps"
    continues = False

    @property
    def size(self) -> int:
        """The length of the flat vector of weights."""
        return sum(tf.TensorShape(part.shape).num_elements() for part in self.parts)

    @property
    def dtype(self) -> tf.DType:
        """Data type of the flat vector: the widest of the parts' data types, at least float32."""
        return tf.as_dtype(keras.backend.result_type("float32", *(part.dtype.name for part in self.parts)))

    def variables(self) -> list[tf.Variable]:
        """Lists the variables that the functions read."""
        raise NotImplementedError

    def layers(self) -> list[str]:
        """Lists the names of the model's layers."""
        raise NotImplementedError

    def frozen(self) -> list[str]:
        """Lists the names of the parameters that do not adapt."""
        raise NotImplementedError

    def initial(self) -> list[tf.Tensor]:
        """Reads the meta-learned weights."""
        raise NotImplementedError

    def adapt(self, weights: Sequence[tf.Tensor], support: dict[str, tf.Tensor], number: tf.Tensor) -> Adapted:
        """Adapts to one task."""
        raise NotImplementedError

    def predict(self, weights: Sequence[tf.Tensor], query: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Predicts with a task's weights; outputs are NaN if a weight is not finite or the example contains NaN."""
        raise NotImplementedError

    def flat(self, weights: Sequence[tf.Tensor]) -> tf.Tensor:
        """Joins weights into one vector [size]."""
        return tf.concat([tf.reshape(tf.cast(weight, self.dtype), [-1]) for weight in weights], axis=0)

    def unflat(self, vector: tf.Tensor) -> list[tf.Tensor]:
        """Splits a vector [size] into parts; if one number is not finite, all floating parts become NaN."""
        finite = tf.reduce_all(tf.math.is_finite(vector))
        pieces = tf.split(vector, [tf.TensorShape(part.shape).num_elements() for part in self.parts])
        weights = []
        for piece, part in zip(pieces, self.parts, strict=True):
            wrong = float("nan") if part.dtype.is_floating else 0.0
            piece = tf.where(finite, piece, tf.constant(wrong, piece.dtype))
            weights.append(tf.cast(tf.reshape(piece, part.shape), part.dtype))
        return weights


def named(prefix: str, nest: Any) -> dict[str, Any]:
    """Names the leaves of a nest: `prefix` for a single leaf, `prefix_0` or `prefix_key` in a list or dictionary."""
    if isinstance(nest, dict):
        items = [(f"{prefix}_{key}", value) for key, value in nest.items()]
    elif isinstance(nest, (list, tuple)):
        items = [(f"{prefix}_{index}", value) for index, value in enumerate(nest)]
    else:
        return {prefix: nest}
    return {name: leaf for part, value in items for name, leaf in named(part, value).items()}


def unnamed(prefix: str, like: Any, values: dict[str, Any]) -> Any:
    """Puts named leaves into the structure of a nest: the inverse of `named`."""
    if isinstance(like, dict):
        return {key: unnamed(f"{prefix}_{key}", value, values) for key, value in like.items()}
    if isinstance(like, (list, tuple)):
        parts = [unnamed(f"{prefix}_{index}", value, values) for index, value in enumerate(like)]
        return type(like)(*parts) if hasattr(like, "_fields") else type(like)(parts)
    return values[prefix]
