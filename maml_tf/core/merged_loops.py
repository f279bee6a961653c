"""Loops and function calls merged over tasks, and the tensor lists in which loops keep values for their gradients.

A loop with the same number of iterations for all tasks stays one loop, over stacked values. Which of the values that
it carries differ between tasks is found before its body is converted, so that the body is converted once.

The tasks' lists become one list of stacked elements. In a list of lists, the elements of the inner lists are stacked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.python.ops.parallel_for import pfor

# Their results are the same for all tasks, because tensors of all tasks have the same shape.
_OF_SHAPES = ("Rank", "Shape", "ShapeN", "Size", "TensorListElementShape", "TensorListLength")


class _Function(NamedTuple):
    """A function that operations call: its inputs, its operations in the order of their creation, its results."""

    inputs: Sequence[tf.Tensor]
    operations: Sequence[tf.Operation]
    results: Sequence[tf.Tensor]

    @classmethod
    def called(cls, operation: tf.Operation, attribute: str) -> _Function:
        function = operation.graph._get_function(operation.get_attr(attribute).name)
        results = function.graph.outputs[: len(function.function_type.flat_outputs)]
        return cls(function.graph.inputs, function.graph.get_operations(), results)


def _convert_call(given: Any) -> Any:
    """Converts a function call by converting the function's operations inline."""
    return _converted(_Function.called(given.op, "f"), given, given.inputs)


def _convert_while(given: Any) -> Any:
    operation = given.op
    condition, body = _Function.called(operation, "cond"), _Function.called(operation, "body")
    stacked = _stacked_in_loop(body, [each.is_stacked for each in given.inputs])
    if _stacked_results(condition, stacked)[0]:
        if any(each.t.dtype == tf.variant for each in given.inputs):
            raise ValueError(
                "Expected the same number of iterations for every task, with task_map='vectorized', in loops that are "
                f"differentiated or hold arrays. Received: {operation.name}, whose number depends on the task; use "
                "task_map='mapped'."
            )
        return pfor._pfor_converter_registry["While"](given)
    values = [
        each if each.is_stacked is flag else _stacked(each.t, given.pfor)
        for each, flag in zip(given.inputs, stacked, strict=True)
    ]
    # A value that the body returns unchanged is not carried.
    carried = [number for number, inner in enumerate(body.inputs) if body.results[number] is not inner]
    length = _length(given.pfor)

    def inputs(tensors):
        wrapped = list(values)
        for number, tensor in zip(carried, tensors, strict=True):
            wrapped[number] = _wrapped(tensor) if stacked[number] else pfor.wrap(tensor, False)
        return wrapped

    def goes_on(*tensors):
        return _converted(condition, given, inputs(tensors), length)[0].t

    def iteration(*tensors):
        results = _converted(body, given, inputs(tensors), length)
        return [as_carried(results[number], stacked[number]) for number in carried]

    def as_carried(result, flag):
        if result.is_stacked and not flag:
            raise AssertionError(f"Expected a value that is the same for all tasks. Received: {result.t}")
        return result.t if result.is_stacked is flag else _stacked(result.t, given.pfor).t

    def shape(number):
        own = operation.outputs[number].shape
        whole = stacked[number] and operation.outputs[number].dtype != tf.variant
        return tf.TensorShape([length]).concatenate(own) if whole else own

    last = tf.while_loop(
        goes_on,
        iteration,
        [values[number].t for number in carried],
        shape_invariants=[shape(number) for number in carried],
        parallel_iterations=operation.get_attr("parallel_iterations"),
    )
    return inputs(last)


def _stacked_in_loop(body: _Function, stacked: list[bool]) -> list[bool]:
    """Finds which values differ between tasks in any iteration, given those that differ before the first."""
    while True:
        after = [one or other for one, other in zip(stacked, _stacked_results(body, stacked), strict=True)]
        if after == stacked:
            return stacked
        stacked = after


