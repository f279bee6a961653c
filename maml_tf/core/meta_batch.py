"""A meta-batch's tensors, which have a leading task axis: the tasks' numbers, examples and states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def numbered(tasks: Any) -> tuple[tf.Tensor, Any]:
    """Adds each task's number, which its random seeds depend on.

    Args:
        tasks: Nest of tensors with a leading [tasks] axis.

    Returns:
        int32 [tasks] from 0, and the tasks.
    """
    return tf.range(tf.shape(tf.nest.flatten(tasks)[0])[0]), tasks


def examples_of(tasks: Any) -> Any:
    """Puts the tasks' examples one after the other.

    Args:
        tasks: Nest of tensors [tasks, examples, ...].

    Returns:
        Nest of tensors [tasks * examples, ...].

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.core.meta_batch import examples_of
    >>> examples_of(tf.constant([[1, 2, 3], [4, 5, 6]])).numpy().tolist()
    [1, 2, 3, 4, 5, 6]
    """
    return tf.nest.map_structure(lambda leaf: tf.reshape(leaf, tf.concat([[-1], tf.shape(leaf)[2:]], axis=0)), tasks)


def merged_states(states: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Merges the tasks' states: moving statistics are averaged, seeds and counters advance as task 0's did.

    Args:
        states: Tensors [tasks, ...], the values of a model's non-trainable variables.

    Returns:
        Tensors [...].
    """
    return [tf.reduce_mean(state, axis=0) if state.dtype.is_floating else state[0] for state in states]
