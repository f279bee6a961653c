"""Results: rows of numbers, written to results.json and shown as a table."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

import maml_tf
from maml_tf.configuration import Configuration, differences, from_dict
from maml_tf.core.task_values import format_mean
from maml_tf.files import read_json, write_atomically
from maml_tf.tables import aligned

# Files that a training leaves in its directory,
RESULTS, CONFIG, WEIGHTS, TRAINING_RECORD = "results.json", "config.json", "best.weights.h5", "training.json"
# in a folder of the method there,
POLICY, NETWORK = "policy.keras", "network.keras"
# and in either.
VALIDATION = "validation.json"

_SIMULATORS = ("gymnasium", "metaworld", "mujoco")


@dataclasses.dataclass(frozen=True)
class Row:
    """A metric of a method after a number of inner steps, over test tasks.

    Attributes:
        method: Name of the method, such as "maml".
        shots: Examples a task (regression) or a class (classification) to adapt on, K.
        step: Inner steps taken.
        metric: Name of the metric.
        mean: Mean over all tasks.
        sd: Standard deviation over the tasks.
        ci95: Half-width of the 95 % confidence interval of the mean.
        tasks: Number of tasks.
        median: Median over the tasks, or None.
        diverged: Number of diverged tasks, or None where they were not counted.
        extra: Further values; each is a key of its own in the file.
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
        """Makes the row of a summary over tasks.

        Args:
            method: Name of the method.
            shots: Examples to adapt on.
            summary: An object with the other attributes, such as `maml_tf.StepSummary`.
            **extra: Further values of the row.
        """
        names = ("step", "metric", "mean", "sd", "ci95", "tasks", "median", "diverged")
        return cls(method, shots, **{name: getattr(summary, name) for name in names}, extra=extra)

    def to_dict(self) -> dict[str, Any]:
        """Returns the row as the file holds it: fields that are None are absent, extra values are keys of their own.

        Raises:
            ValueError: If an extra value has the name of a field.
        """
        values = {name: value for name, value in vars(self).items() if name != "extra"}
        clash = sorted(set(self.extra) & set(values))
        if clash:
            raise ValueError(f"Expected extra keys other than those of a row. Received: {clash}")
        return {name: value for name, value in values.items() if value is not None} | dict(self.extra)


def write_results(
    path: str | os.PathLike[str], *, experiment: str, config: Any, rows: Iterable[Row], seconds: float, **extra: Any
) -> pathlib.Path:
    """Writes results.json atomically and returns its path.

    A mean that is infinite or NaN, because a task diverged, is written as null: JSON has neither.

    Args:
        path: The file.
        experiment: Name of the experiment.
        config: The configuration, a dataclass.
        rows: The results.
        seconds: Wall-clock time of the experiment.
        **extra: Further top-level keys.
    """
    content = {
        "experiment": experiment,
        "config": dataclasses.asdict(config),
        "versions": versions(),
        "seconds": seconds,
        "rows": [row.to_dict() for row in rows],
        **extra,
    }
    return write_atomically(path, json.dumps(_json_ready(content), indent=1, allow_nan=False) + "\n")


def read_rows(path: str | os.PathLike[str]) -> list[Row]:
    """Reads the rows of a results.json in their order; null becomes NaN."""
    names = {field.name for field in dataclasses.fields(Row)} - {"extra"}
    rows = []
    for values in read_json(path)["rows"]:
        values = {key: math.nan if value is None else value for key, value in values.items()}
        known = {name: values.pop(name) for name in names & set(values)}
        rows.append(Row(**known, extra=values))
    return rows


def file_digest(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of a file in hexadecimal, by which results name the weights that they belong to."""
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that the numbers depend on, by name."""
    # Imported here because results are read without TensorFlow.
    import keras
    import tensorflow as tf

    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "maml_tf": maml_tf.__version__,
        **{name: importlib.metadata.version(name) for name in _SIMULATORS if name in sys.modules},
    }


