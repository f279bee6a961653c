"""Distributions of reinforcement-learning tasks: any objects, or vectors of numbers."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import numpy as np

from maml_tf.checks import whole_number


class TaskDistribution(abc.ABC):
    """A distribution of tasks, which may be any objects; several tasks are a list, or an array with a leading axis.

    A subclass must define `sample`. If numbers can describe its tasks to an oracle, it also sets `size` and defines
    `features`.

    Attributes:
        size: Number of numbers that describe a task in an observation; 0 if there are none.

    Example:
    >>> import numpy as np
    >>> from maml_tf.rl.environments import TaskDistribution
    >>> class Mazes(TaskDistribution):
    ...     def sample(self, n, seed):
    ...         random = np.random.default_rng(seed)
    ...         return [{"walls": random.integers(9, size=4).tolist()} for _ in range(n)]
    >>> len(Mazes().sample(3, seed=1))
    3
    """

    size: int = 0

    @abc.abstractmethod
    def sample(self, n: int, seed: int | Sequence[int]) -> Sequence[Any]:
        """Draws `n` tasks, as a pure function of its arguments.

        Args:
            n: Number of tasks.
            seed: Non-negative integer, or several, such as (seed of the run, iteration).
        """

    def checked(self, tasks: Sequence[Any]) -> Sequence[Any]:
        """Returns a copy of a user's tasks, and raises a ValueError if one of them is not a task."""
        return np.array(tasks) if isinstance(tasks, np.ndarray) else list(tasks)

    def features(self, tasks: Sequence[Any]) -> np.ndarray:
        """Returns the numbers that describe tasks to an oracle, float32 [tasks, size]."""
        return np.zeros((len(tasks), 0), np.float32)


class VectorTasks(TaskDistribution):
    """Tasks that are vectors, float32 [tasks, size], and functions of uniform random numbers.

    Args:
        size: Length of a task's vector.
    """

    def __init__(self, size: int):
        self.size = size

    @abc.abstractmethod
    def from_unit(self, unit: np.ndarray) -> np.ndarray:
        """Maps uniform random numbers in [0, 1), [tasks, size], to tasks, [tasks, size]."""

    def sample(self, n: int, seed: int | Sequence[int]) -> np.ndarray:
        """Draws tasks; a larger draw with the same seed begins with the same tasks.

        Args:
            n: Number of tasks.
            seed: Non-negative integer, or several.

        Returns:
            Tasks, float32 [n, size].

        Raises:
            ValueError: If `n` is not positive.
        """
        unit = np.random.default_rng(seed).random((whole_number("n", n, minimum=1), self.size))
        return self.from_unit(unit).astype(np.float32)

    def checked(self, tasks: np.ndarray) -> np.ndarray:
        """Returns a copy of tasks, float32 [tasks, size]; raises a ValueError for another shape, NaN or infinity."""
        tasks = np.array(tasks, np.float32)
        if tasks.ndim != 2 or tasks.shape[1] != self.size or not np.all(np.isfinite(tasks)):
            raise ValueError(f"Expected finite tasks of shape [tasks, {self.size}]. Received: tasks={tasks.tolist()}")
        return tasks

    def features(self, tasks: np.ndarray) -> np.ndarray:
        """Returns the tasks themselves."""
        return np.asarray(tasks, np.float32)


class UniformTasks(VectorTasks):
    """Tasks uniform in a box.

    Example:
    >>> from maml_tf.rl.environments import UniformTasks
    >>> UniformTasks([0.0], [2.0]).sample(3, seed=1).shape
    (3, 1)

    Args:
        low: Lower bound of each number.
        high: Upper bound of each number.
    """

    def __init__(self, low: Sequence[float], high: Sequence[float]):
        self.low, self.high = np.asarray(low, np.float64), np.asarray(high, np.float64)
        if self.low.ndim != 1 or self.low.shape != self.high.shape or not np.all(self.low <= self.high):
            raise ValueError(f"Expected low and high to be vectors, low <= high. Received: low={low}, high={high}")
        super().__init__(len(self.low))

    def from_unit(self, unit: np.ndarray) -> np.ndarray:
        return self.low + (self.high - self.low) * unit


class DirectionTasks(VectorTasks):
    """Forwards (+1) and backwards (-1) with equal probability.

    Example:
    >>> from maml_tf.rl.environments import DirectionTasks
    >>> sorted(set(DirectionTasks().sample(100, seed=1).ravel().tolist()))
    [-1.0, 1.0]
    """

    def __init__(self):
        super().__init__(1)

    def from_unit(self, unit: np.ndarray) -> np.ndarray:
        return np.where(unit < 0.5, -1.0, 1.0)


class PlaneDirectionTasks(VectorTasks):
    """Unit vectors of the plane, uniform in their angle.

    Example:
    >>> import numpy as np
    >>> from maml_tf.rl.environments.task_distribution import PlaneDirectionTasks
    >>> np.linalg.norm(PlaneDirectionTasks().sample(2, seed=1), axis=1).round(6).tolist()
    [1.0, 1.0]
    """

    def __init__(self):
        super().__init__(2)

    def from_unit(self, unit: np.ndarray) -> np.ndarray:
        angle = 2.0 * np.pi * unit[:, 0]
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)


# The paper's distributions.
GOALS = UniformTasks([-0.5, -0.5], [0.5, 0.5])
# Metres per second.
HALF_CHEETAH_VELOCITIES = UniformTasks([0.0], [2.0])
ANT_VELOCITIES = UniformTasks([0.0], [3.0])
DIRECTIONS = DirectionTasks()
# Of the humanoid, which the paper does not have.
PLANE_DIRECTIONS = PlaneDirectionTasks()
