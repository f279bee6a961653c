"""How every figure looks, and how a figure becomes a file or an image."""

from __future__ import annotations

import io
import os
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import matplotlib
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from maml_tf.training.files import write_atomically

# The colours of Okabe and Ito, which people with any of the common colour deficiencies can tell apart.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#7F7F7F"

_RC = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "font.size": 9,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}


class LineStyle(NamedTuple):
    """How a method is drawn wherever it appears: not by colour alone.

    Attributes:
        color: Colour, as matplotlib takes it.
        line: Line style, as matplotlib takes it.
        marker: Marker of a point, as matplotlib takes it.
    """

    color: str
    line: str
    marker: str


_METHODS = {
    "maml": LineStyle(GREEN, "-", "o"),
    "first_order": LineStyle(BLUE, "--", "D"),
    "pretrained": LineStyle(ORANGE, "-.", "s"),
    "oracle": LineStyle(GREY, ":", "v"),
    "random": LineStyle(PURPLE, (0, (5, 1, 1, 1, 1, 1)), "P"),
    "multi_task": LineStyle(VERMILION, (0, (4, 2)), "^"),
}
_OTHERS = [
    LineStyle(SKY, "-", "X"),
    LineStyle(BLUE, "-.", "<"),
    LineStyle(VERMILION, "--", ">"),
    LineStyle(PURPLE, "-", "h"),
    LineStyle(ORANGE, "--", "d"),
    LineStyle(BLACK, ":", "*"),
]


def line_styles(methods: list[str]) -> dict[str, LineStyle]:
    """Chooses each method's style: methods of the paper have their own, others one by their place.

    Args:
        methods: Names of the methods in one figure.

    Returns:
        From method to style.
    """
    others = [method for method in methods if method not in _METHODS]
    return {
        method: _METHODS[method] if method in _METHODS else _OTHERS[others.index(method) % len(_OTHERS)]
        for method in methods
    }


@contextmanager
def styled() -> Iterator[None]:
    """Makes the figures within it in the common style; matplotlib's own settings are restored after it.

    Yields:
        Nothing.
    """
    with matplotlib.rc_context(_RC):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Makes an empty figure with a raster canvas, known to no global state.

    Args:
        width: Inches.
        height: Inches.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: str | os.PathLike[str], *, dpi: int = 150) -> pathlib.Path:
    """Writes a figure as PNG, whole or not at all.

    Args:
        figure: The figure.
        path: The file, ending in .png.
        dpi: Pixels an inch.

    Returns:
        The path.

    Raises:
        ValueError: If the path ends in something else.
    """
    path = pathlib.Path(path)
    if path.suffix != ".png":
        raise ValueError(f"Expected a path that ends in .png. Received: {str(path)!r}")
    return write_atomically(path, _png(figure, dpi))


def figure_to_image(figure: Figure, *, dpi: int = 100) -> tf.Tensor:
    """Renders a figure for `tf.summary.image`.

    Args:
        figure: The figure.
        dpi: Pixels an inch.

    Returns:
        uint8 [1, height, width, 4], red, green, blue and opacity.
    """
    return tf.io.decode_png(_png(figure, dpi), channels=4)[tf.newaxis]


def _png(figure: Figure, dpi: int) -> bytes:
    buffer = io.BytesIO()
    # The version of matplotlib in the file would make equal figures differ.
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()
