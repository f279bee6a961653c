"""The common style of figures, and figures as PNG files and TensorBoard images."""

from __future__ import annotations

import io
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import matplotlib
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from maml_tf.files import write_atomically
from maml_tf.methods import LineStyle, methods

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
    """Draws figures in the common style within the context; matplotlib's settings are restored after it."""
    with matplotlib.rc_context(_RC):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Makes an empty figure with a raster canvas, outside of pyplot's global state; sizes are in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: str | os.PathLike[str], *, dpi: int = 150) -> pathlib.Path:
    """Writes a figure to a .png file atomically and returns its path.

    Args:
        figure: The figure.
        path: The file, ending in .png.
        dpi: Pixels per inch.

    Raises:
        ValueError: If the path ends in something else.
    """
    path = pathlib.Path(path)
    if path.suffix != ".png":
        raise ValueError(f"Expected a path that ends in .png. Received: {str(path)!r}")
    return write_atomically(path, _png(figure, dpi))


def figure_to_image(figure: Figure, *, dpi: int = 100) -> tf.Tensor:
    """Renders a figure for `tf.summary.image`: uint8 [1, height, width, 4] in red, green, blue and opacity."""
    return tf.io.decode_png(_png(figure, dpi), channels=4)[tf.newaxis]


def write_figures(figures: Mapping[str, Figure], directory: str | os.PathLike[str]) -> list[pathlib.Path]:
    """Writes figures as `<name>.png` and, in the folder "figures", as TensorBoard images; returns the PNG files."""
    directory = pathlib.Path(directory)
    writer = tf.summary.create_file_writer(str(directory / "figures"))
    with writer.as_default(step=0):
        for name, figure in figures.items():
            tf.summary.image(name, figure_to_image(figure))
    writer.close()
    return [save(figure, directory / f"{name}.png") for name, figure in figures.items()]


def _png(figure: Figure, dpi: int) -> bytes:
    buffer = io.BytesIO()
    # Without matplotlib's version, equal figures are equal files.
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()
