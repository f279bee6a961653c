"""Checks of what users pass as episodes, with messages that say what was expected and received."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from maml_tf.core.faults import EXAMPLES, INPUTS, SETS, TASKS, fault_of_set
from maml_tf.core.task_loss import LABELS

_FORM = "((support_x, support_y, query_x), query_y), each with a leading task axis"


def check_data(data: Any, model: keras.Model | None = None) -> Any:
    """Checks a meta-batch.

    Args:
        data: `((support_x, support_y, query_x), query_y)`.
        model: The model that the inputs are for, or None.

    Returns:
        The data as tensors; each `tf.TensorSpec` stays as it is.

    Raises:
        ValueError: If the data have another form, or their sizes do not match.
    """
    if not (isinstance(data, (tuple, list)) and len(data) == 2):
        raise ValueError(f"Expected data of the form {_FORM}. Received: {_describe(data)}")
    if data[1] is None:
        raise ValueError(f"Expected data of the form {_FORM}. Received: no query_y")
    inputs = check_inputs(data[0], model)
    query_y = as_tensors(data[1])
    _check_examples("query", inputs[2], query_y, axis=1)
    return inputs, query_y


def check_inputs(inputs: Any, model: keras.Model | None = None) -> Any:
    """Checks a learner's inputs.

    Args:
        inputs: `(support_x, support_y, query_x)`, each with a leading task axis.
        model: The model that the inputs are for, or None.

    Returns:
        The inputs as tensors; each `tf.TensorSpec` stays as it is.

    Raises:
        ValueError: If the inputs have another form or are empty, or their shapes do not match each other or the model.
    """
    if not (isinstance(inputs, (tuple, list)) and len(inputs) == 3):
        raise ValueError(f"Expected inputs (support_x, support_y, query_x). Received: {_describe(inputs)}")
    support_x, support_y, query_x = inputs = tuple(as_tensors(part) for part in inputs)
    _check_examples("support", support_x, support_y, axis=1)
    _check_examples("query", query_x, None, axis=1)
    tasks = {leaf.shape[0] for leaf in tf.nest.flatten((support_x, support_y, query_x))} - {None}
    if len(tasks) > 1 or 0 in tasks:
        raise ValueError(
            "Expected support and query of the same number of tasks, at least 1. "
            f"Received: support_x {_describe(support_x)}, query_x {_describe(query_x)}"
        )
    for kind, part in zip(SETS, (support_x, query_x), strict=True):
        _check_input_shapes(model, kind, part, axes=2)
    return inputs


def check_before(model: keras.Model, x: Any, y: Any = None, *, inputs_alone: bool = False) -> None:
    """Checks the static shapes of data before Keras sees them.

    After a compiled function has met data of another rank, it treats the rank as unknown and cannot check it.

    Args:
        model: The model that the inputs are for.
        x: `(support_x, support_y, query_x)`, arrays or tensors, or a `tf.data.Dataset`; others are not checked.
        y: The targets if `x` holds arrays.
        inputs_alone: Whether targets may be missing.

    Raises:
        ValueError: If shapes do not match each other or the model.
    """
    if isinstance(x, tf.data.Dataset):
        specs = x.element_spec
        x, y = (keras.utils.unpack_x_y_sample_weight(specs)[0], None) if inputs_alone else without_sample_weight(specs)
    elif not isinstance(x, (tuple, list)):
        return
    specs = _nest_of(x, _as_spec)
    if inputs_alone:
        check_inputs(specs, model)
    else:
        check_data((specs, None if y is None else _nest_of(y, _as_spec)), model)


def specs_of(model: keras.Model, targets: str | None) -> tuple[Any, Any, Any] | None:
    """Derives the dtypes and shapes of one task from a model and its loss.

    Args:
        model: A model.
        targets: What the loss compares with its outputs, see `maml_tf.core.task_loss.TaskLoss`.

    Returns:
        `(support_x, support_y, query_x)`, each a `tf.TensorSpec` [None, ...]. None unless the model has exactly one
        input and one output of known shapes, and `targets` is known.
    """
    inputs, outputs = (list(getattr(model, name, None) or []) for name in ("inputs", "outputs"))
    if len(inputs) != 1 or len(outputs) != 1 or targets is None:
        return None
    # A model may take or return a dictionary or a list of one tensor.
    if not isinstance(model, keras.Sequential) and any(map(tf.nest.is_nested, (model.input, model.output))):
        return None
    x = tf.TensorSpec([None, *inputs[0].shape[1:]], inputs[0].dtype)
    if targets == LABELS:
        y = tf.TensorSpec([None, *outputs[0].shape[1:-1]], tf.int32)
    else:
        y = tf.TensorSpec([None, *outputs[0].shape[1:]], outputs[0].dtype)
    return x, y, x


def check_support(support_x: Any, support_y: Any, model: keras.Model | None = None) -> tuple[Any, Any]:
    """Checks one task's support set, without a task axis.

    Args:
        support_x: [support examples, ...].
        support_y: [support examples, ...].
        model: The model that the support set is for, or None.

    Returns:
        Both as tensors.

    Raises:
        ValueError: If the set is empty, or its shapes do not match each other or the model.
    """
    support = as_tensors(support_x), as_tensors(support_y)
    _check_examples("support", *support, axis=0)
    _check_input_shapes(model, "support", support[0], axes=1)
    return support


def as_tensors(nest: Any) -> Any:
    """Converts a nest of arrays to tensors; a list of plain numbers, or of such lists, is one array.

    Raises:
        ValueError: If a leaf is not an array of real numbers.
    """
    return _nest_of(nest, _as_tensor)


def _nest_of(nest: Any, leaf: Callable[[Any], Any]) -> Any:
    if isinstance(nest, list) and all(isinstance(number, (int, float)) for number in tf.nest.flatten(nest)):
        return leaf(nest)
    if isinstance(nest, dict):
        return {key: _nest_of(value, leaf) for key, value in nest.items()}
    if isinstance(nest, (list, tuple)):
        parts = [_nest_of(part, leaf) for part in nest]
        return type(nest)(*parts) if hasattr(nest, "_fields") else type(nest)(parts)
    return tf.nest.map_structure(leaf, nest)


def _as_tensor(array: Any) -> tf.Tensor | tf.TensorSpec:
    if isinstance(array, tf.TensorSpec):
        return array
    try:
        tensor = tf.convert_to_tensor(array)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Expected arrays of numbers. Received: {_describe(array)}: {error}") from None
    _require_real_numbers(tensor)
    return tensor


def _as_spec(array: Any) -> tf.TensorSpec:
    """Describes an array without copying it to the device."""
    if not isinstance(array, np.ndarray) or array.dtype == object:
        array = _as_tensor(array)
    spec = tf.TensorSpec(array.shape, tf.as_dtype(array.dtype))
    _require_real_numbers(spec)
    return spec


def _require_real_numbers(array: tf.Tensor | tf.TensorSpec) -> None:
    dtype = array.dtype
    if dtype.is_complex or not (dtype.is_floating or dtype.is_integer or dtype.is_bool):
        raise ValueError(f"Expected arrays of real numbers. Received: {_describe(array)} of {dtype.name}")


def fitted(inputs: Any, query_y: Any = None, model: keras.Model | None = None) -> tuple[Any, Any, list[tf.Tensor]]:
    """Compares the sizes that are known only when a graph runs; `check_data` checks the static ones.

    Args:
        inputs: `(support_x, support_y, query_x)`, tensors.
        query_y: The query set's targets, or None.
        model: The model that the inputs are for, or None.

    Returns:
        The inputs and the targets, cut to the smallest number of tasks, the smallest number of examples in each set,
        and the model's input shapes: otherwise an operation could fail before the fault is reported, or, under XLA,
        not fail at all. Then the faults, as `maml_tf.core.faults.first_fault` takes them: an empty list if every size
        is static.
    """
    support_x, support_y, query_x = inputs
    support, query = (support_x, support_y), ((query_x,) if query_y is None else (query_x, query_y))
    (support, query), faults = _of_one_length(TASKS, 0, (support, query))
    support, of_support = _of_one_length(EXAMPLES, 1, support)
    query, of_query = _of_one_length(EXAMPLES, 1, query)
    support_x, of_support_x = _as_the_model_takes(model, support[0])
    query_x, of_query_x = _as_the_model_takes(model, query[0])
    faults += [*of_support, *of_query, *of_support_x, *of_query_x]
    return (support_x, support[1], query_x), (None if query_y is None else query[1]), faults


def _as_the_model_takes(model: keras.Model | None, inputs: Any) -> tuple[Any, list[tf.Tensor]]:
    """Cuts or zero-pads the axes after [tasks, examples] to the model's input shapes; also returns the faults."""
    leaves, faults = tf.nest.flatten(inputs), []
    for index, shape in enumerate(_input_shapes(model, inputs)):
        leaf = leaves[index]
        if leaf.shape.rank != 2 + len(shape):
            continue
        for axis, length in enumerate(shape, 2):
            if length is None or leaf.shape[axis] is not None:
                continue
            given = tf.shape(leaf)
            faults.append(fault_of_set(INPUTS, given[axis] != length, given[axis], length))
            missing = tf.tensor_scatter_nd_update(given, [[axis]], [tf.maximum(length - given[axis], 0)])
            filled = tf.concat([leaf, tf.zeros(missing, leaf.dtype)], axis)
            leaf = tf.gather(filled, tf.range(length), axis=axis)
        leaves[index] = leaf
    return tf.nest.pack_sequence_as(inputs, leaves), faults


