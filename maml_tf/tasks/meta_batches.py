"""A stream of tasks as a `tf.data.Dataset` of meta-batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from maml_tf.tasks.counts import check_counts
from maml_tf.tasks.drawn_ahead import drawn_ahead


def meta_batches(
    assemble: Callable[[tf.Tensor, int | tf.Tensor], Any],
    *,
    meta_batch_size: int,
    first: int = 0,
    tasks: int | None = None,
) -> tf.data.Dataset:
    """Returns the meta-batches of a stream of tasks, made side by side and ahead of their use.

    Element b holds the tasks `b * meta_batch_size` and on.

    Args:
        assemble: Makes an element, from the number of its first task, int64, and how many it holds. AutoGraph does not
            look into it.
        meta_batch_size: Tasks in an element.
        first: The element to start at: a run that consumed `first` elements goes on with this.
        tasks: End the stream after this many tasks (the last element may be smaller); None never ends.

    Returns:
        The data set, prefetched.

    Raises:
        ValueError: If `meta_batch_size`, `first` or `tasks` is out of range.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.tasks.meta_batches import meta_batches
    >>> stream = meta_batches(lambda start, size: (start, size), meta_batch_size=4, tasks=10)
    >>> [tuple(map(int, element)) for element in stream]
    [(0, 4), (4, 4), (8, 2)]
    """
    check_counts(1, meta_batch_size=meta_batch_size)
    check_counts(0, first=first)
    if tasks is None:
        numbers = tf.data.Dataset.counter(first, dtype=tf.int64)
    else:
        check_counts(first * meta_batch_size + 1, tasks=tasks)
        numbers = tf.data.Dataset.range(first, -(-tasks // meta_batch_size))
    same_size = tasks is None or tasks % meta_batch_size == 0

    # Where there is nothing to convert, looking for it takes half a second.
    @tf.autograph.experimental.do_not_convert
    def element(number: tf.Tensor) -> Any:
        start = number * meta_batch_size
        size = meta_batch_size if same_size else tf.cast(tf.minimum(tasks - start, meta_batch_size), tf.int32)
        return assemble(start, size)

    return drawn_ahead(numbers, element)
