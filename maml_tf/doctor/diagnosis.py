"""Finds out why a learner does not adapt: measurements, verdicts, a table and TensorBoard summaries."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from maml_tf.doctor.measurements import Instrument, Measurements
from maml_tf.doctor.verdicts import Verdict, verdicts
from maml_tf.learner import MetaLearner
from maml_tf.tables import aligned

_WIDTH = 100


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """Measurements of a learner, and the faults that they show; `print` shows both as tables.

    Attributes:
        learner: Name of the learner.
        measurements: The numbers.
        verdicts: The faults found, causes before their possible effects; empty for a healthy learner.
    """

    learner: str
    measurements: Measurements
    verdicts: tuple[Verdict, ...]

    @property
    def healthy(self) -> bool:
        """Whether no fault was found."""
        return not self.verdicts

    @property
    def names(self) -> list[str]:
        """The names of the faults found."""
        return [verdict.name for verdict in self.verdicts]

    def scalars(self) -> dict[str, float]:
        """Returns numbers to follow during training, by name: mostly medians over tasks, and the number of verdicts."""
        m = self.measurements
        scalars = {
            "support_loss/before": _median(m.support_before[:, 0]),
            "support_loss/after": _median(m.support_after[:, -1]),
            "query_loss/before": _median(m.query_loss[:, 0]),
            "query_loss/after": _median(m.query_loss[:, -1]),
            "query_loss/labels_permuted": _median(m.permuted_loss),
            "slope_used/first_step": _median(m.slope_used[:, 0]),
            "second_order/share": float(m.second_order_share[-1]),
            "second_order/degrees": float(m.second_order_angle[-1]),
            "leakage": _median(m.leakage),
            "label_order_gap": _median(m.order_gap),
        }
        for index, layer in enumerate(m.layers):
            scalars[f"update/{layer}"] = _median(m.updates[:, 0, index])
            scalars[f"dead_units/{layer}"] = float(m.dead_units[index])
        return {name: value for name, value in scalars.items() if np.isfinite(value)} | {"verdicts": len(self.verdicts)}

    def summarize(self, step: int, *, scalars: bool = True) -> None:
        """Writes the scalars and the table to the default TensorBoard writer, in the folder "diagnosis".

        Args:
            step: Number of the training iteration.
            scalars: Whether to write the scalars, which make curves of several diagnoses.
        """
        for name, value in self.scalars().items() if scalars else ():
            tf.summary.scalar(f"diagnosis/{name}", value, step)
        # Markdown shows indented lines unchanged.
        tf.summary.text("diagnosis/table", textwrap.indent(str(self), "    "), step)

    def __str__(self) -> str:
        m = self.measurements
        size = f"{_count(m.tasks, 'task')}, {_count(m.steps, 'inner step')}"
        title = f"Diagnosis of {self.learner!r}: {size} (medians over tasks)"
        return "\n\n".join([title, self._steps(), self._layers(), self._notes(), self._found()])

    def _steps(self) -> str:
        m = self.measurements
        rows = [["step", "support loss before", "after", "query loss after", "slope used"]]
        rows.append(["-", "", "", _short(_median(m.query_loss[:, 0])), ""])
        for step in range(m.steps):
            before, after = m.support_before[:, step], m.support_after[:, step]
            values = before, after, m.query_loss[:, step + 1], m.slope_used[:, step]
            rows.append([str(step + 1), *(_short(_median(value)) for value in values)])
        return _table(rows)

    def _layers(self) -> str:
        m = self.measurements
        last = [f"step {m.steps}"] if m.steps > 1 else []
        rows = [["layer", "update/weights: step 1", *last, "curvature", "2nd-order share", "angle", "dead units"]]
        for index, layer in enumerate(m.layers):
            of_steps = [_short(_median(m.updates[:, step, index])) for step in sorted({0, m.steps - 1})]
            curvature, dead = _short(_median(m.curvature[:, 0, index])), _percent(m.dead_units[index])
            rows.append([layer, *of_steps, curvature, *self._second_order(index), dead])
        rows.append(["all", "", *[""] * len(last), "", *self._second_order(-1), ""])
        return _table(rows)

    def _second_order(self, index: int) -> tuple[str, str]:
        angle = self.measurements.second_order_angle[index]
        degrees = "-" if np.isnan(angle) else f"{angle:.0f}\N{DEGREE SIGN}"
        return _percent(self.measurements.second_order_share[index]), degrees

    def _notes(self) -> str:
        m = self.measurements
        lines = [f"query loss with permuted support labels: {_short(_median(m.permuted_loss))}"]
        if m.ways:
            lines.append(
                f"accuracy: {np.mean(m.accuracy):.1%}; it varies by {np.mean(m.order_gap):.1%} with the order in which "
                "classes are numbered"
            )
        declared = ", ".join(m.transductive_layers)
        says = f' (batch_statistics="always" in {declared})' if declared else ""
        lines.append(f"the prediction of a query changes by {_percent(_median(m.leakage))} without the others{says}")
        return "\n".join(textwrap.fill(line, _WIDTH, subsequent_indent="  ") for line in lines)

    def _found(self) -> str:
        if self.healthy:
            return "No fault found: the learner adapts."
        lines = []
        for number, verdict in enumerate(self.verdicts, start=1):
            lines += [f"{number}. {verdict.name}: {verdict.statement}", f"   Remedy: {verdict.remedy}"]
        return "\n".join(textwrap.fill(line, _WIDTH, subsequent_indent="   ") for line in lines)


class Doctor:
    """Diagnoses a learner repeatedly, compiled once; see `diagnose`.

    Args:
        learner: A `maml_tf.MetaLearner`, such as `maml_tf.MAML`; every call reads its current weights, and does not
            change them.

    Raises:
        TypeError: If `learner` is not a MetaLearner.
    """

    def __init__(self, learner: MetaLearner):
        self.learner = learner
        self._instrument = Instrument(learner)

    def __call__(self, episodes: Iterable[Any]) -> Diagnosis:
        """Diagnoses; see `diagnose`."""
        measured = self._instrument(episodes)
        return Diagnosis(self.learner.name, measured, tuple(verdicts(measured)))


def diagnose(learner: MetaLearner, episodes: Iterable[Any]) -> Diagnosis:
    """Finds out why a learner does not adapt: measures its inner steps and its meta-gradient, and names the faults.

    Args:
        learner: A `maml_tf.MetaLearner`, such as `maml_tf.MAML`, with any algorithm; it does not change.
        episodes: Meta-batches `((support_x, support_y, query_x), query_y)`, each with a leading task axis, such as one
            batch of training. Best are 8 to 25 tasks with several query examples of each class.

    Returns:
        A `Diagnosis`.

    Raises:
        TypeError: If `learner` is not a MetaLearner.
        ValueError: If there is no meta-batch, the shapes of an episode do not match each other or the model, or the
            support loss does not depend on a parameter.

    Example:
    >>> import keras
    >>> import maml_tf
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)])
    >>> learner = maml_tf.MAML(model, loss="mse", inner_learning_rate=20.0)
    >>> x = keras.random.normal((8, 5, 2), seed=0)  # 8 tasks of 5 examples
    >>> y = keras.ops.sum(x, axis=2, keepdims=True)
    >>> maml_tf.diagnose(learner, [((x[:, :3], y[:, :3], x[:, 3:]), y[:, 3:])]).names
    ['step_too_large']
    """
    return Doctor(learner)(episodes)


def _median(values: np.ndarray) -> float:
    """Returns the median over tasks; a NaN counts as infinite, unless all are NaN."""
    return float("nan") if np.isnan(values).all() else float(np.median(np.where(np.isnan(values), np.inf, values)))


def _short(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3g}"


def _percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{share:.0%}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    return aligned(rows, right=range(1, len(rows[0])))