def _input_shapes(model: keras.Model | None, inputs: Any) -> list[tuple[int | None, ...]]:
    """Returns the shapes of a model's inputs without the batch axis; an empty list if unknown or in a dictionary."""
    expected = getattr(model, "inputs", None) or []
    leaves = tf.nest.flatten(inputs)
    if isinstance(inputs, dict) or len(expected) != len(leaves):
        return []
    return [tuple(spec.shape[1:]) for spec in expected]


def _check_input_shapes(model: keras.Model | None, kind: str, inputs: Any, axes: int) -> None:
    """Compares the static shapes of inputs, which have `axes` leading axes, with the model's inputs."""
    for leaf, shape in zip(tf.nest.flatten(inputs), _input_shapes(model, inputs), strict=False):
        given = tuple(leaf.shape[axes:])
        # Keras adds and drops a last axis of length 1.
        fits = [shape, shape[:-1]] if shape[-1:] == (1,) else [shape, (*shape, 1)]
        if not any(map(functools.partial(_agree, given), fits)):
            leading = "tasks, examples" if axes == 2 else "examples"
            raise ValueError(
                f"Expected {kind}_x of shape [{leading}, {', '.join(map(str, shape))}], like the model's input. "
                f"Received: {_describe(leaf)}"
            )


def _agree(given: tuple[int | None, ...], expected: tuple[int | None, ...]) -> bool:
    return len(given) == len(expected) and all(
        None in pair or pair[0] == pair[1] for pair in zip(given, expected, strict=True)
    )


