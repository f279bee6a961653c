"""A Keras loss as the scalar loss of one task, which detects wrong targets."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from maml_tf.core.faults import LABEL, TARGETS, fault_of_set, first_of, no_fault
from maml_tf.core.functional import total
from maml_tf.core.keras_interface import mask_of

# Keras' losses that compare targets with predictions element by element, and would broadcast one to the other.
_ELEMENTWISE = (
    "mean_squared_error", "mean_absolute_error", "mean_absolute_percentage_error", "mean_squared_logarithmic_error",
    "cosine_similarity", "huber", "log_cosh", "hinge", "squared_hinge", "categorical_hinge", "kl_divergence", "poisson",
    "binary_crossentropy", "binary_focal_crossentropy", "categorical_crossentropy", "categorical_focal_crossentropy",
    "dice", "tversky",
)  # fmt: skip
_SPARSE = "sparse_categorical_crossentropy"
LABELS, LIKE_OUTPUTS = "labels", "like_outputs"


class TaskLoss:
    """A task's loss, a function `(y_true, y_pred) -> scalar`, that also detects wrong targets.

    Args:
        function: The loss.
        fault: A function `(y_true, y_pred) -> float64 [3]`, see `maml_tf.core.faults`; it returns None if nothing has
            to be checked in the graph.
        targets: `LABELS` if targets are integers, one for each vector of outputs; `LIKE_OUTPUTS` if they have the
            outputs' shape; None if it is not known.
    """

    def __init__(
        self,
        function: Callable[[Any, Any], tf.Tensor],
        fault: Callable[[Any, Any], tf.Tensor | None],
        targets: str | None = None,
    ):
        self._function = function
        self.fault = fault
        self.targets = targets

    def __call__(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        return self._function(y_true, y_pred)

    def checked(self, y_true: Any, y_pred: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes the loss, which is NaN if targets are wrong, and the fault, float64 [3]."""
        fault = self.fault(y_true, y_pred)
        loss = self(y_true, y_pred)
        if fault is None:
            return loss, no_fault()
        # A sum, unlike a selection, adds nothing to the gradient's graph.
        nan, zero = tf.constant(float("nan"), loss.dtype), tf.constant(0, loss.dtype)
        return loss + tf.where(fault[0] > 0, nan, zero), fault


def as_task_loss(loss: Any) -> TaskLoss:
    """Makes a function `(y_true, y_pred) -> scalar` from anything that Keras accepts as a loss.

    It averages over a task's examples, or sums with a Keras loss of reduction="sum", in the predictions' precision,
    at least float32. Values hidden by a Keras mask of the predictions, and labels of a loss's `ignore_class`, do not
    count, unless the loss is a function that reduces by itself. A single loss for several outputs applies to each.
    Keras' losses get targets of the predictions' dtype, as in Keras; functions get integer labels unchanged.

    Args:
        loss: A Keras loss name ("mse"), a `keras.losses.Loss`, a function `(y_true, y_pred)`, or for a model with
            several outputs a list or dictionary of these with the outputs' structure.

    Returns:
        A function of targets [examples, ...] and predictions [examples, ...].

    Raises:
        ValueError: If `loss` is None, or Keras has no loss of that name.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.core.task_loss import as_task_loss
    >>> float(as_task_loss("mse")(tf.constant([[1.0], [2.0]]), tf.constant([[0.0], [0.0]])))
    2.5
    """
    if loss is None:
        raise ValueError("Expected a loss: a Keras loss name, a keras.losses.Loss or a function. Received: None")
    if isinstance(loss, (list, tuple, dict)):
        several = _SumOfLosses(_for_each(as_task_loss, loss))
        return TaskLoss(several, several.fault)
    resolved = keras.losses.get(loss)
    of_one = _of_keras(resolved) if isinstance(resolved, keras.losses.Loss) else _of_function(resolved)
    sparse = _sparse_arguments(resolved)
    if sparse is not None:
        fault_of_one = functools.partial(_sparse_fault, **sparse)
        of_one = _with_labels_in_range(of_one, **sparse)
    else:
        fault_of_one = _elementwise_fault if _name(resolved) in _ELEMENTWISE else lambda y_true, y_pred: None

    def of_each(y_true: Any, y_pred: Any) -> tf.Tensor:
        if isinstance(y_pred, (list, tuple, dict)):
            return _SumOfLosses(_for_each(lambda _: loss_of_each, y_pred))(y_true, y_pred)
        _require_one_array(y_true)
        return of_one(y_true, y_pred)

    def fault(y_true: Any, y_pred: Any) -> tf.Tensor | None:
        if isinstance(y_pred, (list, tuple, dict)):
            return _SumOfLosses(_for_each(lambda _: loss_of_each, y_pred)).fault(y_true, y_pred)
        _require_one_array(y_true)
        return fault_of_one(y_true, y_pred)

    if sparse is not None:
        targets = LABELS if sparse["axis"] == -1 else None
    else:
        targets = LIKE_OUTPUTS if _name(resolved) in _ELEMENTWISE else None
    loss_of_each = TaskLoss(of_each, fault, targets)
    return loss_of_each


