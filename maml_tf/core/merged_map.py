"""Maps over tasks by merging their operations: `tf.vectorized_map` with more converters.

`tf.vectorized_map` silently loops over tasks if it cannot merge an operation, such as a convolution with filters for
each task. The converters are attached to the operations of the mapped function: TensorFlow's own table of converters
does not change, and neither does a program's own use of `tf.vectorized_map`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import tensorflow as tf

from maml_tf.core import merged_convolutions, merged_loops, merged_products, merged_random

_CONVERTERS = {
    **merged_convolutions.CONVERTERS,
    **merged_loops.CONVERTERS,
    **merged_products.CONVERTERS,
    **merged_random.CONVERTERS,
}
# Attributes by which an operation names the functions that it calls.
_FUNCTIONS = ("f", "cond", "body", "then_branch", "else_branch")
_LOOPS = ("While", "StatelessWhile")
# Operations that become a loop which does not go over tasks: loops, or loops over the elements of a list.
_OTHER_LOOPS = (*_LOOPS, "TensorListConcatV2", "TensorListPushBack", "TensorListSetItem")
_PLACES_NAMED = 4


def merged_map(function: Callable[[Any], Any], tasks: Any) -> Any:
    """Applies a function to all tasks at once, inside a graph.

    Operations that cannot be merged run task by task; one warning names them.

    Args:
        function: Takes one task, returns a nest of tensors.
        tasks: Nest of tensors with a leading [tasks] axis.

    Returns:
        The nest of results, each with a leading [tasks] axis.
    """
    graph = tf.compat.v1.get_default_graph()
    before = len(graph.get_operations())

    @tf.autograph.experimental.do_not_convert
    def with_converters(task):
        inner = tf.compat.v1.get_default_graph()
        first = len(inner.get_operations())
        results = function(task)
        for operation in _with_called(inner.get_operations()[first:]):
            if operation.type in _CONVERTERS:
                operation.pfor_converter = _CONVERTERS[operation.type]
        return results

    results = tf.vectorized_map(with_converters, tasks, fallback_to_while_loop=True, warn=False)
    loops = loops_over_tasks(graph.get_operations()[before:])
    if loops:
        warnings.warn(_warning(loops), stacklevel=2)
    return results


def loops_over_tasks(operations: Iterable[tf.Operation]) -> dict[str, list[str]]:
    """Finds the loops over tasks that replace operations which could not be merged.

    Args:
        operations: Operations of a graph of merged tasks. The functions that they call are searched too.

    Returns:
        A dictionary from the type of such operations to their names, which contain the layers' names.
    """
    found: dict[str, set[str]] = {}
    for operation in _with_called(operations):
        made_from = operation._original_op
        if operation.type not in _LOOPS or made_from is None or made_from.type in _OTHER_LOOPS:
            continue
        if operation.name.startswith(f"{made_from.name}/pfor/"):  # Gradients of nested loops have originals too.
            found.setdefault(made_from.type, set()).add(made_from.name)
    return {kind: sorted(names) for kind, names in sorted(found.items())}


def _with_called(operations: Iterable[tf.Operation]) -> Iterator[tf.Operation]:
    """Yields operations and, once each, the operations of the functions that they call."""
    seen = set()
    waiting = list(operations)
    while waiting:
        operation = waiting.pop()
        yield operation
        for name in _called(operation) - seen:
            seen.add(name)
            function = operation.graph._get_function(name)
            if hasattr(function, "graph"):  # Gradient functions and functions loaded from a file have none.
                waiting.extend(function.graph.get_operations())


def _called(operation: tf.Operation) -> set[str]:
    attributes = [name for name in _FUNCTIONS if name in operation.node_def.attr]
    return {operation.get_attr(name).name for name in attributes if operation.node_def.attr[name].HasField("func")}


def _warning(loops: dict[str, list[str]]) -> str:
    parts = []
    for kind, names in loops.items():
        places = sorted({_place(name) for name in names})
        more = f" and {len(places) - _PLACES_NAMED} more" if len(places) > _PLACES_NAMED else ""
        parts.append(f"{kind} in {', '.join(places[:_PLACES_NAMED])}{more}")
    return (
        "These operations cannot be merged over tasks and run task by task: "
        f"{'; '.join(parts)}. Results are the same; task_map='mapped' may be faster."
    )


def _place(name: str) -> str:
    """Names the scope of an operation or of its gradient, which holds the layer's name."""
    scopes = [scope for scope in name.split("/") if scope not in ("gradient_tape", "loop_body")]
    return "/".join(scopes[:-1]) or scopes[0]
