"""Counts the loops of a graph, in the functions that it calls too."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

_FUNCTIONS = {
    "PartitionedCall": ("f",),
    "StatefulPartitionedCall": ("f",),
    "If": ("then_branch", "else_branch"),
    "StatelessIf": ("then_branch", "else_branch"),
    "While": ("cond", "body"),
    "StatelessWhile": ("cond", "body"),
}


def loops(function: Any, *arguments: Any) -> int:
    """Traces a function and counts the loops that its results are made by; what nothing needs is left out."""
    return count(tf.function(function, autograph=False).get_concrete_function(*arguments).graph)


def count(graph: Any) -> int:
    """Counts the loops by which the outputs of a graph are made."""
    return sum(operation.type in ("While", "StatelessWhile") for operation in operations(graph))


def operations(graph: Any) -> list[tf.Operation]:
    """Lists the operations by which the outputs of a graph are made, those of functions that it calls too."""
    waiting = [*(tensor.op for tensor in graph.outputs), *graph.control_outputs]
    seen, found = set(), []
    while waiting:
        operation = waiting.pop()
        if operation in seen:
            continue
        seen.add(operation)
        found.append(operation)
        waiting += [*(tensor.op for tensor in operation.inputs), *operation.control_inputs]
        for attribute in _FUNCTIONS.get(operation.type, ()):
            found += operations(graph._get_function(operation.get_attr(attribute).name).graph)
    return found
