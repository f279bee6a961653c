"""Checks of what users pass as episodes, with messages that say what was expected and received."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from maml_tf.core.faults import EXAMPLES, TASKS, fault_of_set

_FORM = "((support_x, support_y, query_x), query_y), each with a leading task axis"


def check_data(data: Any) -> Any:
    """Checks a meta-batch.

    Args:
        data: `((support_x, support_y, query_x), query_y)`.

    Returns:
        The same, as tensors.

    Raises:
        ValueError: If it has another form, or its parts do not fit together.
    """
    if not (isinstance(data, (tuple, list)) and len(data) == 2):
        raise ValueError(f"Expected data of the form {_FORM}. Received: {_describe(data)}")
    if data[1] is None:
        raise ValueError(f"Expected data of the form {_FORM}. Received: no query_y")
    inputs = check_inputs(data[0])
    query_y = as_tensors(data[1])
    _check_examples("query", inputs[2], query_y, axis=1)
    return inputs, query_y


def check_inputs(inputs: Any) -> Any:
    """Checks a learner's inputs.

    Args:
        inputs: `(support_x, support_y, query_x)`, each with a leading task axis.

    Returns:
        The same, as tensors.

    Raises:
        ValueError: If it has another form, is empty, or its parts do not fit together.
    """
    if not (isinstance(inputs, (tuple, list)) and len(inputs) == 3):
        raise ValueError(f"Expected inputs (support_x, support_y, query_x). Received: {_describe(inputs)}")
    support_x, support_y, query_x = inputs = tuple(as_tensors(part) for part in inputs)
    _check_examples("support", support_x, support_y, axis=1)
    tasks = {leaf.shape[0] for leaf in tf.nest.flatten((support_x, support_y, query_x))} - {None}
    if len(tasks) > 1 or 0 in tasks:
        raise ValueError(
            "Expected support and query of the same number of tasks, at least 1. "
            f"Received: support_x {_describe(support_x)}, query_x {_describe(query_x)}"
        )
    return inputs


def check_support(support_x: Any, support_y: Any) -> tuple[Any, Any]:
    """Checks one task's support set, without a task axis.

    Args:
        support_x: [support examples, ...].
        support_y: [support examples, ...].

    Returns:
        Both, as tensors.

    Raises:
        ValueError: If it is empty or does not fit together.
    """
    support = as_tensors(support_x), as_tensors(support_y)
    _check_examples("support", *support, axis=0)
    return support


def as_tensors(nest: Any) -> Any:
    """Turns a nest of arrays of numbers into one of tensors; a list of plain numbers, or of such lists, is one array.

    Raises:
        ValueError: If an array holds no real numbers, or is none.
    """
    if isinstance(nest, list) and all(isinstance(leaf, (int, float)) for leaf in tf.nest.flatten(nest)):
        return _as_tensor(nest)
    if isinstance(nest, dict):
        return {key: as_tensors(value) for key, value in nest.items()}
    if isinstance(nest, (list, tuple)):
        parts = [as_tensors(part) for part in nest]
        return type(nest)(*parts) if hasattr(nest, "_fields") else type(nest)(parts)
    return tf.nest.map_structure(_as_tensor, nest)


def _as_tensor(array: Any) -> tf.Tensor:
    try:
        tensor = tf.convert_to_tensor(array)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Expected arrays of numbers. Received: {_describe(array)}: {error}") from None
    if tensor.dtype.is_complex or not (tensor.dtype.is_floating or tensor.dtype.is_integer or tensor.dtype.is_bool):
        raise ValueError(f"Expected arrays of real numbers. Received: {_describe(tensor)} of {tensor.dtype.name}")
    return tensor


def fitted(inputs: Any, query_y: Any = None) -> tuple[Any, Any, list[tf.Tensor]]:
    """Compares the sizes that are known only when a graph runs; those known before are checked by `check_data`.

    Args:
        inputs: `(support_x, support_y, query_x)`, tensors.
        query_y: The query set's targets, or None.

    Returns:
        The inputs and the targets, cut to the least number of tasks and of a set's examples, lest an operation fails
        before the fault is told; and the faults as `maml_tf.core.faults.first_fault` takes them, none where every size
        is known.
    """
    support_x, support_y, query_x = inputs
    support, query = (support_x, support_y), ((query_x,) if query_y is None else (query_x, query_y))
    (support, query), faults = _of_one_length(TASKS, 0, (support, query))
    support, of_support = _of_one_length(EXAMPLES, 1, support)
    query, of_query = _of_one_length(EXAMPLES, 1, query)
    return (*support, query[0]), (None if query_y is None else query[1]), [*faults, *of_support, *of_query]


def _of_one_length(kind: int, axis: int, nest: Any) -> tuple[Any, list[tf.Tensor]]:
    """Cuts an axis to its least length, and returns the faults of the leaves that are of others."""
    leaves = tf.nest.flatten(nest)
    if all(leaf.shape.rank is not None and leaf.shape[axis] is not None for leaf in leaves):
        return nest, []
    lengths = [tf.shape(leaf)[axis] for leaf in leaves]
    # A meta-batch may be without tasks, a task not without examples.
    empty = (lengths[0] == 0) & (tf.shape(leaves[0])[0] > 0) if axis else tf.constant(False)
    faults = [
        fault_of_set(kind, (lengths[0] != other) | empty, other, lengths[0]) for other in (lengths[1:] or lengths)
    ]
    least = tf.reduce_min(tf.stack(lengths))
    if not axis:
        return tf.nest.map_structure(lambda leaf: leaf[:least], nest), faults

    def cut(leaf: tf.Tensor) -> tf.Tensor:
        # Where there is no example, one of zeros: merged operations fail on none.
        shape = tf.shape(leaf)
        zeros = tf.zeros(tf.concat([shape[:1], [1 - tf.minimum(least, 1)], shape[2:]], axis=0), leaf.dtype)
        return tf.ensure_shape(tf.concat([leaf[:, :least], zeros], axis=1), [leaf.shape[0], None, *leaf.shape[2:]])

    return tf.nest.map_structure(cut, nest), faults


def without_sample_weight(data: Any) -> Any:
    """Checks that Keras' data of a step hold no sample weights.

    Args:
        data: What Keras passes to `train_step`.

    Returns:
        `((support_x, support_y, query_x), query_y)`.

    Raises:
        ValueError: If there are sample weights.
    """
    inputs, targets, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if sample_weight is not None:
        raise ValueError("Expected data ((support_x, support_y, query_x), query_y). Received: sample weights too")
    return inputs, targets


def _check_examples(kind: str, inputs: Any, targets: Any, axis: int) -> None:
    leaves = tf.nest.flatten((inputs, targets))
    if any(leaf.shape.rank is not None and leaf.shape.rank <= axis for leaf in leaves):
        raise ValueError(
            f"Expected {kind} arrays with axes {'[tasks, examples, ...]' if axis else '[examples, ...]'}. "
            f"Received: {kind}_x {_describe(inputs)}, {kind}_y {_describe(targets)}"
        )
    counts = {leaf.shape[axis] for leaf in leaves} - {None}
    if len(counts) > 1 or 0 in counts:
        raise ValueError(
            f"Expected as many {kind} targets as {kind} inputs, at least 1. "
            f"Received: {kind}_x {_describe(inputs)}, {kind}_y {_describe(targets)}"
        )
    if axis == 1 and len({leaf.shape[0] for leaf in leaves} - {None}) > 1:
        raise ValueError(
            f"Expected {kind} inputs and targets of the same number of tasks. "
            f"Received: {kind}_x {_describe(inputs)}, {kind}_y {_describe(targets)}"
        )


def _describe(nest: Any) -> str:
    if isinstance(nest, dict):
        return "{" + ", ".join(f"{key}: {_describe(value)}" for key, value in nest.items()) + "}"
    if isinstance(nest, (list, tuple)):
        return "(" + ", ".join(_describe(value) for value in nest) + ")"
    shape = getattr(nest, "shape", None)
    return type(nest).__name__ if shape is None else f"shape {list(shape)}"
