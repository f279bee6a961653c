"""Maps over the tasks of a meta-batch, and the meta-gradient, computed task by task inside the map.

The gradient of a mean over tasks is the mean of the tasks' gradients. Computing each gradient inside the map stores
one task's tape at a time instead of the tape of the whole map. Adding them up there stores only their sum.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from maml_tf.checks import whole_number
from maml_tf.core.adaptation import Params, require_gradients
from maml_tf.core.keras_interface import is_layer_graph, layers_of
from maml_tf.core.merged_map import merged_map
from maml_tf.core.replicas import Shares, gather_in_task_order, mean_over_replicas, several_replicas, shares_of

TASK_MAPS = ("mapped", "vectorized", "unrolled")
# Layers of matrix products and element-wise functions: merging tasks and XLA both pay.
_DENSE_LAYERS = (
    keras.layers.InputLayer,
    keras.layers.Dense,
    keras.layers.Activation,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Concatenate,
    keras.layers.Add,
    keras.layers.ReLU,
)


class MetaGradient(NamedTuple):
    """The result of a meta-batch.

    Attributes:
        loss: Mean over tasks of the outer loss, a scalar; 0 without tasks.
        gradients: Gradient of `loss`, with the structure of the parameters; 0 without tasks.
        task_losses: Outer loss of each task, [tasks].
        auxiliary: What the outer function returned besides the loss, each with a leading [tasks] axis.
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
    task and evaluates the result. The outer loss decides whether the gradient is exact or first order.

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
    >>> from maml_tf.core.over_tasks import meta_gradient
    >>> meta_gradient(lambda w, x: (w * x, ()), tf.constant(1.0), tf.constant([1.0, 3.0])).gradients.numpy().item()
    2.0
    """
    return mean_gradient(
        lambda task: task_gradient(outer_loss, params, task), tasks, task_map=task_map, parallel_tasks=parallel_tasks
    )


def mean_gradient(
    gradient: Callable[[Any], tuple[tf.Tensor, Params, Any]],
    tasks: Any,
    *,
    task_map: str = "mapped",
    parallel_tasks: int | None = None,
) -> MetaGradient:
    """Averages the tasks' gradients, added up in the order of the tasks.

    With "mapped", and with "vectorized" and `parallel_tasks`, memory holds at most one gradient for each parallel task.

    Args:
        gradient: Takes one task; returns its outer loss, the gradient of the loss and a nest of tensors.
        tasks: Nest of tensors with a leading [tasks] axis.
        task_map: How to go over tasks, one of `TASK_MAPS`; see `over_tasks`.
        parallel_tasks: How many tasks to hold in memory at once; see `over_tasks`.

    Returns:
        A `MetaGradient`.
    """

    def of_task(task):
        loss, gradients, auxiliary = gradient(task)
        return (loss, auxiliary), gradients

    (losses, auxiliary), sums = _kept_and_added(of_task, tasks, task_map, parallel_tasks)
    means = _divided(sums, tf.shape(losses)[0])
    return MetaGradient(mean_over_tasks(losses), means, losses, auxiliary)


def _divided(sums: Params, count: tf.Tensor) -> Params:
    """Divides by a number of tasks, with the same bits whether it is static or not; returns 0 if it is 0."""
    # TensorFlow replaces a division by a constant with this product.
    return tf.nest.map_structure(lambda value: value * tf.math.reciprocal_no_nan(tf.cast(count, value.dtype)), sums)


def mean_gradient_of_replicas(
    gradient: Callable[[Any], tuple[tf.Tensor, Params, Any]],
    tasks: Any,
    shares: Shares,
    *,
    in_task_order: bool = False,
    task_map: str = "mapped",
    parallel_tasks: int | None = None,
) -> MetaGradient:
    """Averages the gradients of the tasks of all replicas; other results are those of this replica's tasks.

    Args:
        gradient: As for `mean_gradient`.
        tasks: This replica's tasks.
        shares: `shares_of_replicas(tasks)`.
        in_task_order: Whether replicas exchange every task's gradient instead of their sum. The result then has the
            same bits as that of one replica with "mapped".
        task_map: As for `mean_gradient`.
        parallel_tasks: As for `mean_gradient`.

    Returns:
        A `MetaGradient`, with the same gradients on every replica.
    """
    if not several_replicas() or not in_task_order:
        result = mean_gradient(gradient, tasks, task_map=task_map, parallel_tasks=parallel_tasks)
        return result._replace(gradients=mean_over_replicas(result.gradients, shares))
    losses, parts, auxiliary = over_tasks(gradient, tasks, task_map=task_map, parallel_tasks=parallel_tasks)

    def total(rows):
        return tf.foldl(tf.add, rows, initializer=tf.zeros(rows.shape[1:], rows.dtype))

    sums = tf.nest.map_structure(total, gather_in_task_order(parts))
    return MetaGradient(mean_over_tasks(losses), _divided(sums, shares.total), losses, auxiliary)


def task_gradient(
    outer_loss: Callable[[Params, Any], tuple[tf.Tensor, Any]], params: Params, task: Any
) -> tuple[tf.Tensor, Params, Any]:
    """Computes one task's outer loss and its gradient.

    Args:
        outer_loss: `(params, task) -> (scalar loss, nest of tensors)`.
        params: Nest of float tensors, the meta-parameters.
        task: Nest of tensors.

    Returns:
        The loss, the gradient with the structure of `params`, and the nest that the outer loss returned.

    Raises:
        ValueError: If the loss does not depend on one of the parameters.
        LookupError: If an operation has no second derivative; the message names it.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(params)
        loss, auxiliary = outer_loss(params, task)
    with naming_missing_derivatives():
        gradients = tape.gradient(loss, params)
    require_gradients(gradients, "meta-gradient", "Freeze the variable, or let the query loss use it.")
    return loss, tf.nest.map_structure(tf.convert_to_tensor, gradients), auxiliary