def format_table(rows: Sequence[Row], *, steps: Sequence[int] | None = None, percent: bool = False) -> str:
    """Formats rows for the terminal: one line a method, shots and metric; one column a step.

    A cell is `mean +- ci95`. Where tasks diverged, `(median m, d of n diverged)` follows: a few diverged tasks can
    make up the whole mean.

    Args:
        rows: The results.
        steps: The steps to show, by default all.
        percent: Whether to show 100 times the values, as accuracies are.

    Example:
    >>> from maml_tf.results import Row, format_table
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
        cells = [format_mean(by_step[step], percent=percent) if step in by_step else "-" for step in shown]
        lines.append([method, str(shots), metric, *cells])
    return aligned(lines, right=[1])


class MethodResults:
    """Writes results.json after each method of an experiment, so that a killed run keeps what it has measured.

    The file keeps the rows of methods that earlier runs with the same configuration measured.

    Args:
        path: The file.
        experiment: Name of the experiment.
        config: The configuration.
        methods: The methods that this run measures.
        resume: Whether the run continues from checkpoints. Rows of another configuration are then replaced if they are
            all of `methods`: the checkpoints have checked what may change.

    Raises:
        ValueError: If the file holds rows of another configuration that are not replaced.

    Example:
    >>> import dataclasses, tempfile
    >>> from maml_tf.configuration import Configuration
    >>> from maml_tf.results import MethodResults, Row
    >>> config = dataclasses.make_dataclass("Config", [], bases=(Configuration,))()
    >>> with tempfile.TemporaryDirectory() as logdir:
    ...     for method in ("maml", "oracle"):  # Two runs.
    ...         results = MethodResults(f"{logdir}/results.json", "sinusoid", config, [method])
    ...         results.add(method, [Row(method, 5, 0, "mse", 1.0, 0.5, 0.1, 600)], training_seconds=70.0)
    >>> [row.method for row in results.rows]
    ['maml', 'oracle']
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        experiment: str,
        config: Configuration,
        methods: Collection[str],
        resume: bool = False,
    ):
        self._path, self._experiment, self._config = pathlib.Path(path), experiment, config
        self._began = time.monotonic()
        self._rows: dict[str, list[Row]] = {}
        self._values: dict[str, dict[str, Any]] = {}
        if self._path.exists():
            self._keep(methods, resume)

    @property
    def rows(self) -> list[Row]:
        """All rows of the file, with those of earlier runs."""
        return [row for rows in self._rows.values() for row in rows]

    def add(self, method: str, rows: Iterable[Row], **values: Any) -> None:
        """Writes the file with a method's rows, which replace earlier ones.

        Args:
            method: Name of the method.
            rows: The rows.
            **values: Further values of the method; the file holds each under its name, then the method.
        """
        self._rows[method] = list(rows)
        for name, value in values.items():
            self._values.setdefault(name, {})[method] = value
        seconds = time.monotonic() - self._began
        write_results(
            self._path, experiment=self._experiment, config=self._config, rows=self.rows, seconds=seconds,
            **self._values,
        )  # fmt: skip

    def _keep(self, methods: Collection[str], resume: bool) -> None:
        content = read_json(self._path)
        try:
            rows, experiment = read_rows(self._path), content["experiment"]
            differing = _differences(content, self._experiment, self._config)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f"Expected a results.json of this program. Received: {str(self._path)!r}: {error!r}"
            ) from error
        replaced = resume and experiment == self._experiment and {row.method for row in rows} <= set(methods)
        if differing and not replaced:
            raise ValueError(
                f"Expected the configuration of the results in {str(self._path)!r}, or another --logdir. Received: "
                f"one that differs in {differing} from that of {', '.join(dict.fromkeys(row.method for row in rows))}"
            )
        if differing:
            return
        for row in rows:
            self._rows.setdefault(row.method, []).append(row)
        known = {"experiment", "config", "versions", "seconds", "rows"}
        self._values = {name: value for name, value in content.items() if name not in known}


def _differences(content: dict[str, Any], experiment: str, config: Configuration) -> str:
    if content["experiment"] != experiment:
        return differences({"experiment": content["experiment"]}, {"experiment": experiment})
    # A file from before a field existed lacks it: from_dict fills in the default.
    stored = from_dict(type(config), content["config"])
    return differences(stored.results_identity(), config.results_identity())


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
