"""The file of a ClassPool: an array in NumPy's format, then JSON, its length in bytes, and a mark."""

from __future__ import annotations

import json
import os
import pathlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from maml_tf.files import save_atomically

_LENGTH, _END = struct.Struct("<Q"), b"maml_tf ClassPool 1"


def write_pool(path: str | os.PathLike[str], classes: Mapping[str, np.ndarray], rotations: bool) -> pathlib.Path:
    """Writes a pool, whole or not at all.

    Args:
        path: The file; it is replaced if it exists.
        classes: From the name of a class to its images [images, ...]; one is read after the other.
        rotations: Whether the pool turns its classes.

    Returns:
        The path.

    Raises:
        OSError: If the file cannot be written.
    """
    sizes = [len(images) for images in classes.values()]
    first = next(iter(classes.values()))
    header = {
        "descr": np.lib.format.dtype_to_descr(first.dtype),
        "fortran_order": False,
        "shape": (sum(sizes), *first.shape[1:]),
    }
    text = json.dumps({"class_names": list(classes), "class_sizes": sizes, "rotations": rotations}).encode()

    def write(temporary: pathlib.Path) -> None:
        with open(temporary, "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for images in classes.values():
                images.tofile(file)
            file.write(text + _LENGTH.pack(len(text)) + _END)

    return save_atomically(pathlib.Path(path).expanduser(), write)


def read_pool(path: str | os.PathLike[str], memory_map: bool) -> tuple[np.ndarray, Sequence[str], Sequence[int], bool]:
    """Opens the file of a pool.

    Args:
        path: The file.
        memory_map: Whether the images stay in the file until they are used.

    Returns:
        The images, sorted by class, the names and the sizes of the classes, and whether the pool turns them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is cut off, or something else.
    """
    path = pathlib.Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"Expected a file that ClassPool.save wrote. Received: {str(path)!r}, which is none")
    content = _read_content(path)
    images = np.load(path, mmap_mode="r" if memory_map else None)
    return images, content["class_names"], content["class_sizes"], content["rotations"]


def _read_content(path: pathlib.Path) -> dict[str, Any]:
    """Reads what a saved pool holds beside the images, and checks that the file is whole."""
    size = path.stat().st_size
    wrong = f"Expected a file that ClassPool.save wrote. Received: {str(path)!r}"
    with open(path, "rb") as file:
        try:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        except ValueError as error:
            raise ValueError(f"{wrong}, which is something else: {error}") from error
        least = file.tell() + int(np.prod(shape)) * dtype.itemsize
        if size < least:
            raise ValueError(f"{wrong}, which is cut off: it has {size} bytes, and its images alone need {least}")
        file.seek(least)
        text, length, end = _parted(file.read())
    if end != _END or length != _LENGTH.pack(len(text)):
        raise ValueError(f"{wrong}, an array without the names of its classes, or a pool that is cut off")
    content = json.loads(text)
    if sum(content["class_sizes"]) != shape[0]:
        raise ValueError(f"{wrong}, whose classes have {sum(content['class_sizes'])} images and its array {shape[0]}")
    return content


def _parted(content: bytes) -> tuple[bytes, bytes, bytes]:
    """Parts the end of a saved pool into the JSON, its length and the mark."""
    first, second = max(0, len(content) - len(_END) - _LENGTH.size), max(0, len(content) - len(_END))
    return content[:first], content[first:second], content[second:]
