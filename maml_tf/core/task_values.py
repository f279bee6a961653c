"""The metrics of tasks after every number of inner steps, and their summary over the tasks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from maml_tf.tables import aligned


@dataclasses.dataclass(frozen=True)
class StepSummary:
    """A metric over the tasks after a number of inner steps.

    Attributes:
        metric: Name of the metric.
        step: Number of inner steps taken.
        mean: Mean over all tasks: NaN or infinite if a task diverged beyond float32.
        sd: Sample standard deviation over the tasks.
        ci95: Half-width of the 95 % confidence interval of the mean, 1.96 sd / sqrt(tasks).
        tasks: Number of tasks.
        median: Median over the tasks; a NaN counts as infinite.
        diverged: Number of tasks whose value is not finite or over the divergence threshold.
    """

    metric: str
    step: int
    mean: float
    sd: float
    ci95: float
    tasks: int
    median: float
    diverged: int


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Every task's value of every metric at every number of inner steps; `print` shows the means as a table.

    Attributes:
        values: Dictionary from metric name to a float64 array [steps + 1, tasks], or [steps + 1, tasks, ...] for a
            metric that is not a scalar for each task; such a metric has no summary.
        divergence: Value above which a task counts as diverged.

    Example:
    >>> import numpy as np
    >>> from maml_tf.core.task_values import Evaluation
    >>> print(Evaluation({"loss": np.array([[4.0, 3.0, 5.0], [1.0, 0.5, 0.75]])}))  # 1 step, 3 tasks
    Means over 3 tasks +- half of the 95 % confidence interval
    <BLANKLINE>
    step  loss
       0  4.000 +- 1.132
       1  0.750 +- 0.283
    """

    values: Mapping[str, np.ndarray]
    divergence: float = math.inf

    def summary(self, metric: str, step: int) -> StepSummary:
        """Summarises a metric after a number of inner steps.

        Args:
            metric: Name of the metric.
            step: Number of inner steps, from 0.

        Returns:
            A `StepSummary`.

        Raises:
            ValueError: If the metric is not a scalar for each task.
        """
        values = self._scalars(metric)[step]
        tasks = len(values)
        diverged = int(np.sum(self._diverged(values)))
        with np.errstate(invalid="ignore", over="ignore"):
            sd = float(np.std(values, ddof=1)) if tasks > 1 else math.nan
            return StepSummary(
                metric, step, float(np.mean(values)), sd, 1.96 * sd / math.sqrt(tasks), tasks,
                float(np.median(np.where(np.isnan(values), np.inf, values))), diverged,
            )  # fmt: skip

    def diverged(self, metric: str) -> int:
        """Counts the tasks that have diverged after any number of inner steps, including 0.

        Args:
            metric: Name of the metric.

        Example:
        >>> import numpy as np
        >>> from maml_tf.core.task_values import Evaluation
        >>> values = np.array([[1.0, 2.0, 3.0], [0.5, np.nan, 1e9], [0.4, np.nan, 0.2]])  # 3 tasks, 2 steps
        >>> Evaluation({"loss": values}, divergence=100.0).diverged("loss")
        2
        """
        return int(np.sum(np.any(self._diverged(self._scalars(metric)), axis=0)))

    def _scalars(self, metric: str) -> np.ndarray:
        values = self.values[metric]
        if values.ndim != 2:
            raise ValueError(
                f"Expected a metric that is a scalar for each task. Received: {metric!r} of shape {values.shape[2:]} "
                "for each; take the mean over the examples"
            )
        return values

    def _diverged(self, values: np.ndarray) -> np.ndarray:
        return ~(values <= self.divergence) | ~np.isfinite(values)

    def summaries(self) -> list[StepSummary]:
        """Summarises every metric at every step.

        Returns:
            A `StepSummary` for each metric and step, steps innermost.
        """
        return [self.summary(metric, step) for metric, values in self.values.items() for step in range(len(values))]

    def __str__(self) -> str:
        steps, tasks = next(iter(self.values.values())).shape[:2]
        scalars = [metric for metric, values in self.values.items() if values.ndim == 2]
        rows = [["step", *scalars]]
        rows += [[str(step), *(format_mean(self.summary(one, step)) for one in scalars)] for step in range(steps)]
        lines = [f"Means over {tasks} tasks +- half of the 95 % confidence interval", aligned(rows, right=[0])]
        lines += [
            f"{metric} has values {list(values.shape[2:])} of each task, and no mean"
            for metric, values in self.values.items()
            if values.ndim != 2
        ]
        return "\n\n".join(lines if scalars else [lines[0], *lines[2:]])


def format_mean(summary: Any, *, percent: bool = False) -> str:
    """Formats a summary over tasks as `mean +- ci95`.

    Where tasks diverged, `(median m, d of n diverged)` follows: a few diverged tasks can make up the whole mean.

    Args:
        summary: A `StepSummary`, or what else has its numbers; its median and its count of diverged tasks may be None.
        percent: Whether to show 100 times the values, as accuracies are.

    Returns:
        The text.

    Example:
    >>> from maml_tf.core.task_values import StepSummary, format_mean
    >>> format_mean(StepSummary("loss", 1, mean=9.5, sd=70.0, ci95=5.6, tasks=600, median=0.4, diverged=2))
    '9.500 +- 5.600 (median 0.400, 2 of 600 diverged)'
    """

    def number(value: float) -> str:
        if not math.isfinite(value):
            return str(value)
        if percent:
            return f"{100 * value:.1f}"
        return f"{value:.3f}" if abs(value) < 10_000 else f"{value:.2e}"

    text = f"{number(summary.mean)} +- {number(summary.ci95)}"
    if summary.diverged:
        median = "" if summary.median is None else f"median {number(summary.median)}, "
        text += f" ({median}{summary.diverged} of {summary.tasks} diverged)"
    return text
