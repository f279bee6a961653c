"""Paths of a point in the plane."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from maml_tf.plotting import style

# The square of the goals, with some room around it.
_LEAST_EXTENT = 0.65


def extent(*paths: np.ndarray) -> float:
    """Returns half the side of the square around the start that holds all goals and the paths.

    Args:
        *paths: Positions, [steps, 2] each.

    Returns:
        Half the side.
    """
    return max(_LEAST_EXTENT, *(1.05 * float(np.abs(path).max()) for path in paths))


def draw_path(axes: Axes, path: np.ndarray, goal: np.ndarray, *, color: str = style.GREEN, label: str = "") -> None:
    """Draws a path from its start to a ring at its end, and the goal as a cross.

    Args:
        axes: Where to.
        path: Positions, [steps, 2].
        goal: [2].
        color: Colour of the path, as matplotlib takes it.
        label: Name of the path in a legend.
    """
    axes.plot(*np.asarray(goal), marker="x", color=style.VERMILION, markersize=9, markeredgewidth=2)
    axes.plot(path[:, 0], path[:, 1], color=color, label=label)
    axes.plot(*path[-1], marker="o", markerfacecolor="none", color=color)
    axes.set_aspect("equal")


def path_pictures(path: np.ndarray, goal: np.ndarray, width: int, height: int) -> np.ndarray:
    """Draws how a path grows: picture t shows its first t + 1 positions.

    Args:
        path: Positions, [steps, 2].
        goal: [2].
        width: Pixels.
        height: Pixels.

    Returns:
        uint8 [steps, height, width, 3].
    """
    pictures, limit = [], extent(path)
    with style.styled():
        for count in range(1, len(path) + 1):
            figure = style.new_figure(width / 100, height / 100)
            axes = figure.subplots()
            draw_path(axes, path[:count], goal)
            axes.set(xlim=(-limit, limit), ylim=(-limit, limit))
            pictures.append(style.figure_to_image(figure, dpi=100).numpy()[0, :, :, :3])
    return np.stack(pictures)
