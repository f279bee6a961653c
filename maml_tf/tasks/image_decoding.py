"""Decodes image files into arrays, on every core, with a line of progress every few seconds."""

from __future__ import annotations

import concurrent.futures
import io
import itertools
import numbers
import os
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from absl import logging
from PIL import Image

from maml_tf.tasks.image_files import read_files

IMAGE_SUFFIXES = (
    ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
_MODES = {1: "L", 3: "RGB"}
_FILES_AT_ONCE = 1024
_FILES_A_THREAD = 64
_SECONDS_BETWEEN_LINES = 5.0


def is_image(name: str) -> bool:
    """Returns whether a file is named like an image.

    Args:
        name: Of the file.

    Returns:
        Whether its name ends in one of `IMAGE_SUFFIXES`.
    """
    return name.lower().endswith(IMAGE_SUFFIXES)


def check_image_size(image_size: int) -> None:
    """Checks the side of square images.

    Args:
        image_size: Height and width.

    Raises:
        ValueError: If it is not a whole number of at least 1.
    """
    if not isinstance(image_size, numbers.Integral) or isinstance(image_size, bool) or image_size < 1:
        raise ValueError(f"Expected image_size to be a whole number of at least 1. Received: image_size={image_size!r}")


def decode_image(
    content: bytes,
    name: str,
    size: tuple[int, int] | None,
    channels: int,
    *,
    own_size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Decodes an image; what is transparent in it becomes white.

    Args:
        content: The file's, of any format that Pillow reads.
        name: The file's, for errors.
        size: Height and width to resize to with a Lanczos filter; None keeps the image's own.
        channels: 1 for grey, 3 for RGB.
        own_size: Height and width that it must have in the file; None takes any.

    Returns:
        uint8 [height, width, channels].

    Raises:
        ValueError: If the file can't be decoded, or its image is of another size than it must be or has more than 8
            bits a channel.
    """
    if channels not in _MODES:
        raise ValueError(f"Expected channels to be 1 or 3. Received: channels={channels}")
    try:
        with Image.open(io.BytesIO(content)) as image:
            # Pillow would cut 16 bits and floats off at 255.
            if image.mode.startswith("I") or image.mode == "F":
                raise ValueError(
                    f"Expected images of 8 bits a channel. Received: {name} of Pillow's mode {image.mode}; scale and "
                    "convert it, or pass arrays"
                )
            if image.has_transparency_data:
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
            # Pillow resizes a 1-bit image without a filter, whatever it is asked for: convert it first.
            image = image.convert(_MODES[channels])
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:  # SyntaxError: some broken PNG chunks.
        raise ValueError(f"Expected an image file. Received: {name}, which can't be decoded: {error}") from error
    if own_size is not None and image.size != (own_size[1], own_size[0]):
        raise ValueError(
            f"Expected images of {own_size[1]} x {own_size[0]} pixels. "
            f"Received: {image.size[0]} x {image.size[1]} in {name}"
        )
    if size is not None and image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.LANCZOS)
    return np.asarray(image).reshape(image.size[1], image.size[0], channels)


def decode_files(
    path: str | os.PathLike,
    places: Mapping[str, int],
    images: np.ndarray,
    decode: Callable[[bytes, str], np.ndarray],
) -> None:
    """Decodes files of a folder or an archive into an array.

    Args:
        path: A folder or an archive.
        places: From the name of a file in it to where its image goes in `images`.
        images: [images, ...], written to.
        decode: Maps a file's content and name to its image.

    Raises:
        ValueError: If the archive or an image is broken.
    """

    def put(some: Sequence[tuple[str, bytes]]) -> None:
        for name, content in some:
            images[places[name]] = decode(content, name)

    began = told = time.monotonic()
    done = 0
    files = read_files(path, places.keys())
    # Pillow decodes without Python's lock, so threads do; archives are read by one alone.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        while some := list(itertools.islice(files, _FILES_AT_ONCE)):
            list(pool.map(put, (some[i : i + _FILES_A_THREAD] for i in range(0, len(some), _FILES_A_THREAD))))
            done += len(some)
            now = time.monotonic()
            if now - told >= _SECONDS_BETWEEN_LINES:
                told, speed = now, done / (now - began)
                logging.info(
                    "decoded %d of %d images, %.0f a second, %.0f s left",
                    done, len(places), speed, (len(places) - done) / speed,
                )  # fmt: skip
