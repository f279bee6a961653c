"""Curves over inner steps, with confidence bands (Figures 3 and 6), and over training iterations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from maml_tf.core.task_values import StepSummary
from maml_tf.methods import LineStyle, label
from maml_tf.plotting import style

_HOLLOW = {"linestyle": (0, (1, 2)), "linewidth": 1.0, "marker": "o", "markersize": 6.0, "markerfacecolor": "none"}


class Point(Protocol):
    """A result to plot, such as `maml_tf.results.Row`."""

    method: str
    shots: int
    step: int
    mean: float
    ci95: float


def learning_curves(
    rows: Sequence[Point] | Sequence[StepSummary],
    *,
    metric: str | None = None,
    log_scale: bool | None = None,
    percent: bool = False,
    shots_label: str = "K = {shots}",
    title: str | None = None,
    published: Sequence[Point] = (),
) -> Figure:
    """Draws the mean over tasks after each inner step, with a band of the 95 % confidence interval.

    Of results there is a panel for each number of shots and a line for each method, with its label and style of
    `maml_tf.methods`. Of an evaluation's summaries there is a panel for each metric.

    Args:
        rows: The results of one metric, or the summaries of an `Evaluation`.
        metric: Label of the vertical axis; by default "mean squared error", of summaries the metric's name.
        log_scale: Whether the vertical axis is logarithmic: for errors that fall by orders of magnitude. By default
            that of results is, and that of summaries where the mean changes tenfold.
        percent: Whether to write the metric, a share between 0 and 1, in percent.
        shots_label: Title of a panel, with the number of shots as {shots}.
        title: Title of the figure.
        published: The paper's results, drawn as hollow points beside the rows of the same method and number of shots.

    Raises:
        TypeError: If there are both results and summaries.
        ValueError: If there are no rows, or two rows of one method, number of shots and step, or two summaries of one
            metric and step.

    Source: Finn, Abbeel and Levine, 2017, Figures 3 and 6.

    Example:
    >>> import numpy as np
    >>> import maml_tf
    >>> evaluation = maml_tf.Evaluation({"loss": np.array([[4.0, 3.0], [0.4, 0.2]])})  # 1 step, 2 tasks
    >>> figure = maml_tf.plotting.learning_curves(evaluation.summaries())
    """
    if not rows:
        raise ValueError("Expected at least one row. Received: none")
    kinds = {isinstance(row, StepSummary) for row in rows}
    if len(kinds) > 1:
        raise TypeError("Expected results, or the summaries of an evaluation. Received: both")
    of_metrics = kinds == {True}
    rows = [_OfMetric(row) for row in rows] if of_metrics else rows
    places = [(row.method, row.shots, row.step) for row in rows]
    twice = sorted({place for place in places if places.count(place) > 1})
    if twice:
        what = "metric" if of_metrics else "method, shots"
        raise ValueError(f"Expected one row of each {what} and step. Received: several of {twice[0]}")
    drawn = {(row.method, row.shots) for row in rows}
    published = [point for point in published if (point.method, point.shots) in drawn]
    methods = list(dict.fromkeys(row.method for row in rows))
    # A panel a metric, in their order, or a number of shots.
    shots = list(dict.fromkeys(row.shots for row in rows)) if of_metrics else sorted({row.shots for row in rows})
    styles = {_OfMetric.method: LineStyle(style.BLUE, "-", "o")} if of_metrics else style.line_styles(methods)
    with style.styled():
        figure = style.new_figure(max(5.0, 0.8 + 3.1 * len(shots)), 3.4)
        panels = figure.subplots(1, len(shots), sharey=not of_metrics, squeeze=False)[0]
        for panel, of_shots in zip(panels, shots, strict=True):
            of_panel = [row for row in rows if row.shots == of_shots]
            logarithmic = _changes_tenfold(of_panel) if of_metrics and log_scale is None else log_scale is not False
            for method in methods:
                of_method = [row for row in of_panel if row.method == method]
                if of_method:
                    _draw(panel, of_method, styles[method], label(method), logarithmic)
                    beside = [point for point in published if (point.method, point.shots) == (method, of_shots)]
                    _draw_published(panel, beside, styles[method])
            if not of_metrics:
                panel.set_title(shots_label.format(shots=of_shots))
            if of_metrics or panel is panels[0]:
                _set_vertical_axis(
                    panel, metric or (of_shots if of_metrics else "mean squared error"), logarithmic, percent
                )
            panel.set_xlabel("gradient steps")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        handles: dict[str, Artist] = {}
        for panel in panels:
            for handle, text in zip(*panel.get_legend_handles_labels(), strict=True):
                handles.setdefault(text, handle)
        handles["95 % confidence"] = Patch(color=style.GREY, alpha=0.25, linewidth=0)
        if published:
            handles["paper"] = Line2D([], [], color=style.GREY, **_HOLLOW)
        columns = min(len(handles), 2 * len(shots))
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns)
        if title:
            figure.suptitle(title)
    return figure


def training_curves(iterations: Sequence[int], accuracies: Sequence[Sequence[float]]) -> Figure:
    """Draws the validation accuracy over a training: a curve before adaptation and one after each inner step.

    Args:
        iterations: Iteration of each validation, [validations].
        accuracies: Between 0 and 1, [validations, steps + 1].

    Raises:
        ValueError: If there are no validations, or the shapes do not fit each other.
    """
    values = np.asarray(accuracies, np.float64)
    if values.ndim != 2 or not len(values) or len(values) != len(iterations):
        raise ValueError(
            "Expected accuracies [validations, steps + 1] of at least one validation. "
            f"Received: shape {values.shape} for {len(iterations)} iterations"
        )
    with style.styled():
        figure = style.new_figure(5.0, 3.4)
        panel = figure.subplots()
        last = values.shape[1] - 1
        colors = matplotlib.colormaps["viridis"](np.linspace(0.85, 0.0, last + 1))
        for step, curve in enumerate(values.T):
            label = "before adaptation" if step == 0 else f"after {step} step{'s' * (step != 1)}"
            line = ":" if step == 0 else "-"
            marker = "o" if len(values) == 1 else None
            panel.plot(iterations, 100 * curve, color=colors[step], linestyle=line, marker=marker, label=label)
        panel.set_xlabel("iterations")
        panel.set_ylabel("validation accuracy, %")
        figure.legend(loc="outside right upper")
    return figure


class _OfMetric:
    """A summary of an evaluation as a result, with a panel for its metric."""

    method = "mean over tasks"

    def __init__(self, summary: StepSummary):
        self.shots = summary.metric
        self.step, self.mean, self.ci95 = summary.step, summary.mean, summary.ci95


def _changes_tenfold(rows: Sequence[Any]) -> bool:
    means = [row.mean for row in rows if np.isfinite(row.mean)]
    return bool(means) and min(means) > 0 and max(means) >= 10 * min(means)


def _set_vertical_axis(panel: Axes, name: str, log_scale: bool, percent: bool) -> None:
    if log_scale:
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_locator(NullLocator())
    if percent:
        panel.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g}")
    panel.set_ylabel(f"{name}, %" if percent else name)


def _draw(panel: Axes, rows: Sequence[Point], drawn: LineStyle, text: str, log_scale: bool) -> None:
    rows = sorted(rows, key=lambda row: row.step)
    step = np.array([row.step for row in rows])
    mean = np.array([row.mean for row in rows], np.float64)
    ci95 = np.array([row.ci95 for row in rows], np.float64)
    # Infinity, like NaN, leaves a gap.
    mean = np.where(np.isfinite(mean), mean, np.nan)
    lower = mean - ci95
    if log_scale:
        # A logarithmic axis has no zero: a band that reaches it ends at a tenth of the mean.
        lower = np.maximum(lower, 0.1 * mean)
    panel.fill_between(step, lower, mean + ci95, color=drawn.color, alpha=0.2, linewidth=0)
    panel.plot(step, mean, color=drawn.color, linestyle=drawn.line, marker=drawn.marker, markersize=4.5, label=text)


def _draw_published(panel: Axes, points: Sequence[Point], drawn: LineStyle) -> None:
    points = sorted(points, key=lambda point: point.step)
    if points:
        looks = {**_HOLLOW, "marker": drawn.marker}
        panel.plot([point.step for point in points], [point.mean for point in points], color=drawn.color, **looks)