def wrong_label(labels: tf.Tensor, classes: int | tf.Tensor, shown: tf.Tensor | None = None) -> tf.Tensor:
    """Looks for a label that is not a whole number from 0 to `classes - 1`.

    Args:
        labels: Numbers of any shape.
        classes: Number of classes.
        shown: Boolean tensor of the labels' shape, false for labels that do not count; None if all count.

    Returns:
        A fault, float64 [3], with the greatest wrong label and the number of classes.
    """
    # These operations run once for each task, so there are as few as can be.
    labels = _widest(labels)
    wrong = ~_are_labels(labels, classes)
    if shown is not None:
        wrong &= shown
    least = tf.constant(labels.dtype.min, labels.dtype)
    label = tf.reduce_max(tf.where(wrong, labels, least))
    if labels.dtype.is_floating:  # XLA's maximum passes over NaN.
        label = tf.where(label == least, tf.constant(float("nan"), labels.dtype), label)
    return fault_of_set(LABEL, tf.reduce_any(wrong), label, classes)


def _widest(labels: Any) -> tf.Tensor:
    """Casts integers to int64, which holds every number of classes: 300 as uint8 would be 44."""
    labels = tf.convert_to_tensor(labels)
    return labels if labels.dtype.is_floating else tf.cast(labels, tf.int64)


def _are_labels(values: tf.Tensor, classes: int | tf.Tensor) -> tf.Tensor:
    whole = (values >= 0) & (values < tf.cast(classes, values.dtype))  # NaN compares as false.
    return whole & (values == tf.floor(values)) if values.dtype.is_floating else whole


def _name(loss: Any) -> str:
    """Returns the name of the function of one of Keras' own losses, and an empty string for other losses."""
    function = getattr(loss, "fn", loss)
    if isinstance(function, functools.partial):
        function = function.func
    own = getattr(function, "__module__", "").startswith("keras.")
    return getattr(function, "__name__", "") if own else ""


def _sparse_arguments(loss: Any) -> dict[str, Any] | None:
    """Returns `ignore_class` and `axis` of a loss with integer labels; None for another loss."""
    if _name(loss) != _SPARSE:
        return None
    given = loss.get_config() if isinstance(loss, keras.losses.Loss) else getattr(loss, "keywords", {})
    return {"ignore_class": given.get("ignore_class"), "axis": given.get("axis", -1)}


def _with_labels_in_range(
    loss: Callable[[Any, Any], tf.Tensor], ignore_class: int | None, axis: int
) -> Callable[[Any, Any], tf.Tensor]:
    """Makes the loss take label 0 in place of labels that are not a class, whose gradients are not finite."""

    def of_labels_in_range(y_true: Any, y_pred: tf.Tensor) -> tf.Tensor:
        y_true = _widest(y_true)
        kept = _are_labels(y_true, y_pred.shape[axis] or tf.shape(y_pred)[axis])
        if ignore_class is not None:
            kept |= y_true == tf.cast(ignore_class, y_true.dtype)
        return loss(tf.where(kept, y_true, tf.zeros([], y_true.dtype)), y_pred)

    return of_labels_in_range


def _sparse_fault(y_true: Any, y_pred: tf.Tensor, ignore_class: int | None, axis: int) -> tf.Tensor | None:
    y_true = _widest(y_true)
    if y_pred.shape.rank is None or y_true.shape.rank is None:
        return None
    if axis % y_pred.shape.rank != y_pred.shape.rank - 1:
        shapes = None
    else:
        if y_true.shape.rank == y_pred.shape.rank and y_true.shape[-1] == 1:
            y_true = tf.squeeze(y_true, axis=-1)
        shapes = _shape_fault(y_true, y_pred, y_pred.shape.rank - 1)
    shown = None if ignore_class is None else y_true != tf.cast(ignore_class, y_true.dtype)
    mask = mask_of(y_pred)
    if mask is not None and y_true.shape.rank == mask.shape.rank:
        shown = mask if shown is None else shown & mask
    classes = y_pred.shape[axis] or tf.shape(y_pred)[axis]
    labels = wrong_label(y_true, classes, shown)
    return labels if shapes is None else first_of(shapes, labels)