def _stacked_results(function: _Function, stacked: Sequence[bool]) -> list[bool]:
    """Finds which results of a function may differ between tasks, given which of its inputs do."""
    found = {tensor.ref() for tensor, flag in zip(function.inputs, stacked, strict=True) if flag}
    for operation in function.operations:
        inputs = [tensor.ref() in found for tensor in operation.inputs]
        results = [any(inputs) or pfor._is_stateful_pfor_op(operation)] * len(operation.outputs)
        if operation.type in _OF_SHAPES:
            results = [False] * len(results)
        elif operation.type in ("PartitionedCall", "StatefulPartitionedCall"):
            results = _stacked_results(_Function.called(operation, "f"), inputs)
        elif operation.type in ("While", "StatelessWhile"):
            results = _stacked_in_loop(_Function.called(operation, "body"), inputs)
        found |= {tensor.ref() for tensor, flag in zip(operation.outputs, results, strict=True) if flag}
    return [tensor.ref() in found for tensor in function.results]


def _converted(function: _Function, given: Any, inputs: Sequence[Any], length: int | None = None) -> list[Any]:
    """Converts a function's operations into the default graph, and returns its results."""
    around = given.pfor
    converter = pfor.PFor(
        loop_var=around.loop_var,
        loop_len=length or _length(around) or around.loop_len_vector[0],
        pfor_ops=function.operations,
        fallback_to_while_loop=around.fallback_to_while_loop,
        all_indices=around.all_indices,
        all_indices_partitioned=around.all_indices_partitioned,
        pfor_config=around.pfor_config,
    )
    for inner, each in zip(function.inputs, inputs, strict=True):
        converter._add_conversion(inner, each)
    return [converter._convert_helper(tensor) for tensor in function.results]


def _length(converter: Any) -> int | None:
    known = tf.get_static_value(converter.loop_len_vector)
    return None if known is None else int(known[0])


def _stacked(tensor: tf.Tensor, converter: Any) -> Any:
    """Repeats for every task a value that is the same for all."""
    if tensor.dtype != tf.variant:
        return pfor._stack(tensor, converter.loop_len_vector)
    source = tensor.op
    if source.type == "ZerosLike":
        return _list(tf.zeros_like(_stacked(source.inputs[0], converter).t))
    if source.type == "EmptyTensorList":
        dtype = source.get_attr("element_dtype")
        return _list(
            tf.raw_ops.EmptyTensorList(element_shape=-1, max_num_elements=source.inputs[1], element_dtype=dtype)
        )
    [elements] = pfor._parse_variant_shapes_and_types(tensor)
    shape = tf.TensorShape(elements.shape)
    shape = shape.as_list() if shape.is_fully_defined() else -1
    together = tf.raw_ops.TensorListStack(input_handle=tensor, element_shape=shape, element_dtype=elements.dtype)
    together = pfor._stack(together, converter.loop_len_vector).t
    together = tf.transpose(together, tf.concat([[1, 0], tf.range(2, tf.rank(together))], axis=0))
    return _list(tf.raw_ops.TensorListFromTensor(tensor=together, element_shape=-1))


def _list(handle: tf.Tensor) -> Any:
    # The last argument says that the list is sparse: then its handle does not get the shape of stacked tensors.
    return pfor.wrap(handle, True, True)


def _element_shape(given: Any, number: int) -> Any:
    """Returns the shape of a stacked element; an operation's input holds the shape of one task's element."""
    shape = given.unstacked_input(number)
    if given.get_attr("element_dtype") == tf.variant or shape.shape.rank == 0:
        return shape
    static = tf.get_static_value(shape)
    if static is not None and -1 in static:
        return -1
    return tf.concat([tf.cast(given.pfor.loop_len_vector, shape.dtype), shape], axis=0)


def _of_all_tasks(given: Any, number: int) -> tf.Tensor:
    each = given.input(number)
    return each.t if each.is_stacked else _stacked(each.t, given.pfor).t


def _wrapped(element: tf.Tensor) -> Any:
    return _list(element) if element.dtype == tf.variant else pfor.wrap(element, True)


