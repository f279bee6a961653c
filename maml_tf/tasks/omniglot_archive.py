"""Finds and decodes the two archives of Omniglot."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from maml_tf.tasks.image_cache import fingerprint
from maml_tf.tasks.image_decoding import decode_files, decode_image
from maml_tf.tasks.image_files import ListedFile, is_archive, list_files

HALVES = ("images_background", "images_evaluation")
DRAWING_SIZE = 105
# Raised when the way the drawings are decoded changes, so that arrays cached before are not taken for
# new ones.
_DECODER_VERSION = 1


class Archive(NamedTuple):
    """Where an archive is downloaded from.

    Attributes:
        file_name: Its name.
        url: Its address.
        md5: Its checksum in hexadecimal.
    """

    file_name: str
    url: str
    md5: str


_OFFICIAL_ADDRESS = "https://github.com/brendenlake/omniglot/raw/master/python/"
OFFICIAL_ARCHIVES = (
    Archive(
        "images_background.zip",
        _OFFICIAL_ADDRESS + "images_background.zip",
        "68d2efa1b9178cc56df9314c21c6e718",
    ),
    Archive(
        "images_evaluation.zip",
        _OFFICIAL_ADDRESS + "images_evaluation.zip",
        "6b91aef0f799c5bb55b94e3f2daec811",
    ),
)


class Drawing(NamedTuple):
    """One drawing as it is listed.

    Attributes:
        character: `Alphabet/characterNN`.
        file_name: `NNNN_MM.png`.
        half: `images_background` or `images_evaluation`.
        name: In the half's zip, or within the half's folder.
        fingerprint: Changes when the content does.
    """

    character: str
    file_name: str
    half: str
    name: str
    fingerprint: str


def list_drawings(data_dir: str | os.PathLike) -> list[Drawing]:
    """Lists the drawings of both halves.

    Args:
        data_dir: Holds, of each half, the zip or the unpacked folder; the zip is taken where both are there.

    Returns:
        The drawings by character and file name, whatever their order on the disk.

    Raises:
        FileNotFoundError: If the folder or a half is missing.
        ValueError: If a zip is broken, a half holds no drawing, or a name is there twice.
    """
    drawings = []
    for half in HALVES:
        source = _source(data_dir, half)
        inside = "" if is_archive(source) else f"{half}/"
        found = [drawing for file in list_files(source) for drawing in _drawing(half, inside, file)]
        if not found:
            raise ValueError(
                f"Expected drawings {half}/<Alphabet>/<character>/<drawing>.png. Received: none in {source}"
            )
        drawings += found
    drawings.sort()
    _check_distinct(drawings)
    return drawings


def content_fingerprint(drawings: Sequence[Drawing]) -> str:
    """Returns what changes with the names or the content of the drawings.

    Args:
        drawings: From `list_drawings`.

    Returns:
        A hexadecimal digest.
    """
    # Without the path: data that was moved as it is stays the same data.
    lines = (f"{drawing.half}/{drawing.character}/{drawing.file_name} {drawing.fingerprint}" for drawing in drawings)
    return fingerprint([f"{_DECODER_VERSION}", *lines])


def read_drawings(data_dir: str | os.PathLike, drawings: Sequence[Drawing], image_size: int) -> np.ndarray:
    """Decodes drawings and resizes them with a Lanczos filter.

    Args:
        data_dir: As of `list_drawings`.
        drawings: From `list_drawings`.
        image_size: Height and width.

    Returns:
        uint8 [drawings, image_size, image_size, 1], ink 255 and paper 0.

    Raises:
        ValueError: If a drawing is broken or isn't 105 x 105.
    """
    images = np.empty([len(drawings), image_size, image_size, 1], np.uint8)
    for half in HALVES:
        places = {drawing.name: place for place, drawing in enumerate(drawings) if drawing.half == half}
        decode_files(_source(data_dir, half), places, images, lambda data, name: _decode(data, name, image_size))
    return images


def _source(data_dir: str | os.PathLike, half: str) -> pathlib.Path:
    data_dir = pathlib.Path(data_dir)
    expected = " and ".join(f"{name}.zip (or the folder {name})" for name in HALVES)
    if not data_dir.is_dir():
        raise FileNotFoundError(f"Expected a folder with {expected}. Received: {data_dir}, which is no folder")
    for path in (data_dir / f"{half}.zip", data_dir / half):
        if path.exists():
            return path
    present = sorted(path.name for path in data_dir.iterdir())[:10]
    raise FileNotFoundError(
        f"Expected {expected} in {data_dir}. Received: no {half}.zip and no folder {half}; there is {present}"
    )


def _drawing(half: str, inside: str, file: ListedFile) -> Iterator[Drawing]:
    """Yields the drawing of that name, or nothing for a stray file."""
    parts = (inside + file.name).split("/")
    if len(parts) == 4 and parts[0] == half and parts[3].lower().endswith(".png"):
        yield Drawing(f"{parts[1]}/{parts[2]}", parts[3], half, file.name, file.fingerprint)


def _check_distinct(drawings: Sequence[Drawing]) -> None:
    halves: dict[str, str] = {}
    for before, drawing in zip([None, *drawings], drawings, strict=False):
        if halves.setdefault(drawing.character, drawing.half) != drawing.half:
            raise ValueError(f"Expected every character in one of {HALVES}. Received: {drawing.character!r} in both")
        if before is not None and before[:2] == drawing[:2]:
            raise ValueError(f"Expected every drawing once. Received: {drawing.name} twice")


def _decode(content: bytes, name: str, image_size: int) -> np.ndarray:
    own_size = (DRAWING_SIZE, DRAWING_SIZE)
    return 255 - decode_image(content, name, (image_size, image_size), 1, own_size=own_size)