def _elementwise_fault(y_true: Any, y_pred: tf.Tensor) -> tf.Tensor | None:
    y_true = tf.convert_to_tensor(y_true)
    if y_pred.shape.rank is None or y_true.shape.rank is None:
        return None
    # Keras treats [examples] and [examples, 1] alike.
    if y_true.shape.rank == y_pred.shape.rank + 1 and y_true.shape[-1] == 1:
        y_true = tf.squeeze(y_true, axis=-1)
    elif y_pred.shape.rank == y_true.shape.rank + 1 and y_pred.shape[-1] == 1:
        y_pred = tf.squeeze(y_pred, axis=-1)
    return _shape_fault(y_true, y_pred, y_pred.shape.rank)


def _shape_fault(y_true: tf.Tensor, y_pred: tf.Tensor, axes: int) -> tf.Tensor | None:
    """Compares the lengths of the first axes: now if they are static, else in the graph."""
    given, expected = y_true.shape.as_list(), y_pred.shape.as_list()[:axes]
    known = zip(given, expected, strict=False)
    if len(given) != axes or any(None not in pair and pair[0] != pair[1] for pair in known):
        raise ValueError(
            f"Expected targets of shape {expected}, one for each of a task's predictions of shape "
            f"{y_pred.shape.as_list()}. Received: targets of shape {given}"
        )
    faults = [
        fault_of_set(TARGETS, tf.shape(y_true)[axis] != tf.shape(y_pred)[axis], *_lengths(y_true, y_pred, axis))
        for axis in range(axes)
        if None in (given[axis], expected[axis])
    ]
    return first_of(*faults) if faults else None


def _lengths(y_true: tf.Tensor, y_pred: tf.Tensor, axis: int) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.shape(y_true)[axis], tf.shape(y_pred)[axis]


def _of_keras(loss: keras.losses.Loss) -> Callable[[Any, Any], tf.Tensor]:
    def of_one(y_true: Any, y_pred: Any) -> tf.Tensor:
        # Loss.__call__ would cast both to floatx; this way the predictions keep float64.
        predictions = _at_least_float32(y_pred)
        values = loss.call(tf.cast(y_true, predictions.dtype), predictions)
        return _reduced(values, y_pred, total=loss.reduction == "sum")

    return of_one


def _of_function(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], tf.Tensor]:
    def of_one(y_true: Any, y_pred: Any) -> tf.Tensor:
        # As Keras does before it calls a function: [examples] and [examples, 1] would broadcast to a matrix.
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
    """Averages or adds up the values that are not hidden by the predictions' mask or the mask of `ignore_class`."""
    shown = None
    for mask in (mask_of(y_pred), mask_of(values)):
        if mask is not None and len(mask.shape) <= len(values.shape):
            ones = tf.ones([len(values.shape) - len(mask.shape)], tf.int32)
            mask = tf.broadcast_to(tf.reshape(mask, tf.concat([tf.shape(mask), ones], 0)), tf.shape(values))
            shown = mask if shown is None else shown & mask
    if shown is None:
        return tf.reduce_sum(values) if total else tf.reduce_mean(values)
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

    def fault(self, y_true: Any, y_pred: Any) -> tf.Tensor | None:
        if not (self._fits(y_true) and self._fits(y_pred)):
            return None  # The call raises the error.
        keys = self.losses if isinstance(self.losses, dict) else range(len(self.losses))
        found = [self.losses[key].fault(y_true[key], y_pred[key]) for key in keys]
        found = [fault for fault in found if fault is not None]
        return first_of(*found) if found else None

    def _fits(self, nest: Any) -> bool:
        if isinstance(self.losses, dict):
            return isinstance(nest, dict) and set(self.losses) == set(nest)
        return isinstance(nest, (list, tuple)) and len(self.losses) == len(nest)


def _for_each(function: Callable[[Any], Any], nest: Any) -> Any:
    """Applies a function to the items of the outermost list or dictionary."""
    return {key: function(nest[key]) for key in nest} if isinstance(nest, dict) else [function(item) for item in nest]


def _require_one_array(y_true: Any) -> None:
    if isinstance(y_true, dict) or (isinstance(y_true, (list, tuple)) and any(map(tf.is_tensor, y_true))):
        raise ValueError(f"Expected targets in one tensor, for the model's single output. Received: {_form(y_true)}")


def _form(nest: Any) -> str:
    if isinstance(nest, dict):
        return f"named {sorted(nest)}"
    return f"in a list of {len(nest)}" if isinstance(nest, (list, tuple)) else "in one tensor"


def _at_least_float32(value: tf.Tensor) -> tf.Tensor:
    return tf.cast(value, tf.float32) if value.dtype in (tf.bfloat16, tf.float16) else value


def _with_floats_of(predictions: tf.Tensor, y_true: Any) -> tf.Tensor:
    """Casts floating targets to the predictions' dtype; labels keep theirs."""
    y_true = tf.convert_to_tensor(y_true)
    return tf.cast(y_true, predictions.dtype) if y_true.dtype.is_floating else y_true
