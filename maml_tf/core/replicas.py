"""A meta-batch split among the replicas of a `tf.distribute` strategy; each replica may hold any number of tasks.

Outside of a strategy, and with one replica, every function here returns its values unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf


class Shares(NamedTuple):
    """How the tasks of a meta-batch are split among replicas, int32 scalars.

    Attributes:
        own: Number of tasks of this replica.
        earlier: Number of tasks of the replicas before it.
        total: Number of tasks of all replicas.
    """

    own: tf.Tensor
    earlier: tf.Tensor
    total: tf.Tensor


def several_replicas() -> bool:
    """Returns whether the code runs on one of several replicas."""
    context = tf.distribute.get_replica_context()
    return context is not None and context.num_replicas_in_sync > 1


def shares_of(own: tf.Tensor) -> Shares:
    """Counts the replicas' tasks.

    Args:
        own: This replica's number of tasks, an int32 scalar.
    """
    if not several_replicas():
        return Shares(own, tf.constant(0), own)
    context = tf.distribute.get_replica_context()
    replica = context.replica_id_in_sync_group
    counts = sum_over_replicas(tf.one_hot(replica, context.num_replicas_in_sync, on_value=own, off_value=0))
    return Shares(own, tf.cumsum(counts, exclusive=True)[replica], tf.reduce_sum(counts))


def sum_over_replicas(value: tf.Tensor) -> tf.Tensor:
    """Adds up a tensor over the replicas."""
    if not several_replicas():
        return value
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)


def mean_over_replicas(means: Any, shares: Shares) -> Any:
    """Averages over all tasks what each replica has averaged over its own tasks.

    Args:
        means: Nest of float tensors [...].
        shares: The replicas' numbers of tasks.

    Returns:
        The nest, with the same bits on every replica; 0 without tasks.
    """
    if not several_replicas():
        return means
    # Exchanging one long vector takes a third of the time of many short ones.
    return _as_vectors(means, lambda vector: _weighted_sum(vector, shares), leading=0)


def gather_in_task_order(values: Any) -> Any:
    """Joins the tasks of all replicas along one axis, in order.

    Args:
        values: Nest of float tensors [tasks, ...].

    Returns:
        The nest [all tasks, ...].
    """
    if not several_replicas():
        return values
    context = tf.distribute.get_replica_context()
    return _as_vectors(values, lambda rows: context.all_gather(rows, axis=0), leading=1)


def merged_states(
    states: Sequence[tf.Tensor], before: Sequence[tf.Tensor], shares: Shares, *, in_task_order: bool = False
) -> list[tf.Tensor]:
    """Merges the states of all replicas' tasks: averages moving statistics, takes seeds and counters of task 0.

    Args:
        states: The values of a model's non-trainable variables after each of this replica's tasks, [tasks, ...].
        before: Their values before the tasks, [...].
        shares: The replicas' numbers of tasks.
        in_task_order: Whether sums have the same bits as on one replica.

    Returns:
        Tensors [...], the same on every replica; `before` if there are no tasks.
    """
    # The seeds of other tasks depend on their numbers.
    has_task_0 = (shares.own > 0) & tf.equal(shares.earlier, 0)
    merged = [tf.concat([state, old[tf.newaxis]], axis=0)[0] for state, old in zip(states, before, strict=True)]
    floating = [place for place, old in enumerate(before) if old.dtype.is_floating]
    if in_task_order:
        rows = gather_in_task_order([states[place] for place in floating])
        totals = [tf.reduce_sum(row, axis=0) for row in rows]
    else:
        totals = _sums_over_replicas([tf.reduce_sum(states[place], axis=0) for place in floating])
    for place, total in zip(floating, totals, strict=True):
        mean = tf.math.divide_no_nan(total, tf.cast(shares.total, total.dtype))
        merged[place] = tf.where(shares.total > 0, mean, before[place])
    whole = [place for place, old in enumerate(before) if old.dtype.is_integer]
    advances = [tf.cast(merged[place] - before[place], tf.int64) for place in whole]
    advances = _sums_over_replicas([tf.where(has_task_0, value, tf.zeros_like(value)) for value in advances])
    for place, advance in zip(whole, advances, strict=True):
        merged[place] = before[place] + tf.cast(advance, before[place].dtype)
    return merged


def _sums_over_replicas(values: list[tf.Tensor]) -> list[tf.Tensor]:
    return _as_vectors(values, sum_over_replicas, leading=0) if several_replicas() else values


def _weighted_sum(vector: tf.Tensor, shares: Shares) -> tf.Tensor:
    weight = tf.math.divide_no_nan(tf.cast(shares.own, vector.dtype), tf.cast(shares.total, vector.dtype))
    return sum_over_replicas(vector * weight)


def _as_vectors(values: Any, function: Any, *, leading: int) -> Any:
    """Joins the values of each dtype into one tensor, applies a function to it, and splits it again.

    Args:
        values: Nest of tensors with `leading` axes in common, of static shapes after these.
        function: Takes and returns a tensor of `leading` + 1 axes; it may change the length of the leading axis.
        leading: 0 or 1.
    """
    leaves = tf.nest.flatten(values)
    results: list[Any] = [None] * len(leaves)
    for dtype in dict.fromkeys(leaf.dtype for leaf in leaves):
        places = [place for place, leaf in enumerate(leaves) if leaf.dtype == dtype]
        sizes = [leaves[place].shape[leading:].num_elements() for place in places]
        rows = [
            tf.reshape(leaves[place], tf.concat([tf.shape(leaves[place])[:leading], [size]], axis=0))
            for place, size in zip(places, sizes, strict=True)
        ]
        together = function(tf.concat(rows, axis=leading))
        for place, part in zip(places, tf.split(together, sizes, axis=leading), strict=True):
            shape = tf.concat([tf.shape(part)[:leading], leaves[place].shape[leading:]], axis=0)
            results[place] = tf.reshape(part, shape)
    return tf.nest.pack_sequence_as(values, results)
