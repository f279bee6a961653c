"""Paths of a point in the plane: before and after an update (Figure 4), and as they grow, for videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from maml_tf.methods import label
from maml_tf.plotting import style

# Goals lie in [-0.5, 0.5].
_LEAST_EXTENT = 0.65


class Trajectories(NamedTuple):
    """Paths towards one goal.

    Attributes:
        goal: [2].
        before: Paths before the update, each [steps, 2].
        after: Paths after it, each [steps, 2].
    """

    goal: np.ndarray
    before: Sequence[np.ndarray]
    after: Sequence[np.ndarray]


def path_pictures(path: np.ndarray, goal: np.ndarray, width: int, height: int) -> np.ndarray:
    """Draws how a path grows: picture t shows the first t + 1 positions, a ring at the last and a cross at the goal.

    Args:
        path: Positions, [steps, 2].
        goal: [2].
        width: In pixels.
        height: In pixels.

    Returns:
        uint8 [steps, height, width, 3].
    """
    pictures, limit = [], max(_LEAST_EXTENT, 1.05 * float(np.abs(path).max()))
    with style.styled():
        for count in range(1, len(path) + 1):
            figure = style.new_figure(width / 100, height / 100)
            axes = figure.subplots()
            axes.plot(*np.asarray(goal), marker="x", color=style.VERMILION, markersize=9, markeredgewidth=2)
            axes.plot(path[:count, 0], path[:count, 1], color=style.GREEN)
            axes.plot(*path[count - 1], marker="o", markerfacecolor="none", color=style.GREEN)
            axes.set_aspect("equal")
            axes.set(xlim=(-limit, limit), ylim=(-limit, limit))
            pictures.append(style.figure_to_image(figure, dpi=100).numpy()[0, :, :, :3])
    return np.stack(pictures)


def trajectories(of_methods: Mapping[str, Sequence[Trajectories]], *, half_width: float = 0.7) -> Figure:
    """Draws paths before and after an update: a row for each method, a column for each task.

    Args:
        of_methods: From a method's name to its paths in each task.
        half_width: Half the side of the square shown around the start.

    Raises:
        ValueError: If there are no paths.

    Source: Finn, Abbeel and Levine, 2017, Figure 4.
    """
    if not of_methods or not all(of_methods.values()):
        raise ValueError("Expected paths of at least one method and task. Received: none")
    columns = max(map(len, of_methods.values()))
    with style.styled():
        figure = style.new_figure(0.6 + 2.4 * columns, 0.7 + 2.4 * len(of_methods))
        panels = figure.subplots(len(of_methods), columns, sharex=True, sharey=True, squeeze=False)
        for of_row, (method, shown) in zip(panels, of_methods.items(), strict=True):
            of_row[0].set_ylabel("y")
            for panel, paths in zip(of_row, shown, strict=False):
                for color, line, of_phase in (
                    (style.GREY, (0, (2, 1)), paths.before),
                    (style.GREEN, "-", paths.after),
                ):
                    for path in of_phase:
                        panel.plot(path[:, 0], path[:, 1], color=color, linestyle=line, linewidth=0.9, alpha=0.8)
                panel.plot(0.0, 0.0, marker="s", color=style.BLACK, markersize=4, linestyle="none")
                panel.plot(*paths.goal, marker="*", color=style.VERMILION, markersize=12, linestyle="none", zorder=3)
                panel.set_title(label(method))
                panel.set_xlim(-half_width, half_width)
                panel.set_ylim(-half_width, half_width)
                panel.set_aspect("equal")
                panel.locator_params(nbins=4)  # The same on both axes.
        for panel in panels[-1]:
            panel.set_xlabel("x")
        first = panels[0][0]
        handles = [
            *first.plot([], [], color=style.GREY, linestyle=(0, (2, 1)), label="before the update"),
            *first.plot([], [], color=style.GREEN, label="after one gradient step"),
            *first.plot([], [], marker="s", color=style.BLACK, linestyle="none", markersize=4, label="start"),
            *first.plot([], [], marker="*", color=style.VERMILION, linestyle="none", markersize=10, label="goal"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(4, 2 * columns))
        # Square panels change the layout, which cuts titles off unless it is computed once before it is drawn.
        figure.draw_without_rendering()
    return figure
