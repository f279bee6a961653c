"""Makes mini-ImageNet of ImageNet's training images and the lists of Ravi and Larochelle."""

from __future__ import annotations

import concurrent.futures
import csv
import os
import pathlib
import re
import shutil
import time
from collections.abc import Mapping, Sequence

from absl import logging
from PIL import Image

from maml_tf.tasks.image_decoding import check_image_size, decode_image, is_image
from maml_tf.tasks.image_files import list_files, read_files

PARTS = ("train", "val", "test")
_COLUMNS = ["filename", "label"]
_JPEG_QUALITY = 95
_SECONDS_BETWEEN_LINES = 5.0

Split = Mapping[str, Mapping[str, Sequence[str]]]


def prepare(
    imagenet_dir: str | os.PathLike, split_dir: str | os.PathLike, output_dir: str | os.PathLike, image_size: int = 84
) -> int:
    """Writes `{train,val,test}/<class>/<filename>` for `maml_tf.tasks.MiniImagenet`.

    A class appears in the output when all of its images are written. A call that was stopped goes on with the
    classes that are missing.

    Args:
        imagenet_dir: ImageNet's training images: holds `<class>/*.JPEG` or `<class>.tar` for each class of the
            split; other classes may be there too.
        split_dir: Holds `train.csv`, `val.csv` and `test.csv` with the columns filename and label. A filename
            is a file of the class, or `<class>` and a number of 8 digits: the place, from 1, among the class's
            files in the order of the numbers in their names.
        output_dir: Where to; created if need be.
        image_size: Height and width of the images written, resized with a Lanczos filter.

    Returns:
        The number of images written; those of an earlier call are not counted.

    Raises:
        FileNotFoundError: If a list, a class or an image is missing.
        ValueError: If a list is broken, an image can't be decoded, or the output has a class with other images or
            of another size.
    """
    check_image_size(image_size)
    split, output_dir = read_split(split_dir), pathlib.Path(output_dir).expanduser()
    imagenet_dir = pathlib.Path(imagenet_dir).expanduser()
    todo = [
        (output_dir / part / name, names)
        for part, classes in split.items()
        for name, names in classes.items()
        if not _is_done(output_dir / part / name, names, image_size)
    ]
    # All sources are found before the first image is written: what is missing is told at once.
    sources = {folder.name: _class_source(imagenet_dir, folder.name) for folder, _ in todo}
    total, written = sum(len(names) for _, names in todo), 0
    began = told = time.monotonic()
    for folder, names in todo:
        _write_class(sources[folder.name], folder, names, image_size)
        written += len(names)
        now = time.monotonic()
        if now - told >= _SECONDS_BETWEEN_LINES:
            told, speed = now, written / (now - began)
            left = (total - written) / speed
            logging.info("wrote %d of %d images, %.0f a second, %.0f s left", written, total, speed, left)
    return written


def read_split(split_dir: str | os.PathLike) -> dict[str, dict[str, list[str]]]:
    """Reads the lists of a split.

    Args:
        split_dir: Holds `train.csv`, `val.csv` and `test.csv` with the columns filename and label.

    Returns:
        From part to class to file names, in the order of the lists.

    Raises:
        FileNotFoundError: If a list is missing.
        ValueError: If a list is broken, or a class is in two of them.
    """
    split: dict[str, dict[str, list[str]]] = {}
    for part in PARTS:
        path = pathlib.Path(split_dir, f"{part}.csv").expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"Expected train.csv, val.csv and test.csv in {split_dir}. Received: no {path}")
        with open(path, newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if row]
        if not rows[1:] or rows[0] != _COLUMNS or any(len(row) != len(_COLUMNS) for row in rows):
            raise ValueError(f"Expected the columns {','.join(_COLUMNS)} and rows below. Received: {path} without them")
        split[part] = {}
        for name, label in rows[1:]:
            if pathlib.PurePath(name).name != name or pathlib.PurePath(label).name != label:
                raise ValueError(f"Expected names without folders. Received: {name!r}, {label!r} in {path}")
            split[part].setdefault(label, []).append(name)
    _check_distinct(split)
    return split


def _check_distinct(split: Split) -> None:
    part_of: dict[str, str] = {}
    for part, classes in split.items():
        for label, names in classes.items():
            if part_of.setdefault(label, part) != part:
                raise ValueError(
                    f"Expected every class in one list. Received: {label!r} in {part_of[label]} and {part}"
                )
            if len(set(names)) < len(names):
                raise ValueError(f"Expected every image once. Received: one of {label!r} twice in {part}.csv")


def _is_done(folder: pathlib.Path, names: Sequence[str], image_size: int) -> bool:
    if not folder.is_dir():
        return False
    present = {path.name for path in folder.iterdir() if path.name[0] != "."}
    if present != {_jpeg_name(name) for name in names}:
        raise ValueError(
            f"Expected an output folder without this class, or with the images of the split. Received: {folder} with "
            f"{len(present)} files, not the {len(names)} listed. Remove it to have it written again."
        )
    # One image stands for its class, all of which is written at once.
    with Image.open(folder / min(present)) as image:
        size = image.size
    if size != (image_size, image_size):
        raise ValueError(
            f"Expected an output folder whose images are {image_size} x {image_size}, or another one. "
            f"Received: {size[0]} x {size[1]} in {folder}"
        )
    return True


def _class_source(imagenet_dir: pathlib.Path, label: str) -> pathlib.Path:
    for path in (imagenet_dir / label, imagenet_dir / f"{label}.tar"):
        if path.exists():
            return path
    raise FileNotFoundError(
        f"Expected ImageNet's training images, a folder {label} or {label}.tar of the class among them. "
        f"Received: {imagenet_dir} without it"
    )


def _write_class(source: pathlib.Path, folder: pathlib.Path, names: Sequence[str], image_size: int) -> None:
    originals = _originals(source, folder.name, names)
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)

    def write(named: tuple[str, bytes]) -> None:
        original, content = named
        pixels = decode_image(content, f"{original} in {source}", (image_size, image_size), 3)
        Image.fromarray(pixels).save(unfinished / _jpeg_name(originals[original]), "JPEG", quality=_JPEG_QUALITY)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(write, read_files(source, originals.keys())))
    os.rename(unfinished, folder)


def _originals(source: pathlib.Path, label: str, names: Sequence[str]) -> dict[str, str]:
    """Returns from the name of a file of ImageNet to the name in the list that stands for it."""
    files = sorted((file.name for file in list_files(source) if is_image(file.name)), key=_number_in_name)
    by_stem = {pathlib.PurePath(name).stem: name for name in files}
    originals = {}
    for name in names:
        stem = pathlib.PurePath(name).stem
        place = re.fullmatch(re.escape(label) + r"(\d{8})", stem)
        if stem in by_stem:
            original = by_stem[stem]
        elif place and 1 <= int(place[1]) <= len(files):
            original = files[int(place[1]) - 1]
        else:
            raise FileNotFoundError(
                f"Expected {name} of class {label!r}, by its name or its place. Received: {source} with {len(files)} "
                "images and none of that name or place"
            )
        if original in originals:
            raise ValueError(f"Expected every image once. Received: {originals[original]} and {name} for {original}")
        originals[original] = name
    return originals


def _number_in_name(name: str) -> tuple[int, str]:
    digits = re.findall(r"\d+", pathlib.PurePath(name).stem)
    return (int(digits[-1]) if digits else -1, name)


def _jpeg_name(name: str) -> str:
    return f"{pathlib.PurePath(name).stem}.jpg"
