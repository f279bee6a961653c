"""Strokes of a pen as images like Omniglot's, and a few characters to begin with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from maml_tf.tasks.omniglot import DRAWING_SIZE

IMAGE_SIZE = 28
# Of Omniglot's drawings, in their own pixels: the width of the pen, and the medians of the longer side of the box
# around a drawing and of the box's middle, in x and in y.
PEN = 5.0
SIDE, MIDDLE = 70.0, 51.0
# The pixels of a drawing are black or white; a finer grid decides which.
_FINER = 4
_LARGEST_SCALE = 3.0  # A dot stays a dot.

# [points, 2] in the unit square, x to the right and y downwards.
Stroke = np.ndarray


def rasterize(strokes: Sequence[Stroke]) -> np.ndarray:
    """Draws strokes as Omniglot's drawings are made: a pen of one width in 105 x 105 black and white, resized.

    The drawing gets the median size and place of Omniglot's, for those of visitors differ more; none grows more than
    threefold, so that a dot stays a dot.

    Args:
        strokes: Arrays [points, 2] in the unit square, x to the right and y downwards.

    Returns:
        float32 [28, 28, 1], ink 1 and paper 0.

    Raises:
        ValueError: If there is no point, or an array has another shape.

    Example:
    >>> import numpy as np
    >>> from maml_tf.demo.drawings import rasterize
    >>> image = rasterize([np.array([[0.2, 0.5], [0.8, 0.5]])])  # A line across.
    >>> image.shape, float(image[13, 14, 0]) > 0.5, float(image[4, 14, 0]) < 0.1
    ((28, 28, 1), True, True)
    """
    placed = [_FINER * stroke for stroke in _placed(strokes)]
    size, radius = _FINER * DRAWING_SIZE, _FINER * PEN / 2
    fine = Image.new("L", (size, size), 255)
    pen = ImageDraw.Draw(fine)
    for stroke in placed:
        pen.line([tuple(point) for point in stroke], fill=0, width=round(2 * radius))
        for x, y in stroke:  # Round ends and corners.
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=0)
    drawing = fine.resize((DRAWING_SIZE, DRAWING_SIZE), Image.Resampling.BOX).point(lambda grey: 255 * (grey >= 128))
    image = drawing.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS)
    return ((255 - np.asarray(image, np.float32)) / 255)[:, :, np.newaxis]


def _placed(strokes: Sequence[Stroke]) -> list[np.ndarray]:
    """Returns strokes in pixels of a drawing, scaled and moved."""
    drawn = [np.asarray(stroke, float) for stroke in strokes]
    if not drawn or any(stroke.ndim != 2 or stroke.shape[1] != 2 or not len(stroke) for stroke in drawn):
        shapes = [stroke.shape for stroke in drawn]
        raise ValueError(f"Expected at least one stroke, arrays [points, 2]. Received: arrays of the shapes {shapes}")
    drawn = [DRAWING_SIZE * stroke for stroke in drawn]
    points = np.concatenate(drawn)
    low, high = points.min(axis=0), points.max(axis=0)
    middle, extent = (low + high) / 2, float((high - low).max())
    scale = min((SIDE - PEN) / max(extent, 1e-9), _LARGEST_SCALE)
    return [scale * (stroke - middle) + MIDDLE for stroke in drawn]


def smooth(points: Sequence[tuple[float, float]], between: int = 8) -> Stroke:
    """Draws a smooth curve through points (Catmull and Rom's spline).

    Args:
        points: x and y of each.
        between: How many points the curve has from one to the next.

    Returns:
        [points, 2].
    """
    given = np.asarray(points, float)
    padded = np.concatenate([2 * given[:1] - given[1:2], given, 2 * given[-1:] - given[-2:-1]])
    t = np.linspace(0, 1, between, endpoint=False)[:, np.newaxis]
    curve = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        curve.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.concatenate([*curve, given[-1:]])


# Invented for this page, each drawn twice: strokes of a few points in the unit square.
_EXAMPLES = (
    (  # A pennant.
        [[(0.32, 0.15), (0.31, 0.5), (0.33, 0.87)],
         [(0.32, 0.17), (0.5, 0.24), (0.74, 0.33), (0.52, 0.43), (0.33, 0.5)]],
        [[(0.36, 0.2), (0.34, 0.55), (0.35, 0.82)],
         [(0.35, 0.2), (0.55, 0.24), (0.7, 0.36), (0.53, 0.47), (0.36, 0.5)]],
    ),
    (  # A snail.
        [[(0.2, 0.74), (0.5, 0.79), (0.79, 0.6), (0.76, 0.31), (0.5, 0.2), (0.3, 0.38), (0.38, 0.58), (0.56, 0.55),
          (0.56, 0.42)]],
        [[(0.25, 0.78), (0.54, 0.76), (0.75, 0.57), (0.7, 0.3), (0.47, 0.24), (0.31, 0.42), (0.42, 0.57), (0.55, 0.5),
          (0.52, 0.41)]],
    ),
    (  # A wave over a line.
        [[(0.16, 0.45), (0.3, 0.24), (0.45, 0.45), (0.59, 0.25), (0.74, 0.45), (0.85, 0.27)],
         [(0.2, 0.7), (0.8, 0.68)]],
        [[(0.2, 0.42), (0.31, 0.27), (0.45, 0.48), (0.6, 0.28), (0.71, 0.46), (0.8, 0.31)],
         [(0.24, 0.66), (0.5, 0.69), (0.77, 0.67)]],
    ),
    (  # A trident.
        [[(0.25, 0.18), (0.27, 0.42), (0.5, 0.53), (0.73, 0.41), (0.75, 0.17)],
         [(0.5, 0.2), (0.5, 0.55), (0.49, 0.86)]],
        [[(0.28, 0.23), (0.31, 0.46), (0.52, 0.54), (0.71, 0.44), (0.72, 0.22)],
         [(0.51, 0.25), (0.5, 0.56), (0.52, 0.81)]],
    ),
    (  # A fish.
        [[(0.83, 0.3), (0.62, 0.52), (0.36, 0.67), (0.17, 0.5), (0.35, 0.33), (0.6, 0.47), (0.84, 0.7)],
         [(0.31, 0.47), (0.33, 0.49)]],
        [[(0.79, 0.34), (0.6, 0.54), (0.39, 0.64), (0.22, 0.51), (0.38, 0.36), (0.61, 0.46), (0.8, 0.66)],
         [(0.35, 0.48), (0.36, 0.5)]],
    ),
)  # fmt: skip


def example(number: int, drawing: int = 0, seed: int | None = None) -> list[Stroke]:
    """Draws one of five characters invented for this page.

    Args:
        number: The character, from 0 to 4.
        drawing: Which of its two drawings, 0 or 1.
        seed: Of a small turn, stretch and shift of the drawing; None draws it as it is.

    Returns:
        Its strokes.
    """
    strokes = [smooth(points) for points in _EXAMPLES[number][drawing]]
    if seed is None:
        return strokes
    random = np.random.default_rng(seed)
    turn, (stretch_x, stretch_y) = random.normal(0, 0.08), random.normal(1, 0.07, 2)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) * [stretch_x, stretch_y]
    shift = random.normal(0.5, 0.02, 2)
    return [(stroke - 0.5) @ matrix + shift for stroke in strokes]