def mean_over_tasks(values: tf.Tensor) -> tf.Tensor:
    """Averages [tasks, ...] over the tasks; the mean over no task is 0, not NaN."""
    if values.shape[0]:
        return tf.reduce_mean(values, axis=0)
    return tf.math.divide_no_nan(tf.reduce_sum(values, axis=0), tf.cast(tf.shape(values)[0], values.dtype))


def numbered(tasks: Any, shares: Shares | None = None) -> tuple[tf.Tensor, Any]:
    """Adds each task's number, which its random seeds depend on; replicas number their tasks one after the other.

    Args:
        tasks: Nest of tensors with a leading [tasks] axis.
        shares: `shares_of_replicas(tasks)`, if the caller has it.

    Returns:
        int32 [tasks], from 0 on the first replica, and the tasks.
    """
    shares = shares or shares_of_replicas(tasks)
    return shares.earlier + tf.range(shares.own), tasks


def shares_of_replicas(tasks: Any) -> Shares:
    """Counts the tasks of each replica.

    Args:
        tasks: This replica's tasks, a nest of tensors with a leading [tasks] axis.
    """
    return shares_of(tf.shape(tf.nest.flatten(tasks)[0])[0])


def examples_of(tasks: Any) -> Any:
    """Joins the tasks' examples along one axis.

    Args:
        tasks: Nest of tensors [tasks, examples, ...].

    Returns:
        Nest of tensors [tasks * examples, ...].

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.core.over_tasks import examples_of
    >>> examples_of(tf.constant([[1, 2, 3], [4, 5, 6]])).numpy().tolist()
    [1, 2, 3, 4, 5, 6]
    """
    return tf.nest.map_structure(lambda leaf: tf.reshape(leaf, tf.concat([[-1], tf.shape(leaf)[2:]], axis=0)), tasks)


def over_tasks(
    function: Callable[[Any], Any],
    tasks: Any,
    *,
    task_map: str = "mapped",
    parallel_tasks: int | None = None,
) -> Any:
    """Applies a function to each task and stacks the results.

    Without tasks the results have length 0. All task maps give the same results; which is fastest depends on the model
    and the device. "mapped" runs tasks as iterations of a loop that may overlap, one task for each thread: best for
    convolutions on a CPU. "vectorized" merges the tasks' operations, and warns about those that it cannot merge: best
    for small dense networks. "unrolled" repeats the graph for every task.

    Args:
        function: Takes one task, returns a nest of tensors.
        tasks: Nest of tensors with a leading [tasks] axis.
        task_map: One of `TASK_MAPS`.
        parallel_tasks: The greatest number of tasks in memory at once. None means one for each thread with "mapped"
            and all tasks with "vectorized". "unrolled" accepts only None.

    Returns:
        The nest of results, each with a leading [tasks] axis.

    Raises:
        ValueError: If `task_map` is unknown, or `parallel_tasks` does not fit it.
    """
    return _kept_and_added(lambda task: (function(task), ()), tasks, task_map, parallel_tasks)[0]


