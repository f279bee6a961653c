"""Distributions of reinforcement-learning tasks, a task being a short vector of numbers."""

from __future__ import annotations

import abc
from collections.abc import Sequence

import numpy as np


class TaskDistribution(abc.ABC):
    """Tasks as a function of uniform random numbers.

    Args:
        size: Numbers that make a task.
    """

    def __init__(self, size: int):
        self.size = size

    @abc.abstractmethod
    def from_unit(self, unit: np.ndarray) -> np.ndarray:
        """Maps uniform random numbers to tasks.

        Args:
            unit: [tasks, size] in [0, 1).

        Returns:
            Tasks, [tasks, size].
        """

    def sample(self, n: int, seed: int | Sequence[int]) -> np.ndarray:
        """Draws tasks, a pure function of its arguments: the first tasks of a larger draw are the same.

        Args:
            n: How many.
            seed: Non-negative integer, or several: (seed of the run, iteration), for example.

        Returns:
            Tasks, float32 [n, size].

        Raises:
            ValueError: If `n` is not positive.
        """
        return self._tasks(n, np.random.default_rng(seed).random)

    def original_test_tasks(self, n: int = 40, seed: int = 1) -> np.ndarray:
        """Returns the tasks that the paper's authors evaluated on: the draws of NumPy's `RandomState(seed)`.

        Args:
            n: How many; 40 in the paper's figures.
            seed: 1 in the paper's figures, 2 for the ant that walks in two directions.

        Returns:
            Tasks, float32 [n, size].

        Raises:
            ValueError: If `n` is not positive.
        """
        return self._tasks(n, np.random.RandomState(seed).random_sample)

    def _tasks(self, n: int, uniform) -> np.ndarray:
        if n < 1:
            raise ValueError(f"Expected n to be at least 1. Received: n={n}")
        return self.from_unit(uniform((n, self.size))).astype(np.float32)


class UniformTasks(TaskDistribution):
    """Tasks uniform in a box.

    Example:
    >>> from maml_tf.rl.environments import UniformTasks
    >>> UniformTasks([0.0], [2.0]).sample(3, seed=1).shape
    (3, 1)

    Args:
        low: Least value of each number.
        high: Greatest value of each number.
    """

    def __init__(self, low: Sequence[float], high: Sequence[float]):
        self.low, self.high = np.asarray(low, np.float64), np.asarray(high, np.float64)
        if self.low.ndim != 1 or self.low.shape != self.high.shape or not np.all(self.low <= self.high):
            raise ValueError(f"Expected low and high to be vectors, low <= high. Received: low={low}, high={high}")
        super().__init__(len(self.low))

    def from_unit(self, unit: np.ndarray) -> np.ndarray:
        return self.low + (self.high - self.low) * unit


class DirectionTasks(TaskDistribution):
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
