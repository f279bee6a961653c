"""Time and memory of a meta-iteration over the number of tasks and of inner steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from maml_tf.plotting import style

_AXES = (("tasks", "tasks"), ("inner_steps", "inner steps"))
_KEYS = {"workload", "first_order", "varied", "tasks", "inner_steps", "median_ms", "peak_mib"}
_COSTS = (("median_ms", "ms a meta-iteration"), ("peak_mib", "peak memory, MiB"))


def cost_curves(lines: Sequence[dict[str, Any]], *, title: str | None = None) -> Figure:
    """Draws time and memory over the number of tasks, and over the number of inner steps.

    Args:
        lines: As `maml-tf benchmark --curves` prints them: dictionaries with "workload", "first_order", "varied"
            ("tasks" or "inner_steps"), "tasks", "inner_steps", "median_ms" and "peak_mib"; and "peer", the program's
            name, where several programs are compared.
        title: Title of the figure, such as the device's name.

    Returns:
        A figure of two rows, time and memory, with a column for what varies: tasks, inner steps or both.

    Raises:
        ValueError: If there are no lines, or a line lacks one of these or varies something else.

    Example:
    >>> from maml_tf.plotting import cost_curves
    >>> line = {"workload": "sinusoid", "first_order": False, "varied": "tasks", "inner_steps": 1}
    >>> costs = [{**line, "tasks": n, "median_ms": 0.1 * n, "peak_mib": 600 + n} for n in (1, 4, 16)]
    >>> [panel.get_ylabel() for panel in cost_curves(costs).axes]
    ['ms a meta-iteration', 'peak memory, MiB']
    """
    if not lines:
        raise ValueError("Expected at least one line. Received: none")
    for line in lines:
        if missing := _KEYS - line.keys():
            raise ValueError(f"Expected a line to have {', '.join(sorted(missing))}. Received: {line}")
        if line["varied"] not in dict(_AXES):
            raise ValueError(f"Expected varied to be one of {list(dict(_AXES))}. Received: {line['varied']!r}")
    axes = [axis for axis in _AXES if len({line[axis[0]] for line in lines if line["varied"] == axis[0]}) > 1]
    axes = axes or [axis for axis in _AXES if axis[0] in {line["varied"] for line in lines}]
    several = len({line.get("peer") for line in lines}) > 1
    kinds: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        name = f"{line['workload']}, {'first order' if line['first_order'] else 'exact'}"
        kinds.setdefault(f"{line.get('peer')}: {name}" if several else name, []).append(line)
    with style.styled():
        figure = style.new_figure(7.0, 5.0)
        panels = figure.subplots(2, len(axes), sharex="col", sharey="row", squeeze=False)
        for row, (cost, cost_label) in zip(panels, _COSTS, strict=True):
            for panel, (axis, _) in zip(row, axes, strict=True):
                for name, drawn in style.line_styles(list(kinds)).items():
                    chosen = [line for line in kinds[name] if line["varied"] == axis]
                    chosen.sort(key=lambda line: line[axis])
                    numbers, values = ([line[key] for line in chosen] for key in (axis, cost))
                    panel.plot(
                        numbers, values, color=drawn.color, linestyle=drawn.line, marker=drawn.marker, label=name
                    )
                panel.set_xscale("log")
                if cost == "median_ms":
                    panel.set_yscale("log")
            row[0].set_ylabel(cost_label)
        for panel, (axis, axis_label) in zip(panels[-1], axes, strict=True):
            panel.set_xlabel(axis_label)
            panel.set_xticks(sorted({line[axis] for line in lines if line["varied"] == axis}))
            panel.xaxis.set_major_formatter("{x:g}")
            panel.xaxis.set_minor_locator(NullLocator())
        columns = min(len(kinds), 2 if several else 4)
        figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=columns)
        if title:
            figure.suptitle(title)
    return figure
