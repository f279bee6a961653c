"""Fits of sinusoids before and after adaptation (Figures 2 and 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from maml_tf.methods import label
from maml_tf.plotting import style


class SinusoidFit(NamedTuple):
    """One task as one method fits it.

    Attributes:
        x: Increasing inputs of the curves, [points].
        true_y: The sinusoid at `x`, [points].
        support_x: Inputs of the support set, [shots].
        support_y: Targets of the support set, [shots].
        predictions: From a number of inner steps to the predictions at `x`, [points]; at most three numbers.
    """

    x: np.ndarray
    true_y: np.ndarray
    support_x: np.ndarray
    support_y: np.ndarray
    predictions: Mapping[int, np.ndarray]


# The more inner steps, the darker.
_STEPS = (
    {"color": "#8FD3BC", "linestyle": ":", "linewidth": 2.2},
    {"color": "#3DB28D", "linestyle": "--", "linewidth": 1.7},
    {"color": "#00664A", "linestyle": "-", "linewidth": 1.9},
)


def sinusoid_fits(fits: Mapping[str, Sequence[SinusoidFit]], *, title: str | None = None) -> Figure:
    """Draws fits: a row for each method, a column for each task.

    Args:
        fits: From a method's name to its fits of the same tasks, in the same order for all methods.
        title: Title of the figure.

    Raises:
        ValueError: If there is nothing to draw, or the methods have different numbers of tasks.

    Source: Finn, Abbeel and Levine, 2017, Figures 2 and 7.
    """
    counts = {method: len(of_method) for method, of_method in fits.items()}
    if len(set(counts.values())) != 1 or 0 in counts.values():
        raise ValueError(f"Expected the same number of tasks for each method, at least one. Received: {counts}")
    columns = next(iter(counts.values()))
    with style.styled():
        figure = style.new_figure(0.6 + 2.9 * columns, 0.9 + 2.1 * len(fits))
        panels = figure.subplots(len(fits), columns, sharex="col", sharey="col", squeeze=False)
        for row, (method, of_method) in zip(panels, fits.items(), strict=True):
            for panel, fit in zip(row, of_method, strict=True):
                _draw(panel, fit)
                panel.set_title(f"{label(method)}, K = {len(fit.support_x)}")
            row[0].set_ylabel("y")
        for panel, fit in zip(panels[-1], of_method, strict=True):
            panel.set_xlabel("x (radians)")
            panel.set_xlim(fit.x[0], fit.x[-1])
        for column in range(columns):
            _limit(panels[0, column], [of_method[column] for of_method in fits.values()])
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 2 * columns - 1))
        if title:
            figure.suptitle(title)
    return figure


def _draw(panel: Axes, fit: SinusoidFit) -> None:
    panel.plot(fit.x, fit.true_y, color=style.VERMILION, linewidth=1.4, label="ground truth")
    of_steps = sorted(fit.predictions)
    if len(of_steps) > len(_STEPS):
        raise ValueError(f"Expected predictions at {len(_STEPS)} steps at most. Received: {of_steps}")
    for step, drawn in zip(of_steps, _STEPS[len(_STEPS) - len(of_steps) :], strict=True):
        name = "pre-update" if step == 0 else f"{step} gradient step{'s' * (step > 1)}"
        panel.plot(fit.x, fit.predictions[step], label=name, **drawn)
    panel.plot(
        fit.support_x,
        fit.support_y,
        "^",
        color="#7B2D8E",
        markeredgecolor="white",
        markeredgewidth=0.6,
        markersize=8,
        zorder=5,
        label="points used for the gradient",
    )


def _limit(panel: Axes, fits: Sequence[SinusoidFit]) -> None:
    """Bounds the vertical axis by the task, so that a diverged fit does not flatten it."""
    largest = max(float(np.max(np.abs(fit.true_y))) for fit in fits)
    drawn = np.concatenate([np.ravel(values) for fit in fits for values in fit.predictions.values()])
    drawn = drawn[np.isfinite(drawn)]
    reach = min(float(np.max(np.abs(drawn), initial=0.0)), 2.0 * largest)
    bound = 1.1 * max(largest, reach, 0.5)
    panel.set_ylim(-bound, bound)
