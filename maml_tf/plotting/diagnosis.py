"""A learner's diagnosis as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from maml_tf.plotting import style

if TYPE_CHECKING:
    from maml_tf.doctor.diagnosis import Diagnosis
    from maml_tf.doctor.measurements import Measurements


def diagnosis_figure(diagnosis: Diagnosis) -> Figure:
    """Draws the losses and the slope used over the inner steps, and each layer's update and second-order share.

    Lines are medians over the tasks, bands reach from the first to the third quartile. The title holds the verdicts.

    Args:
        diagnosis: What `maml_tf.diagnose` returned.
    """
    m = diagnosis.measurements
    with style.styled():
        figure = style.new_figure(9.0, 3.2 + max(2.2, 0.2 * len(m.layers) + 0.9))
        losses, slope, updates, second_order = figure.subplots(2, 2).flat
        _losses(losses, m)
        _slope(slope, m)
        _updates(updates, m)
        _second_order(second_order, m)
        found = "nothing found" if diagnosis.healthy else ", ".join(diagnosis.names).replace("_", " ")
        figure.suptitle(f"{diagnosis.learner}: {found}", fontweight="bold")
    return figure


def _losses(panel: Axes, m: Measurements) -> None:
    support = np.column_stack([m.support_before, m.support_after[:, -1]])
    _band(panel, range(m.steps + 1), m.query_loss, style.BLUE, "o", "query set")
    _band(panel, range(m.steps + 1), support, style.ORANGE, "s", "support set")
    permuted = m.permuted_loss[np.isfinite(m.permuted_loss)]
    if permuted.size:
        label = "query set, permuted\nsupport labels"
        panel.plot([m.steps], [np.median(permuted)], "x", color=style.VERMILION, markersize=7, label=label)
    panel.set_title("loss: median and quartiles over tasks")
    panel.set_xlabel("inner steps taken")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.legend()


def _slope(panel: Axes, m: Measurements) -> None:
    steps = np.arange(1, m.steps + 1)
    _band(panel, steps, m.slope_used, style.GREEN, "o", None)
    for height, text in ((1.0, "lowest\npoint"), (2.0, "as high\nas before")):
        panel.axhline(height, color=style.GREY, linestyle="--", linewidth=0.9)
        panel.annotate(
            text, (1.0, height), xycoords=("axes fraction", "data"), ha="left", va="center", color=style.GREY
        )
    top = np.nanmax(np.where(np.isfinite(m.slope_used), m.slope_used, np.nan), initial=2.0)
    panel.set_ylim(0, min(max(2.4, 1.05 * top), 5.0))
    panel.set_xlim(0.5, m.steps + 0.5)
    panel.set_title("share of the slope that a step uses up")
    panel.set_xlabel("inner step")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))


def _updates(panel: Axes, m: Measurements) -> None:
    for step, color, marker in ((0, style.SKY, "o"), (m.steps - 1, style.BLUE, "D")):
        label = f"step {step + 1}" if m.steps > 1 else None
        panel.plot(
            _medians(m.updates[:, step]), np.arange(len(m.layers)), marker, color=color, markersize=7, label=label
        )
    panel.set_xscale("log")
    shown = _medians(m.updates[:, [0, m.steps - 1]].reshape(m.tasks, -1))
    shown = np.log10(shown[shown > 0])
    if shown.size:
        # Whole powers of ten, so that the axis has at least two numbers.
        panel.set_xlim(10 ** (np.floor(shown.min() - 0.1)), 10 ** (np.ceil(shown.max() + 0.1)))
    panel.xaxis.set_major_formatter("{x:g}")
    panel.set_ylim(-0.5, len(m.layers) - 0.5)
    _name_layers(panel, m)
    panel.set_title("norm of the update / norm of the weights")
    if m.steps > 1:
        panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _second_order(panel: Axes, m: Measurements) -> None:
    shares, angles = m.second_order_share[:-1], m.second_order_angle[:-1]
    panel.barh(np.arange(len(m.layers)), np.nan_to_num(shares), 0.7, color=style.PURPLE)
    for row, (share, angle) in enumerate(zip(shares, angles, strict=True)):
        text = f" {angle:.0f}\N{DEGREE SIGN}" if np.isfinite(share) else " no meta-gradient"
        panel.annotate(text, (np.nan_to_num(share), row), va="center", annotation_clip=False)
    panel.set_xlim(0, 1.15 * max(1.0, np.nanmax(shares, initial=0.0)))
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    _name_layers(panel, m)
    panel.set_title("second-order part of the meta-gradient,\nand its angle to the first-order one")


def _band(panel: Axes, x, values: np.ndarray, color: str, marker: str, label: str | None) -> None:
    lower, middle, upper = (_medians(values, share) for share in (25, 50, 75))
    panel.fill_between(x, lower, upper, color=color, alpha=0.2, linewidth=0)
    panel.plot(x, middle, color=color, marker=marker, markersize=4.5, label=label)


def _medians(values: np.ndarray, share: float = 50) -> np.ndarray:
    """Percentiles over the tasks, of the finite values; NaN where there is none."""
    finite = [column[np.isfinite(column)] for column in values.T]
    return np.array([np.percentile(column, share) if column.size else np.nan for column in finite])


def _name_layers(panel: Axes, m: Measurements) -> None:
    panel.set_yticks(np.arange(len(m.layers)), [layer.rpartition("/")[2] for layer in m.layers])
    panel.invert_yaxis()
    panel.grid(axis="y", visible=False)
