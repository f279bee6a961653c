"""How every figure looks, and how a figure becomes a file or an image."""

from __future__ import annotations

import io
import os
import pathlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from maml_tf.methods import LineStyle, methods
from maml_tf.training.files import write_atomically

# The colours of Okabe and Ito, which people with any of the common colour deficiencies can tell apart.
PALETTE = {
    "black": "#000000", "orange": "#E69F00", "sky": "#56B4E9", "green": "#009E73",
    "blue": "#0072B2", "vermilion": "#D55E00", "purple": "#CC79A7", "grey": "#7F7F7F",
}  # fmt: skip
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE, GREY = PALETTE.values()

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


# For methods that are not registered, or registered without a style.
_OTHERS = [
    LineStyle("sky", ":", "+"),
    LineStyle("blue", "-.", "1"),
    LineStyle("vermilion", ":", "x"),
    LineStyle("purple", ":", "2"),
    LineStyle("orange", "--", "3"),
    LineStyle("black", "--", "4"),
]


def line_styles(names: Sequence[str]) -> dict[str, LineStyle]:
    """Chooses each method's style: the registered one, for others one by their place.

    Args:
        names: The methods of one figure.
    """
    known = {name: methods[name].style for name in names if name in methods and methods[name].style}
    others = [name for name in names if name not in known]
    styles = {name: known.get(name) or _OTHERS[others.index(name) % len(_OTHERS)] for name in names}
    return {name: drawn._replace(color=PALETTE.get(drawn.color, drawn.color)) for name, drawn in styles.items()}


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