def _of_one_length(kind: int, axis: int, nest: Any) -> tuple[Any, list[tf.Tensor]]:
    """Cuts an axis of all leaves to the smallest length; also returns the faults of leaves with another length."""
    leaves = tf.nest.flatten(nest)
    if all(leaf.shape[axis] is not None for leaf in leaves):
        return nest, []
    lengths = [tf.shape(leaf)[axis] for leaf in leaves]
    # A meta-batch may have no tasks, but a task needs examples.
    empty = (lengths[0] == 0) & (tf.shape(leaves[0])[0] > 0) if axis else tf.constant(False)
    faults = [
        fault_of_set(kind, (lengths[0] != other) | empty, other, lengths[0]) for other in (lengths[1:] or lengths)
    ]
    least = tf.reduce_min(tf.stack(lengths))
    if not axis:
        return tf.nest.map_structure(lambda leaf: leaf[:least], nest), faults

    def cut(leaf: tf.Tensor) -> tf.Tensor:
        # A set without examples gets one of zeros: merged operations fail on empty tensors.
        shape = tf.shape(leaf)
        zeros = tf.zeros(tf.concat([shape[:1], [1 - tf.minimum(least, 1)], shape[2:]], axis=0), leaf.dtype)
        return tf.ensure_shape(tf.concat([leaf[:, :least], zeros], axis=1), [leaf.shape[0], None, *leaf.shape[2:]])

    return tf.nest.map_structure(cut, nest), faults


def without_sample_weight(data: Any) -> Any:
    """Checks that the data of a Keras step contain no sample weights, which episodes do not support.

    Args:
        data: What Keras passes to `train_step`.

    Returns:
        `((support_x, support_y, query_x), query_y)`.

    Raises:
        ValueError: If there are sample weights.
    """
    inputs, targets, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if sample_weight is not None:
        raise ValueError(
            "Expected data ((support_x, support_y, query_x), query_y). Received: sample weights too, which are not "
            "supported"
        )
    return inputs, targets


def _check_examples(kind: str, inputs: Any, targets: Any, axis: int) -> None:
    leaves = tf.nest.flatten(inputs if targets is None else (inputs, targets))
    received = f"{kind}_x {_describe(inputs)}" + (f", {kind}_y {_describe(targets)}" if targets is not None else "")
    if any(leaf.shape.rank is None or leaf.shape.rank <= axis for leaf in leaves):
        raise ValueError(
            f"Expected {kind} arrays with axes {'[tasks, examples, ...]' if axis else '[examples, ...]'}. "
            f"Received: {received}"
        )
    counts = {leaf.shape[axis] for leaf in leaves} - {None}
    if len(counts) > 1 or 0 in counts:
        raise ValueError(f"Expected as many {kind} targets as {kind} inputs, at least 1. Received: {received}")
    if axis == 1 and len({leaf.shape[0] for leaf in leaves} - {None}) > 1:
        raise ValueError(f"Expected {kind} inputs and targets of the same number of tasks. Received: {received}")


def _describe(nest: Any) -> str:
    if isinstance(nest, dict):
        return "{" + ", ".join(f"{key}: {_describe(value)}" for key, value in nest.items()) + "}"
    if isinstance(nest, (list, tuple)):
        return "(" + ", ".join(_describe(value) for value in nest) + ")"
    shape = getattr(nest, "shape", None)
    if shape is None:
        return type(nest).__name__
    unknown = "a shape of unknown rank (set it with tf.ensure_shape)"
    return unknown if getattr(shape, "rank", 0) is None else f"shape {list(shape)}"