def _convert_reserve(given: Any) -> Any:
    dtype = given.get_attr("element_dtype")
    return _list(
        tf.raw_ops.TensorListReserve(
            element_shape=_element_shape(given, 0), num_elements=given.unstacked_input(1), element_dtype=dtype
        )
    )


def _convert_from_tensor(given: Any) -> Any:
    tensor = given.stacked_input(0)
    order = [1, 0, *range(2, tensor.shape.rank)]
    shape = _element_shape(given, 1)
    return _list(tf.raw_ops.TensorListFromTensor(tensor=tf.transpose(tensor, order), element_shape=shape))


def _convert_stack(given: Any) -> Any:
    stacked = tf.raw_ops.TensorListStack(
        input_handle=given.stacked_input(0),
        element_shape=_element_shape(given, 1),
        element_dtype=given.get_attr("element_dtype"),
        num_elements=given.get_attr("num_elements"),
    )
    # The rank is one more than that of one task's tensor.
    rank = given.op.outputs[0].shape.rank
    stacked = tf.ensure_shape(stacked, [None] * (rank + 1)) if stacked.shape.rank is None else stacked
    return pfor.wrap(tf.transpose(stacked, [1, 0, *range(2, rank + 1)]), True)


def _convert_get_item(given: Any) -> Any:
    return _wrapped(
        tf.raw_ops.TensorListGetItem(
            input_handle=given.stacked_input(0),
            index=given.unstacked_input(1),
            element_shape=_element_shape(given, 2),
            element_dtype=given.get_attr("element_dtype"),
        )
    )


def _convert_set_item(given: Any) -> Any:
    return _list(
        tf.raw_ops.TensorListSetItem(
            input_handle=_of_all_tasks(given, 0), index=given.unstacked_input(1), item=_of_all_tasks(given, 2)
        )
    )


def _convert_push_back(given: Any) -> Any:
    return _list(tf.raw_ops.TensorListPushBack(input_handle=_of_all_tasks(given, 0), tensor=_of_all_tasks(given, 1)))


def _convert_pop_back(given: Any) -> Any:
    handle, element = tf.raw_ops.TensorListPopBack(
        input_handle=given.stacked_input(0),
        element_shape=_element_shape(given, 1),
        element_dtype=given.get_attr("element_dtype"),
    )
    return _list(handle), _wrapped(element)


def _convert_element_shape(given: Any) -> Any:
    shape = tf.raw_ops.TensorListElementShape(
        input_handle=given.stacked_input(0), shape_type=given.get_attr("shape_type")
    )
    return pfor.wrap(tf.reshape(shape, [-1])[1:], False)


def _convert_length(given: Any) -> Any:
    return pfor.wrap(tf.raw_ops.TensorListLength(input_handle=given.stacked_input(0)), False)


def _of_lists(name: str, operation: Callable[..., tf.Tensor]) -> Callable[[Any], Any]:
    """Makes the converter of an operation that can also take lists, and then returns a list."""

    def convert(given):
        if given.op.outputs[0].dtype != tf.variant:
            return pfor._pfor_converter_registry[name](given)
        return _list(operation(*(_of_all_tasks(given, number) for number in range(given.num_inputs))))

    return convert


CONVERTERS = {
    "AddN": _of_lists("AddN", lambda *lists: tf.add_n(lists)),
    "Identity": _of_lists("Identity", tf.identity),
    "PartitionedCall": _convert_call,
    "StatefulPartitionedCall": _convert_call,
    "StatelessWhile": _convert_while,
    "TensorListElementShape": _convert_element_shape,
    "TensorListFromTensor": _convert_from_tensor,
    "TensorListGetItem": _convert_get_item,
    "TensorListLength": _convert_length,
    "TensorListPopBack": _convert_pop_back,
    "TensorListPushBack": _convert_push_back,
    "TensorListReserve": _convert_reserve,
    "TensorListSetItem": _convert_set_item,
    "TensorListStack": _convert_stack,
    "While": _convert_while,
    "ZerosLike": _of_lists("ZerosLike", tf.zeros_like),
}
