"""A Keras loss as the scalar loss of one task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

Loss = str | keras.losses.Loss | Callable[[Any, Any], Any]


def as_task_loss(loss: Any) -> Callable[[Any, Any], tf.Tensor]:
    """Makes a function `(y_true, y_pred) -> scalar` from whatever Keras accepts as a loss.

    The values of a task's examples are averaged, or summed where a Keras loss says reduction="sum", in the
    predictions' own precision, and at least in float32.

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
        return _SumOfLosses(tf.nest.map_structure(as_task_loss, loss))
    resolved = keras.losses.get(loss)
    if isinstance(resolved, keras.losses.Loss):
        # Loss.__call__ casts to floatx; call() keeps float64.
        reduce = tf.reduce_sum if resolved.reduction == "sum" else tf.reduce_mean
        return lambda y_true, y_pred: reduce(resolved.call(y_true, _at_least_float32(y_pred)))
    return lambda y_true, y_pred: tf.reduce_mean(resolved(y_true, _at_least_float32(y_pred)))


class _SumOfLosses:
    def __init__(self, losses: Any):
        self.losses = losses

    def __call__(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        if isinstance(self.losses, dict):
            same = isinstance(y_pred, dict) and set(self.losses) == set(y_pred)
            keys = sorted(self.losses)
        else:
            same = isinstance(y_pred, (list, tuple)) and len(self.losses) == len(y_pred)
            keys = range(len(self.losses))
        if not same:
            raise ValueError(
                f"Expected one loss for each of the model's outputs. Received: losses {self.losses!r} for outputs "
                f"{y_pred!r}"
            )
        return tf.add_n([self.losses[key](y_true[key], y_pred[key]) for key in keys])


def _at_least_float32(value: Any) -> Any:
    return tf.nest.map_structure(
        lambda leaf: tf.cast(leaf, tf.float32) if leaf.dtype in (tf.bfloat16, tf.float16) else leaf, value
    )
