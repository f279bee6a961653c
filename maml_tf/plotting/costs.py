"""Time and memory of a meta-iteration over the number of tasks and of inner steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from maml_tf.plotting import style

_AXES = (("tasks", "tasks"), ("inner_steps", "inner steps"))
_COSTS = (("median_ms", "ms a meta-iteration"), ("peak_mib", "peak memory, MiB"))


def cost_curves(lines: Sequence[dict[str, Any]], *, title: str | None = None) -> Figure:
    """Draws time and memory over the number of tasks, and over the number of inner steps.

    Args:
        lines: As `maml-tf benchmark` prints them: dictionaries with "workload", "first_order", "varied" ("tasks" or
            "inner_steps"), "tasks", "inner_steps", "median_ms" and "peak_mib".
        title: Title of the figure, such as the device's name.

    Returns:
        A figure of two rows, time and memory, of two panels.

    Raises:
        ValueError: If there are no lines.

    Example:
    >>> from maml_tf.plotting import cost_curves
    >>> line = {"workload": "sinusoid", "first_order": False, "varied": "tasks", "inner_steps": 1}
    >>> costs = [{**line, "tasks": n, "median_ms": 0.1 * n, "peak_mib": 600 + n} for n in (1, 4, 16)]
    >>> [panel.get_ylabel() for panel in cost_curves(costs).axes][::2]
    ['ms a meta-iteration', 'peak memory, MiB']
    """
    if not lines:
        raise ValueError("Expected at least one line. Received: none")
    kinds = list(dict.fromkeys((line["workload"], line["first_order"]) for line in lines))
    names = [f"{workload}, {'first order' if first_order else 'exact'}" for workload, first_order in kinds]
    with style.styled():
        figure = style.new_figure(7.0, 5.0)
        panels = figure.subplots(2, 2, sharex="col", sharey="row")
        for row, (cost, cost_label) in zip(panels, _COSTS, strict=True):
            for panel, (axis, _) in zip(row, _AXES, strict=True):
                for kind, (name, drawn) in zip(kinds, style.line_styles(names).items(), strict=True):
                    chosen = [line for line in lines if line["varied"] == axis]
                    chosen = [line for line in chosen if (line["workload"], line["first_order"]) == kind]
                    chosen.sort(key=lambda line: line[axis])
                    numbers, values = ([line[key] for line in chosen] for key in (axis, cost))
                    panel.plot(
                        numbers, values, color=drawn.color, linestyle=drawn.line, marker=drawn.marker, label=name
                    )
                panel.set_xscale("log")
                if cost == "median_ms":
                    panel.set_yscale("log")
            row[0].set_ylabel(cost_label)
        for panel, (_, axis_label) in zip(panels[-1], _AXES, strict=True):
            panel.set_xlabel(axis_label)
        figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=min(len(names), 4))
        if title:
            figure.suptitle(title)
    return figure
