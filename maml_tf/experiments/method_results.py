"""results.json of an experiment of several methods: written after each, beside what earlier runs left there."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Collection, Iterable
from typing import Any

from maml_tf.experiments import config as config_module
from maml_tf.experiments.results import Row, read_rows, write_results
from maml_tf.training.checkpointing import differences
from maml_tf.training.files import read_json

# No row depends on them.
_FREE_FIELDS = ("methods", "checkpoint_seconds")


class MethodResults:
    """Writes results.json after each method of an experiment, so that a run that is killed loses none.

    Rows of methods that earlier runs of the same configuration left in the file stay, until the method is measured
    again.

    Args:
        path: The file.
        experiment: Name of the experiment.
        config: Its dataclass of configuration.
        methods: Those that the run measures.
        resume: Whether they go on from their checkpoints, which know what of the configuration may have changed.

    Raises:
        ValueError: If the file holds results of another configuration, but with `resume` those of `methods` alone.

    Example:
    >>> import tempfile
    >>> from maml_tf.experiments.method_results import MethodResults
    >>> from maml_tf.experiments.results import Row
    >>> from maml_tf.experiments.sinusoid_config import SinusoidConfig
    >>> with tempfile.TemporaryDirectory() as logdir:
    ...     for method in ("maml", "oracle"):  # Two runs.
    ...         results = MethodResults(f"{logdir}/results.json", "sinusoid", SinusoidConfig(), [method])
    ...         results.add(method, [Row(method, 5, 0, "mse", 1.0, 0.5, 0.1, 600)], training_seconds=70.0)
    >>> [row.method for row in results.rows]
    ['maml', 'oracle']
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        experiment: str,
        config: Any,
        methods: Collection[str],
        resume: bool = False,
    ):
        self._path = pathlib.Path(path)
        self._experiment = experiment
        self._config = config
        self._began = time.monotonic()
        self._rows: dict[str, list[Row]] = {}
        self._values: dict[str, dict[str, Any]] = {}
        if self._path.exists():
            self._keep(methods, resume)

    @property
    def rows(self) -> list[Row]:
        """The rows of the file, those of earlier runs among them."""
        return [row for rows in self._rows.values() for row in rows]

    def add(self, method: str, rows: Iterable[Row], **values: Any) -> None:
        """Writes the file with a method's results, in the place of earlier ones.

        Args:
            method: Name of the method.
            rows: Its rows.
            **values: Further values of the method; each is a top-level key of the file, from method to value.
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
                f"Expected results as this program writes them. Received: others in {str(self._path)!r}: {error!r}"
            ) from error
        replaced = resume and experiment == self._experiment and {row.method for row in rows} <= set(methods)
        if differing and not replaced:
            raise ValueError(
                "Expected the configuration with which the results that are there were made, or another --logdir. "
                f"Received: one that differs in {differing} from that of "
                f"{', '.join(dict.fromkeys(row.method for row in rows))} in {str(self._path)!r}"
            )
        if differing:
            return
        for row in rows:
            self._rows.setdefault(row.method, []).append(row)
        known = {"experiment", "config", "versions", "seconds", "rows"}
        self._values = {name: value for name, value in content.items() if name not in known}


def _differences(content: dict[str, Any], experiment: str, config: Any) -> str:
    if content["experiment"] != experiment:
        return differences({"experiment": content["experiment"]}, {"experiment": experiment})
    # Results of before there was a field do not hold it.
    defaults = config_module.to_dict(type(config)())
    stored, given = (
        {name: value for name, value in values.items() if name not in _FREE_FIELDS}
        for values in ({**defaults, **content["config"]}, config_module.to_dict(config))
    )
    return differences(stored, given)
