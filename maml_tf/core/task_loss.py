"""A Keras loss as the scalar loss of one task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from maml_tf.core.functional import total
from maml_tf.core.keras_interface import mask_of


def as_task_loss(loss: Any) -> Callable[[Any, Any], tf.Tensor]:
    """Makes a function `(y_true, y_pred) -> scalar` from whatever Keras accepts as a loss.

    The values of a task's examples are averaged, or summed where a Keras loss says reduction="sum", in the
    predictions' own precision, and at least in float32. Where Keras gave the predictions a mask, what it hides does not
    count, unless the loss is a function that reduces by itself. One loss for several outputs counts for each. Keras'
    losses get targets of the predictions' data type, as in Keras; functions get integer labels as they are.

    Args:
        loss: A Keras loss name ("mse"), a `keras.losses.Loss`, a function `(y_true, y_pred)`, or for a model with
            several outputs a list or dictionary of these with the outputs' structure.

    Returns:
        A function of targets [examples, ...] and predictions [examples, ...].

    Raises:
        ValueError: If Keras knows no loss of that name, or none is given.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.core.task_loss import as_task_loss
    >>> float(as_task_loss("mse")(tf.constant([[1.0], [2.0]]), tf.constant([[0.0], [0.0]])))
    2.5
    """
    if loss is None:
        raise ValueError("Expected a loss: a Keras loss name, a keras.losses.Loss or a function. Received: None")
    if isinstance(loss, (list, tuple, dict)):
        return _SumOfLosses(_for_each(as_task_loss, loss))
    resolved = keras.losses.get(loss)
    of_one = _of_keras(resolved) if isinstance(resolved, keras.losses.Loss) else _of_function(resolved)

    def of_each(y_true: Any, y_pred: Any) -> tf.Tensor:
        if isinstance(y_pred, (list, tuple, dict)):
            return _SumOfLosses(_for_each(lambda _: of_each, y_pred))(y_true, y_pred)
        return of_one(y_true, y_pred)

    return of_each


def _of_keras(loss: keras.losses.Loss) -> Callable[[Any, Any], tf.Tensor]:
    def of_one(y_true: Any, y_pred: Any) -> tf.Tensor:
        # Loss.__call__ casts both to floatx; so the predictions keep float64.
        predictions = _at_least_float32(y_pred)
        values = loss.call(tf.cast(y_true, predictions.dtype), predictions)
        return _reduced(values, y_pred, total=loss.reduction == "sum")

    return of_one


def _of_function(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], tf.Tensor]:
    def of_one(y_true: Any, y_pred: Any) -> tf.Tensor:
        # As Keras does before it calls one: [examples] and [examples, 1] would be broadcast to [examples, examples].
        predictions = _at_least_float32(y_pred)
        y_true = _with_floats_of(predictions, y_true)
        ranks = len(y_true.shape), len(y_pred.shape)
        if ranks[1] == ranks[0] + 1 and y_pred.shape[-1] == 1:
            y_true = y_true[..., tf.newaxis]
        elif ranks[0] == ranks[1] + 1 and y_true.shape[-1] == 1:
            y_true = tf.squeeze(y_true, axis=-1)
        return _reduced(tf.convert_to_tensor(function(y_true, predictions)), y_pred)

    return of_one


def _reduced(values: tf.Tensor, y_pred: tf.Tensor, total: bool = False) -> tf.Tensor:
    """Averages, or adds up, the values that the predictions' mask does not hide."""
    mask = mask_of(y_pred)
    if mask is None or len(values.shape) < len(mask.shape):
        return tf.reduce_sum(values) if total else tf.reduce_mean(values)
    mask = tf.reshape(mask, tf.concat([tf.shape(mask), tf.ones([len(values.shape) - len(mask.shape)], tf.int32)], 0))
    shown = tf.broadcast_to(mask, tf.shape(values))
    added = tf.reduce_sum(tf.where(shown, values, tf.zeros_like(values)))
    return added if total else tf.math.divide_no_nan(added, tf.reduce_sum(tf.cast(shown, values.dtype)))


class _SumOfLosses:
    def __init__(self, losses: Any):
        self.losses = losses

    def __call__(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        keys = sorted(self.losses) if isinstance(self.losses, dict) else range(len(self.losses))
        for what, nest in (("outputs", y_pred), ("targets", y_true)):
            if not self._fits(nest):
                raise ValueError(
                    "Expected one loss for each of the model's outputs, and targets for each. "
                    f"Received: losses {_form(self.losses)} for {what} {_form(nest)}"
                )
        return total([self.losses[key](y_true[key], y_pred[key]) for key in keys])

    def _fits(self, nest: Any) -> bool:
        if isinstance(self.losses, dict):
            return isinstance(nest, dict) and set(self.losses) == set(nest)
        return isinstance(nest, (list, tuple)) and len(self.losses) == len(nest)


def _for_each(function: Callable[[Any], Any], nest: Any) -> Any:
    """Maps the outermost list or dictionary alone."""
    return {key: function(nest[key]) for key in nest} if isinstance(nest, dict) else [function(item) for item in nest]


def _form(nest: Any) -> str:
    if isinstance(nest, dict):
        return f"named {sorted(nest)}"
    return f"in a list of {len(nest)}" if isinstance(nest, (list, tuple)) else "in one tensor"


def _at_least_float32(value: tf.Tensor) -> tf.Tensor:
    return tf.cast(value, tf.float32) if value.dtype in (tf.bfloat16, tf.float16) else value


def _with_floats_of(predictions: tf.Tensor, y_true: Any) -> tf.Tensor:
    """Casts targets that are floating to the predictions' data type; labels keep theirs."""
    y_true = tf.convert_to_tensor(y_true)
    return tf.cast(y_true, predictions.dtype) if y_true.dtype.is_floating else y_true