def _at_least_one(tasks: Any, count: tf.Tensor) -> Any:
    """Adds a task of zeros if there is none: a loop that never runs does not know the shapes of its results."""

    def padded(leaf):
        shape = tf.concat([[1 - tf.minimum(count, 1)], tf.shape(leaf)[1:]], axis=0)
        result = tf.concat([leaf, tf.zeros(shape, leaf.dtype)], axis=0)
        return tf.ensure_shape(result, [None, *leaf.shape[1:]])

    return tf.nest.map_structure(padded, tasks)


# AutoGraph would hide an error behind its own stack trace.
@tf.autograph.experimental.do_not_convert
def _kept_and_added(function: Callable[[Any], tuple[Any, Any]], tasks: Any, task_map: str, parallel_tasks: int | None):
    """Applies a function to each task; stacks the first of its two results, and adds up the second."""
    check_task_map(task_map, parallel_tasks)
    if task_map == "unrolled":
        kept, parts = _unrolled(function, tasks)
        return kept, tf.nest.map_structure(lambda leaf: tf.reduce_sum(leaf, axis=0), parts)
    first = tf.nest.flatten(tasks)[0]
    count = tf.shape(first)[0]
    if not first.shape[0]:
        tasks = _at_least_one(tasks, count)
    # None if all tasks count.
    counted = None if first.shape[0] else tf.range(tf.maximum(count, 1)) < count
    if task_map == "mapped":
        kept, added = _one_by_one(function, tasks, counted, parallel_tasks or _threads())
    elif parallel_tasks is None:
        kept, added = _merged(function, tasks, counted)
    else:
        chunks = _in_chunks(tasks, counted, parallel_tasks)
        kept, added = _one_by_one(lambda chunk: _merged(function, *chunk), chunks, None, 1)
        kept = tf.nest.map_structure(lambda leaf: _reshaped(leaf, [-1], leaf[0, 0]), kept)
    if not first.shape[0] or (task_map == "vectorized" and parallel_tasks):
        kept = tf.nest.map_structure(lambda leaf: leaf[:count], kept)
    return kept, added


def _one_by_one(function, tasks, counted, parallel_tasks):
    """Loops over tasks; stacks the first result, and adds up the second over the tasks that count."""
    # Traced first, because the loop must know its results' dtypes before its body exists.
    specs = tf.nest.map_structure(lambda leaf: tf.TensorSpec(leaf.shape[1:], leaf.dtype), tasks)
    traced = tf.function(function, autograph=False).get_concrete_function(specs)
    kept, added = traced.structured_outputs
    number = tf.shape(tf.nest.flatten(tasks)[0])[0]
    rows = [tf.TensorArray(leaf.dtype, number).unstack(leaf) for leaf in tf.nest.flatten(tasks)]
    stacks = [tf.TensorArray(leaf.dtype, number, element_shape=leaf.shape) for leaf in tf.nest.flatten(kept)]
    sums = [tf.zeros(leaf.shape, leaf.dtype) for leaf in tf.nest.flatten(added)]

    def next_task(index, stacks, sums):
        kept, added = traced(tf.nest.pack_sequence_as(tasks, [row.read(index) for row in rows]))
        stacks = [stack.write(index, leaf) for stack, leaf in zip(stacks, tf.nest.flatten(kept), strict=True)]
        pairs = zip(sums, tf.nest.flatten(added), strict=True)
        if counted is None:
            return index + 1, stacks, [value + leaf for value, leaf in pairs]
        return index + 1, stacks, [tf.where(counted[index], value + leaf, value) for value, leaf in pairs]

    _, stacks, sums = tf.while_loop(
        lambda index, *_: index < number,
        next_task,
        (tf.constant(0), stacks, sums),
        parallel_iterations=parallel_tasks,
        maximum_iterations=number,
    )
    kept = tf.nest.pack_sequence_as(kept, [stack.stack() for stack in stacks])
    return kept, tf.nest.pack_sequence_as(added, sums)


def _merged(function, tasks, counted):
    """Merges the tasks' operations; adds up the second result over the tasks that count, by default all."""
    vectorized = functools.partial(merged_map, function)
    with _errors_as_raised():
        # Called eagerly, tf.vectorized_map would make a function with AutoGraph.
        called = tf.function(vectorized, autograph=False) if tf.executing_eagerly() else vectorized
        kept, parts = called(tasks)

    def added(values):
        if counted is None:
            return tf.reduce_sum(values, axis=0)
        axes = tf.ones([tf.rank(values) - 1], tf.int32)
        counts = tf.reshape(counted, tf.concat([tf.shape(counted), axes], axis=0))
        return tf.reduce_sum(tf.where(counts, values, tf.zeros_like(values)), axis=0)

    return kept, tf.nest.map_structure(added, parts)


