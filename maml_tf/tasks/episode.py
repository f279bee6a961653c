"""Episode: the support and query sets of a task, or of a batch of tasks, and streams of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from maml_tf.checks import whole_number
from maml_tf.distribute import bounds

# Two draws at once keep two cores busy, and more gain little: see docs/speed.md.
_SIDE_BY_SIDE = 2
_AHEAD = 2


class Episode(NamedTuple):
    """The data of one task, or of a meta-batch of tasks under a leading task axis.

    The learner adapts on the support set and is evaluated on the query set; the two share no example. Shapes of one
    task, in every task source of this package:

    * classification: `support_x [ways * shots, ...]`, `support_y [ways * shots]`,
      `query_x [ways * queries, ...]`, `query_y [ways * queries]`, with labels int32 in `[0, ways)`;
    * regression: `support_x [shots, inputs]`, `support_y [shots, outputs]`,
      `query_x [queries, inputs]`, `query_y [queries, outputs]`.

    A meta-batch has `[tasks, ...]` in front of each of the four.

    Attributes:
        support_x: Inputs to adapt on, float32.
        support_y: Targets to adapt on.
        query_x: Inputs on which the adapted learner is evaluated, float32.
        query_y: Targets of `query_x`.

    Example:
    >>> from maml_tf.tasks import Episode
    >>> episode = Episode(support_x=[[1.0]], support_y=[[2.0]], query_x=[[3.0]], query_y=[[4.0]])
    >>> episode.keras_data()
    (([[1.0]], [[2.0]], [[3.0]]), [[4.0]])
    """

    support_x: tf.Tensor
    support_y: tf.Tensor
    query_x: tf.Tensor
    query_y: tf.Tensor

    def keras_data(self) -> tuple[tuple[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]:
        """Returns `((support_x, support_y, query_x), query_y)`: inputs and target, the data of a Keras model."""
        return (self.support_x, self.support_y, self.query_x), self.query_y


def stream_number(name: str, value: int | tf.Tensor, minimum: int | None = None) -> int | tf.Tensor:
    """Checks a seed, or a position in a stream of tasks.

    Args:
        name: The argument's name, for the message.
        value: A whole number of 64 bits, or an integer tensor, whose value is not checked.
        minimum: The smallest allowed number.

    Returns:
        The number as an `int`, or the tensor.

    Raises:
        ValueError: If `value` is neither, or out of range.
    """
    if not tf.is_tensor(value):
        return whole_number(name, value, -(2**63) if minimum is None else minimum, 2**63 - 1)
    if not value.dtype.is_integer:
        raise ValueError(f"Expected {name} to be a whole number. Received: a tensor of {value.dtype}")
    return value


def prefetched_map(numbers: tf.data.Dataset, draw: Callable[[tf.Tensor], Any]) -> tf.data.Dataset:
    """Returns a stream's elements, drawn by their numbers.

    Two elements are drawn at once, and two more are prefetched. These numbers are fixed, because an autotuned iterator
    of tf.data that has run for 45 seconds waits at its end for the next tuning, for up to a minute.

    Args:
        numbers: The elements' numbers, in order.
        draw: Makes an element, a nest of tensors, from its number, a scalar of the numbers' dtype.

    Returns:
        The data set of the elements, in the order of the numbers.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.tasks.episode import prefetched_map
    >>> [int(element) for element in prefetched_map(tf.data.Dataset.range(4), tf.square)]
    [0, 1, 4, 9]
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    # Optimizing the graph would copy all that `draw` captures, a whole pool of images, and gain nothing.
    options.experimental_optimization.apply_default_optimizations = False
    drawn = numbers.map(draw, num_parallel_calls=_SIDE_BY_SIDE, deterministic=True).prefetch(_AHEAD)
    return drawn.with_options(options)


def meta_batches(
    assemble: Callable[[tf.Tensor, int | tf.Tensor], Any],
    *,
    meta_batch_size: int,
    first: int = 0,
    tasks: int | None = None,
    share: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Returns the meta-batches of a stream of tasks, prefetched by `prefetched_map`.

    Element b holds `meta_batch_size` tasks from number `b * meta_batch_size` on.

    Args:
        assemble: Makes an element from the number of its first task, int64, and its number of tasks. AutoGraph does not
            convert it.
        meta_batch_size: Tasks in an element.
        first: The first element: a run that consumed n elements continues with `first=n`.
        tasks: Number of tasks after which the stream ends (the last element may be smaller); None never ends.
        share: k and n, to draw only the k-th of n shares of each meta-batch.

    Raises:
        ValueError: If `meta_batch_size`, `first`, `tasks` or `share` is not a whole number, or out of range.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.tasks.episode import meta_batches
    >>> stream = meta_batches(lambda start, size: (start, size), meta_batch_size=4, tasks=10)
    >>> [tuple(map(int, element)) for element in stream]
    [(0, 4), (4, 4), (8, 2)]
    """
    meta_batch_size = whole_number("meta_batch_size", meta_batch_size, 1)
    first = whole_number("first", first, 0)
    if tasks is None:
        numbers = tf.data.Dataset.counter(first, dtype=tf.int64)
    else:
        tasks = whole_number("tasks", tasks, first * meta_batch_size + 1)
        numbers = tf.data.Dataset.range(first, -(-tasks // meta_batch_size))
    same_size = tasks is None or tasks % meta_batch_size == 0
    bounds(meta_batch_size, share)

    # AutoGraph has nothing to convert here, but would take half a second.
    @tf.autograph.experimental.do_not_convert
    def element(number: tf.Tensor) -> Any:
        start = number * meta_batch_size
        size = meta_batch_size if same_size else tf.cast(tf.minimum(tasks - start, meta_batch_size), tf.int32)
        begin, end = bounds(size, share)
        return assemble(start + tf.cast(begin, tf.int64), end - begin)

    return prefetched_map(numbers, element)
