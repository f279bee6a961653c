"""The tab of sinusoids: click points, and two networks fit them in a few gradient steps."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

import numpy as np
from bokeh.models import ColumnDataSource, Toggle

from maml_tf import pretrained
from maml_tf.demo import widgets
from maml_tf.evaluation import Evaluator
from maml_tf.plotting import style
from maml_tf.tasks import Sinusoids

STEPS = (0, 1, 5, 10)
MOST_POINTS = 30
LIMIT_X, LIMIT_Y = (-5.0, 5.0), (-5.5, 5.5)
_SHOTS = 5
# From the entry of `maml_tf.pretrained` to the heading, and the colours of the steps.
_NETWORKS = {
    "sinusoid": ("MAML", ("#b8c2cc", "#8FD3BC", "#3DB28D", "#00664A")),
    "sinusoid_pretrained": ("Pretrained on all sinusoids", ("#b8c2cc", "#F3CE85", "#E69F00", "#8A5A00")),
}


class Fitter:
    """Two networks, MAML's and one pretrained on the points of all tasks, each fitted to points by gradient steps.

    Attributes:
        x: Where fits are computed, float32 [201].
    """

    def __init__(self):
        self.x = np.linspace(*LIMIT_X, 201, dtype=np.float32)
        self._evaluators = {
            name: Evaluator(pretrained.load(name), {"y": lambda targets, outputs: outputs}) for name in _NETWORKS
        }

    def fit(self, x: Sequence[float], y: Sequence[float]) -> dict[str, dict[int, np.ndarray]]:
        """Fits points.

        Args:
            x: Of each point, [points].
            y: Of each point, [points].

        Returns:
            For each network of the package, for each number of `STEPS`, y at `self.x`, [201].
        """
        support = [np.asarray(values, np.float32).reshape(1, -1, 1) for values in (x, y)]
        grid = self.x.reshape(1, -1, 1)
        episode = (*support, grid), np.zeros_like(grid)
        fits = {}
        for name, evaluator in self._evaluators.items():
            outputs = evaluator([episode], max(STEPS)).values["y"]
            fits[name] = {step: outputs[step, 0, :, 0] for step in STEPS}
        return fits

    def untouched(self) -> dict[str, dict[int, np.ndarray]]:
        """Returns the networks before any point is given: no steps but 0."""
        fits = self.fit([0.0], [0.0])
        return {name: {0: of_steps[0]} for name, of_steps in fits.items()}


def load() -> Fitter:
    """Loads the networks and compiles the functions that the tab calls."""
    fitter = Fitter()
    for points in (1, 2, 3):  # From the second number on, one graph serves all.
        fitter.fit([0.0] * points, [0.0] * points)
    return fitter


class Tab:
    """The tab of one visitor.

    Args:
        fitter: What all visitors share.

    Attributes:
        content: The tab's layout.
    """

    def __init__(self, fitter: Fitter):
        self._fitter = fitter
        self._seed, self._drawn = secrets.randbelow(2**31), 0
        self._points = ColumnDataSource({"x": [], "y": []}, name="sinusoid_points")
        self._truth = ColumnDataSource({"x": fitter.x, "y": np.full_like(fitter.x, np.nan)}, name="sinusoid_truth")
        self._fits = {
            name: {step: ColumnDataSource({"x": [], "y": []}, name=f"{name}_{step}") for step in STEPS}
            for name in _NETWORKS
        }
        self._errors = {name: widgets.text("", name=f"{name}_errors") for name in _NETWORKS}
        self._status = widgets.text("", name="sinusoid_status")
        self._shown = Toggle(
            label="Show truth", margin=(4, 4, 8, 8), stylesheets=[widgets.BUTTON], **widgets.named("show_truth")
        )
        self._shown.on_change("active", lambda attr, old, new: self._show_truth())
        self._truth_lines = []
        parts = [self._part(name, *of_network) for name, of_network in _NETWORKS.items()]
        self.content = widgets.column(
            widgets.text(
                "<h3>Click a few points: each network takes gradient steps on them</h3><p>Both have seen the same "
                "sinusoids. The network of MAML has learned that tasks <i>are</i> sinusoids, so that a few steps "
                "find the one meant, even where there are no points; the other has learned their mean.</p>"
            ),
            widgets.wrapping(
                widgets.button("New sinusoid", self._new, primary=True, name="new_sinusoid"),
                self._shown,
                widgets.button("Remove last point", self._remove, name="remove_point"),
                widgets.button("Clear", self._clear, name="clear_points"),
            ),
            widgets.wrapping(*parts),
            self._status,
            sizing_mode="stretch_width",
        )
        self._new()

    def _part(self, name, heading, colors):
        plot = widgets.plot(
            LIMIT_X, LIMIT_Y, title=heading, height=360, sizing_mode="stretch_width", name=f"{name}_plot"
        )
        line = plot.line(
            "x", "y", source=self._truth, color=style.VERMILION, line_dash="dashed", line_width=2, visible=False
        )
        self._truth_lines.append(line)
        for step, color in zip(STEPS, colors, strict=True):
            label = "before" if step == 0 else f"{step} step{'s' * (step > 1)}"
            plot.line(
                "x",
                "y",
                source=self._fits[name][step],
                color=color,
                line_width=2 if step < 10 else 3,
                legend_label=label,
            )
        plot.scatter("x", "y", source=self._points, size=11, color="#7B2D8E", line_color="white", level="overlay")
        widgets.legend_outside(plot, "below")
        widgets.on_tap(plot, self._add)
        return widgets.stacked(plot, self._errors[name], least=340)

    def _add(self, x, y):
        xs, ys = self._points.data["x"], self._points.data["y"]
        if len(xs) >= MOST_POINTS:
            return
        x, y = float(np.clip(x, *LIMIT_X)), float(np.clip(y, *LIMIT_Y))
        self._set([*xs, x], [*ys, y])

    def _remove(self):
        self._set(self._points.data["x"][:-1], self._points.data["y"][:-1])

    def _clear(self):
        self._shown.active = False
        self._truth.data = {"x": self._fitter.x, "y": np.full_like(self._fitter.x, np.nan)}
        self._set([], [])

    def _new(self):
        task = (
            Sinusoids()
            .draw(self._seed, self._drawn, tasks=1, shots=_SHOTS, queries=len(self._fitter.x), query_grid=True)
            .episode
        )
        self._drawn += 1
        self._shown.active = False
        self._truth.data = {"x": self._fitter.x, "y": np.asarray(task.query_y)[0, :, 0]}
        self._set(*(np.asarray(values)[0, :, 0].tolist() for values in (task.support_x, task.support_y)))

    def _show_truth(self):
        for line in self._truth_lines:
            line.visible = self._shown.active

    def _set(self, x, y):
        """Shows points and how the networks fit them."""
        self._points.data = {"x": list(x), "y": list(y)}
        began = time.perf_counter()
        fits = self._fitter.fit(x, y) if x else self._fitter.untouched()
        seconds = time.perf_counter() - began
        for name, sources in self._fits.items():
            for step, source in sources.items():
                fit = fits[name].get(step)
                source.data = {"x": [], "y": []} if fit is None else {"x": self._fitter.x, "y": fit}
            self._errors[name].text = _errors(fits[name], self._truth.data["y"])
        said = "Click into a plot to set the first point."
        if x:
            count = f"{len(x)} point{'s' * (len(x) > 1)}"
            said = f"{count}, {2 * max(STEPS)} gradient steps in {1000 * seconds:.0f} ms."
        self._status.text = f'<p class="muted">{said}</p>'


def _errors(fits, truth) -> str:
    """Returns a table of the mean squared errors, if there is a truth."""
    if np.isnan(truth).any():
        return '<p class="muted">The points are yours: there is no true sinusoid to measure the error by.</p>'
    errors = [f"{np.mean((fit - truth) ** 2):.2f}" for fit in fits.values()]
    heads = ["before" if step == 0 else f"{step} step{'s' * (step > 1)}" for step in fits]
    return (
        f"<table><tr><th></th>{''.join(f'<th>{head}</th>' for head in heads)}</tr><tr><td>error to the hidden "
        f"sinusoid</td>{''.join(f'<td>{error}</td>' for error in errors)}</tr></table>"
    )
