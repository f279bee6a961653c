"""Measures how well the demo's network knows characters that its own pen draws instead of Omniglot's.

    python -m tests.demo_drawings --data_dir=DIR [--tasks=300]

DIR holds Omniglot's two archives. Drawings of test characters are thinned to lines, which become strokes, and these are
drawn as a visitor's are: once as they are, once in a size and at a place of chance. Prints the accuracy over tasks of
five characters, one drawing to learn and one to name of each, and the mean ink of an image, beside those of Omniglot's
own images.
"""

from __future__ import annotations

import argparse
import io
import pathlib
import sys
import zipfile

import numpy as np
from PIL import Image

from maml_tf.demo.characters import WAYS, load
from maml_tf.demo.drawings import IMAGE_SIZE, rasterize
from maml_tf.tasks.omniglot import DRAWING_SIZE, HALVES, official_split

# The neighbours of a pixel, round it.
_ROUND = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
# How far the visitor's hand is from Omniglot's: the scale, and the shift as a share of the square.
_SCALES, _SHIFT = (0.4, 1.1), 0.15


def thinned(ink):
    """Thins lines to a width of one pixel (Zhang and Suen, 1984).

    Args:
        ink: bool [height, width].
    """
    ink = np.pad(ink, 1)
    while True:
        before = ink.copy()
        for first in (True, False):
            around = np.stack([np.roll(ink, (-y, -x), (0, 1)) for y, x in _ROUND])
            count = around.sum(axis=0)
            changes = (~around & np.roll(around, -1, axis=0)).sum(axis=0)
            north, east, south, west = around[::2]
            kept = (north & east & south) | (east & south & west) if first else (
                (north & east & west) | (north & south & west)
            )  # fmt: skip
            ink = ink & ~((count >= 2) & (count <= 6) & (changes == 1) & ~kept)
        if (ink == before).all():
            return ink[1:-1, 1:-1]


def traced(ink):
    """Follows thin lines: arrays [points, 2] of x and y in pixels, each line as long as it goes on."""
    left = {tuple(point) for point in np.argwhere(ink)}
    ends = {point for point in left if len(_near(point, left)) == 1}
    lines = []
    while left:
        line = [min(ends & left or left)]
        left.remove(line[0])
        while near := _near(line[-1], left):
            line.append(near[0])
            left.remove(near[0])
        # Where it branched off another one there is a gap of a pixel.
        for place, point in ((0, line[0]), (len(line), line[-1])):
            if joint := _near(point, {point for other in lines for point in other}):
                line.insert(place, joint[0])
        lines.append(line)
    return [np.array(line, float)[:, ::-1] for line in lines]


def _near(point, points):
    """Returns those of some points that are next to one, those beside, above and below it first."""
    return [near for y, x in sorted(_ROUND, key=lambda step: abs(step[0]) + abs(step[1]))
            if (near := (point[0] + y, point[1] + x)) in points]  # fmt: skip


def smoothed(line):
    """Takes the steps of pixels out of a line, as a hand draws it; its ends stay."""
    if len(line) < 5:
        return line
    padded = np.concatenate([line[:1], line[:1], line, line[-1:], line[-1:]])
    inner = np.stack([np.convolve(padded[:, axis], np.full(5, 0.2), "valid") for axis in (0, 1)], axis=1)
    return np.concatenate([line[:1], inner[1:-1], line[-1:]])


def redrawn(ink, random=None):
    """Draws with the demo's pen what is drawn in bool [105, 105]; with random numbers in another size and place."""
    strokes = [(smoothed(line) + 0.5) / DRAWING_SIZE for line in traced(thinned(ink))]
    if random is not None:
        scale, shift = random.uniform(*_SCALES), random.uniform(-_SHIFT, _SHIFT, 2)
        strokes = [scale * (stroke - 0.5) + 0.5 + shift for stroke in strokes]
    return rasterize(strokes)


def own(picture):
    """Makes of a drawing what `maml_tf.tasks.Omniglot` does."""
    small = picture.convert("L").resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS)
    return ((255 - np.asarray(small, np.float32)) / 255)[:, :, np.newaxis]


def read_pictures(data_dir, tasks, random):
    """Draws tasks: two drawings of each of five test characters, as PIL's pictures [tasks][characters][2]."""
    archives = [zipfile.ZipFile(pathlib.Path(data_dir).expanduser() / f"{half}.zip") for half in HALVES]
    files = {}
    for archive in archives:
        for name in archive.namelist():
            if name.endswith(".png"):
                files.setdefault("/".join(name.split("/")[1:3]), []).append((archive, name))
    characters = official_split()["test"]
    drawn = []
    for _ in range(tasks):
        chosen = random.choice(len(characters), WAYS, replace=False)
        pairs = [[files[characters[n]][k] for k in random.choice(20, 2, replace=False)] for n in chosen]
        drawn.append([[Image.open(io.BytesIO(archive.read(name))) for archive, name in pair] for pair in pairs])
    return drawn


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="folder of Omniglot's two archives")
    parser.add_argument("--tasks", type=int, default=300)
    parser.add_argument("--picture", type=pathlib.Path, help="PNG of some images of each kind to write")
    options = parser.parse_args(arguments)
    random = np.random.default_rng(0)
    tasks, recognizer = read_pictures(options.data_dir, options.tasks, random), load()
    kinds = {
        "Omniglot's own images": own,
        "the same, drawn with the demo's pen": lambda picture: redrawn(~np.asarray(picture.convert("1"))),
        "in a size and at a place of chance": lambda picture: redrawn(~np.asarray(picture.convert("1")), random),
    }
    print("| drawings | accuracy before, % | after, % | mean ink of an image |\n|---|---|---|---|")
    rows = []
    for kind, draw in kinds.items():
        images = np.array([[[draw(picture) for picture in pair] for pair in task] for task in tasks])
        rows.append(images[:3].reshape(-1, IMAGE_SIZE, IMAGE_SIZE))
        answers = np.array([[recognizer.answers(task[:, 0], query) for query in task[:, 1]] for task in images])
        right = (answers[:, :, [0, -1]].argmax(axis=-1) == np.arange(WAYS)[:, np.newaxis]).mean(axis=1)
        mean, interval = 100 * right.mean(axis=0), 196 * right.std(axis=0, ddof=1) / np.sqrt(len(tasks))
        cells = [f"{one:.1f} +- {half:.1f}" for one, half in zip(mean, interval, strict=True)]
        print(f"| {kind} | {' | '.join(cells)} | {images.sum(axis=(3, 4, 5)).mean():.1f} |", flush=True)
    if options.picture:
        sheet = np.concatenate([np.concatenate(list(images[:24]), axis=1) for images in rows])
        picture = Image.fromarray((255 - 255 * sheet).astype(np.uint8))
        picture.resize((3 * picture.width, 3 * picture.height), Image.Resampling.NEAREST).save(options.picture)


if __name__ == "__main__":
    main(sys.argv[1:])
