"""The results of an experiment: rows of numbers, written to results.json and shown as a table."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import pathlib
import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import maml_tf
from maml_tf.experiments import config as config_module
from maml_tf.training.files import read_json, write_atomically

RESULTS = "results.json"


@dataclasses.dataclass(frozen=True)
class Row:
    """A metric of a method after a number of inner steps, over test tasks.

    Attributes:
        method: Name of the method, such as "maml".
        shots: Examples a task (regression) or a class (classification) to adapt on, K.
        step: Inner steps taken.
        metric: Name of the metric.
        mean: Mean over the tasks, none left out.
        sd: Standard deviation over the tasks.
        ci95: Half-width of the 95 % confidence interval of the mean.
        tasks: Number of tasks.
        median: Median over the tasks, if it was taken.
        diverged: Number of diverged tasks, if they were counted.
        extra: Further values, each a key of its own in the file.
    """

    method: str
    shots: int
    step: int
    metric: str
    mean: float
    sd: float
    ci95: float
    tasks: int
    median: float | None = None
    diverged: int | None = None
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, method: str, shots: int, summary: Any, **extra: Any) -> Row:
        """Returns the row of a summary over tasks.

        Args:
            method: Name of the method.
            shots: Examples to adapt on.
            summary: An object with the other attributes, such as `maml_tf.core.task_values.StepSummary`.
            **extra: Further values of the row.

        Returns:
            The row.
        """
        names = ("step", "metric", "mean", "sd", "ci95", "tasks", "median", "diverged")
        return cls(method, shots, **{name: getattr(summary, name) for name in names}, extra=extra)

    def to_dict(self) -> dict[str, Any]:
        """Lists what the file holds of the row.

        Returns:
            From key to value: the fields, of the optional ones those that are there, and every extra value.

        Raises:
            ValueError: If an extra value has the name of a field.
        """
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        extra = values.pop("extra")
        clash = sorted(set(extra) & set(values))
        if clash:
            raise ValueError(f"Expected extra keys other than those of a row. Received: {clash}")
        optional = ("median", "diverged")
        return {k: v for k, v in values.items() if k not in optional or v is not None} | dict(extra)


def write_results(
    path: str | os.PathLike[str],
    *,
    experiment: str,
    config: Any,
    rows: Iterable[Row],
    seconds: float,
    **extra: Any,
) -> pathlib.Path:
    """Writes results.json, whole or not at all.

    JSON has no infinity and no NaN, the mean over tasks of which one diverged: they are written as null.

    Args:
        path: The file.
        experiment: Name of the experiment.
        config: Its dataclass of configuration.
        rows: The results.
        seconds: Wall-clock time of the experiment.
        **extra: Further top-level keys.

    Returns:
        The path.
    """
    content = {
        "experiment": experiment,
        "config": config_module.to_dict(config),
        "versions": versions(),
        "seconds": seconds,
        "rows": [row.to_dict() for row in rows],
        **extra,
    }
    return write_atomically(path, json.dumps(_json_ready(content), indent=1, allow_nan=False) + "\n")


def read_rows(path: str | os.PathLike[str]) -> list[Row]:
    """Reads the rows of a results.json; null becomes NaN.

    Args:
        path: The file.

    Returns:
        The rows in their order.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    known = {field.name for field in dataclasses.fields(Row)} - {"extra"}
    rows = []
    for values in read_json(path)["rows"]:
        values = {key: math.nan if value is None else value for key, value in values.items()}
        extra = {key: value for key, value in values.items() if key not in known}
        rows.append(Row(**{key: value for key, value in values.items() if key in known}, extra=extra))
    return rows


def file_digest(path: str | os.PathLike[str]) -> str:
    """Computes what results and the weights that they are of are matched by.

    Args:
        path: The file of weights.

    Returns:
        The SHA-256 of its content, in hexadecimal.
    """
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def versions() -> dict[str, str]:
    """Lists the versions of Python and of the packages that the numbers depend on.

    Returns:
        From name to version.
    """
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "maml_tf": maml_tf.__version__,
    }


def format_table(rows: Sequence[Row], *, steps: Sequence[int] | None = None, percent: bool = False) -> str:
    """Formats rows for the terminal: one line a method, shots and metric, one column a step.

    A cell is `mean +- ci95`, and where a task diverged, `(median m, d of n diverged)`: a mean that one task
    owns says little.

    Args:
        rows: The results.
        steps: The steps to show, by default all.
        percent: Whether to show hundreds, as accuracies are.

    Returns:
        The table, without a line end.

    Example:
    >>> from maml_tf.experiments.results import Row, format_table
    >>> print(format_table([Row("maml", 5, step, "mse", 3.2 / (1 + step), 1, 0.1, 600) for step in (0, 1)]))
    method  shots  metric  after 0 steps   after 1 step
    maml        5  mse     3.200 +- 0.100  1.600 +- 0.100
    """
    shown = sorted({row.step for row in rows}) if steps is None else list(steps)
    header = ["method", "shots", "metric", *(f"after {step} step{'s' * (step != 1)}" for step in shown)]
    groups: dict[tuple[str, int, str], dict[int, Row]] = {}
    for row in rows:
        groups.setdefault((row.method, row.shots, row.metric), {})[row.step] = row
    lines = [header]
    for (method, shots, metric), by_step in groups.items():
        cells = [_cell(by_step[step], percent) if step in by_step else "-" for step in shown]
        lines.append([method, str(shots), metric, *cells])
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            text.rjust(width) if column == 1 else text.ljust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cell(row: Row, percent: bool) -> str:
    def number(value: float) -> str:
        if not math.isfinite(value):
            return str(value)
        if percent:
            return f"{100 * value:.1f}"
        return f"{value:.3f}" if abs(value) < 10_000 else f"{value:.2e}"

    cell = f"{number(row.mean)} +- {number(row.ci95)}"
    if row.diverged:
        median = "" if row.median is None else f"median {number(row.median)}, "
        cell += f" ({median}{row.diverged} of {row.tasks} diverged)"
    return cell


def _json_ready(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_ready(item) for item in value]
    if isinstance(value, np.generic):
        return _json_ready(value.item())
    if isinstance(value, np.ndarray):
        return _json_ready(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
