"""A function in two stages: what does not depend on the late arguments is computed once and kept.

Conjugate gradient multiplies one Jacobian by many vectors. Automatic differentiation writes each product as one
function of the parameters and the vector; split, all products of a step share its first stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import tensorflow as tf


class TwoStages:
    """Splits a function of early and of late arguments into what the early ones suffice for and the rest.

    `function(early, late) -> (of_early, of_both)` becomes `first(early) -> (of_early, kept)` and
    `second(late, kept) -> of_both`.

    The function is traced once into a graph, which is cut where operations that depend on the late arguments take
    tensors that do not. Both stages are then called in graphs of the caller's.

    Args:
        function: `(early, late) -> (nest of tensors, nest of tensors)`, of tensors alone: it must read no variable. The
            first nest must not depend on the late arguments.
        early: Nest of `tf.TensorSpec`.
        late: Nest of `tf.TensorSpec`.

    Attributes:
        kept: Specifications of the tensors that the first stage hands to the second.
        early_results: Nest of the specifications of the results that depend on the early arguments alone.
        results: Nest of the specifications of the others.

    Raises:
        ValueError: If a result of the first nest depends on the late arguments.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.rl.partial_evaluation import TwoStages
    >>> scalar = tf.TensorSpec([], tf.float32)
    >>> stages = TwoStages(lambda early, late: (early + 1.0, tf.exp(early) * late), scalar, scalar)
    >>> of_early, kept = stages.first(tf.constant(0.0))
    >>> [float(stages.second(tf.constant(late), kept)) for late in (2.0, 3.0)]
    [2.0, 3.0]
    """

    def __init__(self, function: Callable[[Any, Any], Any], early: Any, late: Any):
        specs = [*tf.nest.flatten(early), *tf.nest.flatten(late)]
        count = len(tf.nest.flatten(early))

        def flat(*values):
            return function(
                tf.nest.pack_sequence_as(early, values[:count]), tf.nest.pack_sequence_as(late, values[count:])
            )

        whole = tf.compat.v1.wrap_function(flat, specs)
        arguments = whole.inputs[: len(specs)]
        of_early, of_both = whole.structured_outputs
        dependent = _dependent(whole.graph, arguments[count:])
        if any(tensor.op in dependent for tensor in tf.nest.flatten(of_early)):
            raise ValueError("Expected first results of the early arguments alone. Received: some of the late ones")
        cut = _cut(whole.graph, dependent, tf.nest.flatten(of_both))
        self._first = whole.prune(arguments[:count], [*tf.nest.flatten(of_early), *cut])
        self._second = whole.prune([*arguments[count:], *cut], tf.nest.flatten(of_both))
        self.kept = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in cut]
        self.early_results, self.results = tf.nest.map_structure(
            lambda t: tf.TensorSpec(t.shape, t.dtype), (of_early, of_both)
        )

    def first(self, early: Any) -> tuple[Any, list[tf.Tensor]]:
        """Computes the function's first results, and the tensors to keep, from the early arguments."""
        values = list(self._first(*tf.nest.flatten(early)))
        count = len(tf.nest.flatten(self.early_results))
        return tf.nest.pack_sequence_as(self.early_results, values[:count]), values[count:]

    def second(self, late: Any, kept: Sequence[tf.Tensor]) -> Any:
        """Computes the function's other results from the late arguments and what `first` kept."""
        return tf.nest.pack_sequence_as(self.results, self._second(*tf.nest.flatten(late), *kept))


def _dependent(graph: tf.Graph, late: Iterable[tf.Tensor]) -> set[tf.Operation]:
    """Finds the operations that depend on `late`."""
    dependent = {tensor.op for tensor in late}
    for operation in graph.get_operations():  # In an order in which they can be computed.
        if any(tensor.op in dependent for tensor in operation.inputs):
            dependent.add(operation)
    return dependent


def _cut(graph: tf.Graph, dependent: set[tf.Operation], results: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Finds the tensors that cross from the operations that are not `dependent` to those that are."""
    needed: set[tf.Operation] = set()
    waiting = [tensor.op for tensor in results]
    while waiting:
        operation = waiting.pop()
        if operation not in needed:
            needed.add(operation)
            waiting += [tensor.op for tensor in operation.inputs]
    crossing = [
        _narrowest(tensor)
        for operation in graph.get_operations()
        if operation in needed and operation in dependent
        for tensor in operation.inputs
        if tensor.op not in dependent and tensor.op.type != "Const"
    ]
    # A result that does not depend on `late` at all crosses as it is.
    crossing += [tensor for tensor in results if tensor.op not in dependent]
    return list({tensor.ref(): tensor for tensor in crossing}.values())


def _narrowest(tensor: tf.Tensor) -> tf.Tensor:
    """Returns what a conversion to a wider type was made from: it is less to keep, and cheap to convert again."""
    while tensor.op.type == "Cast" and tensor.op.inputs[0].dtype.size < tensor.dtype.size:
        tensor = tensor.op.inputs[0]
    return tensor
