"""The meta-gradient: the gradient of the tasks' mean query loss, taken task by task inside the map over tasks.

The gradient of a mean over tasks is the mean of the tasks' gradients. Taking each inside the map stores one
task's tape at a time instead of the tape of the whole map.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from maml_tf.core.adaptation import Params, require_gradients

TASK_MAPS = ("mapped", "vectorized", "unrolled")


class MetaGradient(NamedTuple):
    """A meta-batch's outcome.

    Attributes:
        loss: Mean over tasks of the outer loss, a scalar.
        gradients: Its gradient, with the structure of the parameters.
        task_losses: Outer loss of each task, [tasks].
        auxiliary: What the outer function returned beside the loss, each with a leading [tasks] axis.
    """

    loss: tf.Tensor
    gradients: Params
    task_losses: tf.Tensor
    auxiliary: Any


def meta_gradient(
    outer_loss: Callable[[Params, Any], tuple[tf.Tensor, Any]],
    params: Params,
    tasks: Any,
    *,
    task_map: str = "mapped",
    parallel_tasks: int | None = None,
) -> MetaGradient:
    """Computes the mean outer loss over tasks and its gradient.

    `grad_theta mean_i L_i(theta_i(theta))`, Equation 1 (Section 2.2), where the outer loss adapts `params` to the
    task and evaluates the result. Whether the gradient is exact or first order is the outer loss' doing.

    Args:
        outer_loss: `(params, task) -> (scalar loss, nest of tensors)`.
        params: Nest of float tensors, the meta-parameters.
        tasks: Nest of tensors with a leading [tasks] axis.
        task_map: How to go over tasks, one of `TASK_MAPS`; see `over_tasks`.
        parallel_tasks: How many tasks to hold in memory at once; see `over_tasks`.

    Returns:
        A `MetaGradient`.

    Raises:
        ValueError: If the loss does not depend on one of the parameters.
        LookupError: If an operation has no second derivative; the message names it.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.core.meta_gradient import meta_gradient
    >>> meta_gradient(lambda w, x: (w * x, ()), tf.constant(1.0), tf.constant([1.0, 3.0])).gradients.numpy().item()
    2.0
    """

    def task_gradient(task):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(params)
            loss, auxiliary = outer_loss(params, task)
        gradients = _gradient(tape, loss, params)
        require_gradients(gradients, "meta-gradient", "Freeze the variable, or let the query loss use it.")
        return loss, tf.nest.map_structure(tf.convert_to_tensor, gradients), auxiliary

    losses, gradients, auxiliary = over_tasks(task_gradient, tasks, task_map=task_map, parallel_tasks=parallel_tasks)
    mean = tf.nest.map_structure(lambda gradient: tf.reduce_mean(gradient, axis=0), gradients)
    return MetaGradient(tf.reduce_mean(losses), mean, losses, auxiliary)


def over_tasks(
    function: Callable[[Any], Any],
    tasks: Any,
    *,
    task_map: str = "mapped",
    parallel_tasks: int | None = None,
) -> Any:
    """Applies a function to each task and stacks the results.

    The three ways give the same results; which is fastest depends on the model and the device. "mapped" runs tasks
    as iterations of a loop that may overlap, a task a thread: best for convolutions on a CPU. "vectorized" merges
    the tasks' operations: best for small dense networks and on a GPU. "unrolled" repeats the graph for every task.

    Args:
        function: Takes one task, returns a nest of tensors.
        tasks: Nest of tensors with a leading [tasks] axis.
        task_map: One of `TASK_MAPS`.
        parallel_tasks: How many tasks may be in memory at once, at most. None for one for each thread with "mapped"
            and for all with "vectorized"; "unrolled" takes None alone.

    Returns:
        The nest of results, each with a leading [tasks] axis.

    Raises:
        ValueError: If `task_map` is unknown, or `parallel_tasks` does not fit it.
    """
    check_task_map(task_map, parallel_tasks)
    if task_map == "unrolled":
        return _unrolled(function, tasks)
    if task_map == "mapped":
        return _mapped(function, tasks, parallel_tasks or _threads())
    if parallel_tasks is None:
        return tf.vectorized_map(function, tasks, fallback_to_while_loop=True, warn=False)
    return _vectorized_in_chunks(function, tasks, parallel_tasks)


def check_task_map(task_map: str, parallel_tasks: int | None) -> None:
    """Checks a way over tasks.

    Args:
        task_map: One of `TASK_MAPS`.
        parallel_tasks: How many tasks may be in memory at once, or None.

    Raises:
        ValueError: If `task_map` is unknown, or `parallel_tasks` does not fit it.
    """
    if task_map not in TASK_MAPS:
        raise ValueError(f"Expected task_map to be one of {TASK_MAPS}. Received: {task_map!r}")
    if parallel_tasks is not None and (parallel_tasks < 1 or task_map == "unrolled"):
        raise ValueError(
            "Expected parallel_tasks to be at least 1, and None with task_map='unrolled'. "
            f"Received: parallel_tasks={parallel_tasks}, task_map={task_map!r}"
        )


class _MissingDerivativeError(LookupError):
    # AutoGraph keeps the type of errors with this constructor, and replaces a plain LookupError by one of its own.
    __init__ = Exception.__init__


def _gradient(tape, loss, params):
    try:
        return tape.gradient(loss, params)
    except LookupError as error:
        raise _MissingDerivativeError(
            f"Expected every operation to have the derivatives that exact meta-gradients need. Received: {error}. "
            "maml_tf.check_second_order names the layer; first_order=True needs none of second order."
        ) from error


def _unrolled(function, tasks):
    count = tf.nest.flatten(tasks)[0].shape[0]
    if count is None:
        raise ValueError("Expected a static number of tasks with task_map='unrolled'. Received: None")
    rows = zip(*(tf.unstack(leaf, num=count) for leaf in tf.nest.flatten(tasks)), strict=True)
    results = [function(tf.nest.pack_sequence_as(tasks, row)) for row in rows]
    return tf.nest.map_structure(lambda *leaves: tf.stack(leaves), *results)


def _mapped(function, tasks, parallel_tasks):
    # Traced first, because the map must know its results' dtypes before its body exists.
    specs = tf.nest.map_structure(lambda leaf: tf.TensorSpec(leaf.shape[1:], leaf.dtype), tasks)
    traced = tf.function(function, autograph=False).get_concrete_function(specs)
    signature = tf.nest.map_structure(lambda leaf: tf.TensorSpec(leaf.shape, leaf.dtype), traced.structured_outputs)
    flat_signature = tf.nest.flatten(signature)
    flat = tf.map_fn(
        lambda leaves: tf.nest.flatten(traced(tf.nest.pack_sequence_as(tasks, leaves))),
        tf.nest.flatten(tasks),
        fn_output_signature=flat_signature,
        parallel_iterations=parallel_tasks,
    )
    return tf.nest.pack_sequence_as(signature, flat)


def _threads() -> int:
    return tf.config.threading.get_inter_op_parallelism_threads() or os.cpu_count() or 1


def _vectorized_in_chunks(function, tasks, parallel_tasks):
    first = tf.nest.flatten(tasks)[0]
    count = tf.shape(first)[0] if first.shape[0] is None else first.shape[0]
    chunks = -(-count // parallel_tasks)
    # Where the last chunk is short, the last task fills it.
    rows = tf.minimum(tf.range(chunks * parallel_tasks), count - 1)
    chunked = tf.nest.map_structure(
        lambda leaf: _reshaped(tf.gather(leaf, rows), [chunks, parallel_tasks], leaf[0]), tasks
    )
    results = _mapped(lambda chunk: over_tasks(function, chunk, task_map="vectorized"), chunked, 1)
    return tf.nest.map_structure(lambda leaf: _reshaped(leaf, [chunks * parallel_tasks], leaf[0, 0])[:count], results)


def _reshaped(values, leading, element):
    return tf.reshape(values, tf.concat([leading, tf.shape(element)], axis=0))