@contextlib.contextmanager
def _errors_as_raised() -> Iterator[None]:
    """Raises the original errors: under XLA, tf.vectorized_map calls AutoGraph, which adds stack traces to messages."""
    try:
        yield
    except Exception as error:
        raised = error
        while str(raised).startswith("in user code:") and type(raised.__context__) is type(error):
            raised = raised.__context__
        if raised is not error:
            vars(raised).pop("ag_error_metadata", None)  # With it, the next function would add a stack trace again.
            raise raised from None
        raise


def check_task_map(task_map: str, parallel_tasks: int | None) -> None:
    """Checks a task map and its number of parallel tasks.

    Args:
        task_map: One of `TASK_MAPS`.
        parallel_tasks: The greatest number of tasks in memory at once, or None.

    Raises:
        ValueError: If `task_map` is unknown, or `parallel_tasks` does not fit it.
    """
    if task_map not in TASK_MAPS:
        raise ValueError(f"Expected task_map to be one of {TASK_MAPS}. Received: {task_map!r}")
    if parallel_tasks is not None:
        whole_number("parallel_tasks", parallel_tasks, minimum=1)
        if task_map == "unrolled":
            raise ValueError(f"Expected parallel_tasks to be None with task_map='unrolled'. Received: {parallel_tasks}")


class MissingDerivativeError(LookupError):
    """An operation has no second derivative."""

    # AutoGraph keeps the type of an error only if it has this constructor; it would replace a plain LookupError.
    __init__ = Exception.__init__


@contextlib.contextmanager
def naming_missing_derivatives() -> Iterator[None]:
    """Raises a `MissingDerivativeError` in place of TensorFlow's LookupError."""
    try:
        yield
    except LookupError as error:
        raise MissingDerivativeError(
            f"Expected every operation to have the derivatives that exact meta-gradients need. Received: {error}. "
            "maml_tf.check_second_order names the layer; first_order=True needs no second derivatives."
        ) from error


def _unrolled(function, tasks):
    count = tf.nest.flatten(tasks)[0].shape[0]
    if count is None:
        raise ValueError(
            "Expected a static number of tasks with task_map='unrolled'. Received: None; batch with drop_remainder=True"
        )
    rows = zip(*(tf.unstack(leaf, num=count) for leaf in tf.nest.flatten(tasks)), strict=True)
    results = [function(tf.nest.pack_sequence_as(tasks, row)) for row in rows]
    return tf.nest.map_structure(lambda *leaves: tf.stack(leaves), *results)


def _threads() -> int:
    return tf.config.threading.get_inter_op_parallelism_threads() or os.cpu_count() or 1


def _in_chunks(tasks, counted, size):
    """Reshapes [tasks, ...] to [chunks, size, ...]; copies of the last task fill the last chunk and do not count."""
    first = tf.nest.flatten(tasks)[0]
    count = first.shape[0] or tf.shape(first)[0]
    chunks = -(-count // size)
    numbers = tf.range(chunks * size)
    rows = tf.minimum(numbers, count - 1)
    tasks = tf.nest.map_structure(lambda leaf: _reshaped(tf.gather(leaf, rows), [chunks, size], leaf[0]), tasks)
    filled = numbers < count if counted is None else tf.gather(counted, rows) & (numbers < count)
    return tasks, tf.reshape(filled, [chunks, size])


def _reshaped(values, leading, element):
    return tf.reshape(values, tf.concat([leading, tf.shape(element)], axis=0))


def choose_task_map(model: keras.Model) -> str:
    """Chooses a task map: "vectorized" for models that it is known to support and to speed up, otherwise "mapped".

    Args:
        model: A built Keras model.
    """
    on_gpu = bool(tf.config.list_logical_devices("GPU"))
    # Custom code may hold a loop whose number of iterations depends on the task.
    return "vectorized" if _is_dense(model) or (on_gpu and is_layer_graph(model)) else "mapped"


def choose_jit_compile(model: keras.Model) -> bool:
    """Chooses whether to compile training with XLA: only for models of dense layers, on one replica.

    Args:
        model: A built Keras model.
    """
    # XLA cannot reach the variables of another replica's device.
    return _is_dense(model) and tf.distribute.get_strategy().num_replicas_in_sync == 1


def _is_dense(layer: keras.layers.Layer) -> bool:
    """Returns whether a model has only dense layers; custom code may hold loops, which take long to trace."""
    if is_layer_graph(layer):
        return all(_is_dense(inner) for inner in layers_of(layer, include_self=False, recursive=False))
    return type(layer) in _DENSE_LAYERS
