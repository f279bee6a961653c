"""Sinusoid regression tasks of varying amplitude and phase, the regression experiment of the paper."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, NamedTuple

import tensorflow as tf

from maml_tf.checks import choice, flag, number, whole_number
from maml_tf.distribute import bounds
from maml_tf.tasks.episode import Episode, prefetched_map, stream_number


class SinusoidTasks(NamedTuple):
    """A batch of sinusoid tasks and an episode of each.

    Attributes:
        amplitude: float32 [tasks].
        phase: float32 [tasks], radians.
        episode: x and y float32 [tasks, points, 1].
    """

    amplitude: tf.Tensor
    phase: tf.Tensor
    episode: Episode


@dataclasses.dataclass(frozen=True)
class Sinusoids:
    r"""The task distribution `y = A sin(x - phase)` with A, phase and x uniform.

    Every draw is a pure function of (seed, index) in TensorFlow operations, so that it runs eagerly, in a graph, and
    under XLA inside a compiled training loop. For the same (seed, index) and number of tasks, amplitudes and phases do
    not depend on the number of points, and the support points of 5 shots are the first 5 of those of 10 shots:
    evaluations with different shots are paired.

    Source: Finn, Abbeel and Levine, 2017, section 5.1.

    Example:
    >>> from maml_tf.tasks import Sinusoids
    >>> drawn = Sinusoids().draw(seed=1, index=0, tasks=25, shots=10, queries=10)
    >>> drawn.amplitude.shape, drawn.episode.support_x.shape
    (TensorShape([25]), TensorShape([25, 10, 1]))

    Attributes:
        amplitude: Range of A, (low, high).
        phase: Range of the phase, (low, high) in radians.
        x: Range of the inputs, (low, high).
    """

    amplitude: tuple[float, float] = (0.1, 5.0)
    phase: tuple[float, float] = (0.0, math.pi)
    x: tuple[float, float] = (-5.0, 5.0)

    def __post_init__(self) -> None:
        for name in ("amplitude", "phase", "x"):
            _check_range(name, getattr(self, name))

    def draw(
        self,
        seed: int | tf.Tensor,
        index: int | tf.Tensor,
        *,
        tasks: int,
        shots: int,
        queries: int,
        query_grid: bool = False,
        support_half: Literal["left", "right"] | None = None,
    ) -> SinusoidTasks:
        """Draws element `index` of the stream of task batches with this seed.

        Args:
            seed: Integer, or int64 scalar.
            index: Integer, or int64 scalar.
            tasks: Number of tasks.
            shots: Support points of a task.
            queries: Query points of a task; may be 0 without a grid.
            query_grid: Whether the query inputs are `queries` evenly spaced points from one end of the range
                to the other, the same for every task, instead of uniform draws.
            support_half: "left" or "right" draws all support inputs from that half of the range (Figure 2).

        Returns:
            SinusoidTasks: amplitude and phase [tasks], episode x and y [tasks, points, 1], float32.

        Raises:
            ValueError: If a count is not a whole number or too small, or `support_half` is not None, "left" or "right".
        """
        seed, index = stream_number("seed", seed), stream_number("index", index)
        tasks, shots = whole_number("tasks", tasks, 1), whole_number("shots", shots, 1)
        queries = whole_number("queries", queries, 2 if flag("query_grid", query_grid) else 0)
        points = shots if query_grid else shots + queries
        # One call draws everything: inside a compiled loop, each random operation costs microseconds.
        key = tf.stack([tf.cast(seed, tf.int64), tf.cast(index, tf.int64)])
        unit = _uniform((2 + points) * tasks, key)
        amplitude = _scaled(unit[:tasks], self.amplitude)
        phase = _scaled(unit[tasks : 2 * tasks], self.phase)
        # The axis of points is the outer one in the stream, so that more points do not change the first ones.
        unit_x = tf.transpose(tf.reshape(unit[2 * tasks :], [points, tasks]))[:, :, tf.newaxis]
        support_x = _scaled(unit_x[:, :shots], self._support_range(support_half))
        if query_grid:
            grid = tf.linspace(tf.constant(self.x[0], tf.float32), tf.constant(self.x[1], tf.float32), queries)
            query_x = tf.tile(grid[tf.newaxis, :, tf.newaxis], [tasks, 1, 1])
        else:
            query_x = _scaled(unit_x[:, shots:], self.x)
        episode = Episode(
            support_x=support_x,
            support_y=sine_wave(support_x, amplitude, phase),
            query_x=query_x,
            query_y=sine_wave(query_x, amplitude, phase),
        )
        return SinusoidTasks(amplitude, phase, episode)

    def dataset(
        self,
        seed: int,
        *,
        tasks: int,
        shots: int,
        queries: int,
        query_grid: bool = False,
        first: int = 0,
        share: tuple[int, int] = (0, 1),
    ) -> tf.data.Dataset:
        """Returns the endless stream of meta-batches from element `first` on, as data of a Keras model.

        Args:
            seed: Seed of the stream.
            tasks: Tasks in a meta-batch.
            shots: Support points of a task.
            queries: Query points of a task.
            query_grid: See `draw`.
            first: Index of the first element: a resumed training passes its number of finished iterations.
            share: k and n, for only the k-th of n shares of each element; see `maml_tf.distribute.shared`.

        Returns:
            Data set of `((support_x, support_y, query_x), query_y)`, each [tasks, points, 1].

        Raises:
            ValueError: If `first`, a count or `share` is not a whole number, or out of range.
        """
        first = whole_number("first", first, 0)
        begin, end = bounds(whole_number("tasks", tasks, 1), share)

        # AutoGraph has nothing to convert here, and would hide the error of a wrong argument behind its stack trace.
        @tf.autograph.experimental.do_not_convert
        def element(index: tf.Tensor):
            drawn = self.draw(seed, index, tasks=tasks, shots=shots, queries=queries, query_grid=query_grid)
            return tf.nest.map_structure(lambda leaf: leaf[begin:end], drawn.episode.keras_data())

        return prefetched_map(tf.data.Dataset.range(first, tf.int64.max), element)

    def _support_range(self, half: str | None) -> tuple[float, float]:
        low, high = self.x
        middle = (low + high) / 2
        ranges = {None: (low, high), "left": (low, middle), "right": (middle, high)}
        return ranges[choice("support_half", half, ranges)]


def sine_wave(x: tf.Tensor, amplitude: tf.Tensor, phase: tf.Tensor) -> tf.Tensor:
    """Computes `amplitude * sin(x - phase)`.

    Args:
        x: [tasks, points, 1].
        amplitude: [tasks].
        phase: [tasks], radians.

    Returns:
        y, [tasks, points, 1].
    """
    return amplitude[:, tf.newaxis, tf.newaxis] * tf.sin(x - phase[:, tf.newaxis, tf.newaxis])


def with_task_input(drawn: SinusoidTasks) -> Episode:
    """Returns the episode with inputs (x, amplitude, phase), which the paper's oracle receives.

    Args:
        drawn: Tasks with x [tasks, points, 1].

    Returns:
        Episode with x [tasks, points, 3] and y unchanged.
    """
    task = tf.stack([drawn.amplitude, drawn.phase], axis=-1)[:, tf.newaxis, :]

    def extend(x: tf.Tensor) -> tf.Tensor:
        return tf.concat([x, tf.repeat(task, x.shape[1], axis=1)], axis=-1)

    episode = drawn.episode
    return episode._replace(support_x=extend(episode.support_x), query_x=extend(episode.query_x))


def pooled(episode: Episode) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns all points of all tasks as one regression batch, for pretraining on all tasks.

    Args:
        episode: x [tasks, points, inputs], y [tasks, points, outputs].

    Returns:
        x [tasks * all points, inputs] and y [tasks * all points, outputs].
    """
    x = tf.concat([episode.support_x, episode.query_x], axis=1)
    y = tf.concat([episode.support_y, episode.query_y], axis=1)
    return tf.reshape(x, [-1, x.shape[-1]]), tf.reshape(y, [-1, y.shape[-1]])


def _uniform(count: int, key: tf.Tensor) -> tf.Tensor:
    """Returns float32 [count] in [0, 1), the same with XLA and without."""
    # XLA's kernel and TensorFlow's draw the same random bits, but turn them into different float32 numbers.
    bits = tf.random.stateless_uniform([count], key, minval=None, maxval=None, dtype=tf.uint32, alg="philox")
    return tf.cast(tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.int32), tf.float32) * 2.0**-24


def _scaled(unit: tf.Tensor, limits: tuple[float, float]) -> tf.Tensor:
    low, high = limits
    return low + (high - low) * unit


def _check_range(name: str, limits: tuple[float, float]) -> None:
    if not isinstance(limits, (tuple, list)) or len(limits) != 2:
        raise ValueError(f"Expected {name} to be (low, high). Received: {name}={limits!r}")
    low, high = (number(name, limit) for limit in limits)
    if low > high:
        raise ValueError(f"Expected {name} to be (low, high) with low <= high. Received: {name}={limits}")
