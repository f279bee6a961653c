"""Checks of what users pass as episodes, with messages that say what was expected and received."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

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
    query_y = tf.nest.map_structure(tf.convert_to_tensor, data[1])
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
    support_x, support_y, query_x = inputs = tf.nest.map_structure(tf.convert_to_tensor, tuple(inputs))
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
    support = tf.nest.map_structure(tf.convert_to_tensor, (support_x, support_y))
    _check_examples("support", *support, axis=0)
    return support


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
