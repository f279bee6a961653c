"""Decodes images once and keeps the array in a file that later starts read or map into memory."""

from __future__ import annotations

import hashlib
import os
import pathlib
from collections.abc import Callable, Iterable

import numpy as np
from absl import logging

from maml_tf.tasks.part_file import alone


def default_cache_dir(name: str) -> pathlib.Path:
    """Returns the folder for the decoded images of a data set.

    Args:
        name: Of the data set.

    Returns:
        `maml_tf/<name>` in Keras' folder, `$KERAS_HOME` or `~/.keras`.
    """
    return pathlib.Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "maml_tf" / name


def fingerprint(lines: Iterable[str]) -> str:
    """Returns what changes when one of the lines does.

    Args:
        lines: All that the decoded images depend on.

    Returns:
        16 hexadecimal digits.

    Example:
    >>> from maml_tf.tasks.image_cache import fingerprint
    >>> fingerprint(["a.png 17", "28"])
    '39d9ffd6b6235e0a'
    """
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def decoded_once(
    cache_file: str | os.PathLike, shape: tuple[int, ...], decode: Callable[[], np.ndarray], *, mapped: bool = False
) -> np.ndarray:
    """Returns what `decode` does, from the file if it was decoded before.

    A file that can't be read, or holds something else, is replaced; one that can't be written is done without.
    Both are logged.

    Args:
        cache_file: Where the array is kept, as `.npy`; its name must change when the images do.
        shape: The array's.
        decode: Returns the images, uint8 of that shape.
        mapped: Whether to map the file into memory instead of reading it: for arrays that take long to read.

    Returns:
        uint8. Writing to it leaves the file as it is.
    """
    cache_file = pathlib.Path(cache_file)
    images = _load(cache_file, shape, mapped)
    if images is not None:
        return images
    images = decode()
    try:
        _keep(cache_file, images)
    except OSError as error:
        logging.warning(
            "The decoded images can't be kept in %s (%s); decoding at every start.", cache_file.parent, error
        )
        return images
    # A mapped file takes the array's place: the system reads its pages, and drops them, as it needs.
    kept = _load(cache_file, shape, mapped) if mapped else None
    return images if kept is None else kept


def _load(cache_file: pathlib.Path, shape: tuple[int, ...], mapped: bool) -> np.ndarray | None:
    try:
        images = np.load(cache_file, mmap_mode="c" if mapped else None)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        logging.warning("%s can't be read (%s); decoding again.", cache_file, error)
        return None
    if images.shape == shape and images.dtype == np.uint8:
        return images
    logging.warning("%s holds something else than was kept there; decoding again.", cache_file)
    return None


def _keep(cache_file: pathlib.Path, images: np.ndarray) -> None:
    cache_file.parent.mkdir(parents=True, exist_ok=True)
    # Whoever reads the cache at the same time finds the whole file or none.
    unfinished = cache_file.with_suffix(".part")
    with alone(unfinished):
        try:
            with open(unfinished, "wb") as file:
                np.save(file, images)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, cache_file)
        except BaseException:
            unfinished.unlink()
            raise
