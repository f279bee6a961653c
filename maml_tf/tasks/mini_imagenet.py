"""mini-ImageNet, 100 classes of ImageNet with 600 colour images each: pools for few-shot episodes, and preparation."""

from __future__ import annotations

import collections
import csv
import itertools
import os
import pathlib
import re
import shutil
from collections.abc import Mapping, Sequence

import numpy as np
from absl import logging
from PIL import Image

from maml_tf.tasks.archives import ARCHIVE_SUFFIXES, is_archive, list_files
from maml_tf.tasks.colour_images import ENVIRONMENT, NETWORKS, five_way_presets
from maml_tf.tasks.dataset import PARTS, DatasetSpec, SplitClasses, datasets
from maml_tf.tasks.images import (
    ImageFile,
    check_image_size,
    decode_files,
    decode_image,
    decoded_photos,
    default_cache_dir,
    is_image,
    map_files,
)

# Classes of each part in the split of Ravi and Larochelle, and images of each class.
CLASSES = {"train": 64, "validation": 16, "test": 20}
IMAGES_PER_CLASS = 600
IMAGE_SIZE = 84
_PART_OF_FOLDER = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
_LISTS = ("train", "val", "test")
_COLUMNS = ["filename", "label"]
_JPEG_QUALITY = 95
# Increased when the decoding of images changes, so that arrays cached before are not used.
_DECODER_VERSION = 1


class MiniImagenet(SplitClasses):
    """The classes of mini-ImageNet: 64 training, 16 validation and 20 test classes.

    The first use decodes all images and stores the array; later ones map it into memory, and an episode reads only its
    own images.

    Args:
        data_dir: A folder or an archive (`.tar`, compressed or not, or `.zip`) that holds
            `train/<class>/<image>`, `val/<class>/<image>` and `test/<class>/<image>`, directly or within one
            folder; or a folder with one such archive. `maml-tf prepare-mini-imagenet` makes it from ImageNet.
        image_size: Height and width; images of another size are resized with a Lanczos filter.
        cache_dir: Folder for the decoded array. None is `maml_tf/mini_imagenet` in Keras' folder, `$KERAS_HOME` or
            `~/.keras`. If it cannot be written, a warning is logged and nothing is stored.

    Attributes:
        splits: The names of the classes of "train", "validation" and "test".

    Raises:
        FileNotFoundError: If there are no data in `data_dir`, or a part is missing.
        ValueError: If the archive or an image is broken, or a class is in two parts.

    Source: Vinyals and others, 2016; classes of Ravi and Larochelle, 2017, as in Finn, Abbeel and Levine, 2017,
    section 5.2.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike,
        *,
        image_size: int = IMAGE_SIZE,
        cache_dir: str | os.PathLike | None = None,
    ):
        # Imported here because names of data sets are listed without TensorFlow.
        from maml_tf.tasks.class_pool import ClassPool

        image_size = check_image_size(image_size)
        source = _source(pathlib.Path(data_dir).expanduser())
        photos = _list_photos(source)
        splits = {part: tuple(dict.fromkeys(p.class_name for p in photos if p.part == part)) for part in PARTS}
        _notice_a_subset(splits, collections.Counter(photo.class_name for photo in photos), source)
        images = decoded_photos(
            photos,
            lambda images: _decode(source, photos, images),
            cache_dir=default_cache_dir("mini_imagenet") if cache_dir is None else cache_dir,
            image_size=image_size,
            version=_DECODER_VERSION,
        )
        super().__init__(ClassPool(images, [photo.class_name for photo in photos]), splits)


def _source(data_dir: pathlib.Path) -> pathlib.Path:
    """Returns the folder or archive that holds the images."""
    if not data_dir.exists():
        raise FileNotFoundError(
            "Expected mini-ImageNet as a folder or archive of {train,val,test}/<class>/<image>. "
            f"Received: {data_dir}, which does not exist"
        )
    if data_dir.is_file():
        if not is_archive(data_dir):
            raise ValueError(f"Expected a folder or an archive ({', '.join(ARCHIVE_SUFFIXES)}). Received: {data_dir}")
        return data_dir
    archives = sorted(path for path in data_dir.iterdir() if path.is_file() and is_archive(path))
    folders = [path for path in data_dir.iterdir() if path.is_dir() and path.name[0] != "."]
    # An archive may be next to the folder that it was unpacked to.
    return archives[0] if len(archives) == 1 and not folders else data_dir


def _list_photos(source: pathlib.Path) -> list[ImageFile]:
    photos = []
    for name, mark in list_files(source).items():
        parts = name.split("/")
        if len(parts) in (3, 4) and parts[-3] in _PART_OF_FOLDER and is_image(name):
            photos.append(ImageFile(parts[-2], parts[-1], _PART_OF_FOLDER[parts[-3]], name, mark))
    photos.sort()
    missing = [part for part in PARTS if not any(photo.part == part for photo in photos)]
    if missing:
        raise FileNotFoundError(
            "Expected images {train,val,test}/<class>/<image>, directly or within one folder. "
            f"Received: none of {', '.join(missing)} in {source}"
        )
    for before, photo in itertools.pairwise(photos):
        if before.class_name == photo.class_name and before.part != photo.part:
            raise ValueError(
                "Expected every class in one part of the split. "
                f"Received: {photo.class_name!r} in {before.part} and in {photo.part} of {source}"
            )
        if before[:2] == photo[:2]:
            raise ValueError(f"Expected one tree of images. Received: {before.name} and {photo.name} in {source}")
    return photos


def _notice_a_subset(splits: Mapping[str, Sequence[str]], sizes: Mapping[str, int], source: pathlib.Path) -> None:
    received = []
    for part, names in splits.items():
        least, most = min(sizes[name] for name in names), max(sizes[name] for name in names)
        images = f"{least}" if least == most else f"{least} to {most}"
        received.append(f"{part} {len(names)} x {images}")
    expected = [f"{part} {classes} x {IMAGES_PER_CLASS}" for part, classes in CLASSES.items()]
    if received != expected:
        logging.warning(
            "This is not all of mini-ImageNet, so results do not compare. Expected (classes x images): %s. "
            "Received: %s in %s",
            ", ".join(expected), ", ".join(received), source,
        )  # fmt: skip


def _decode(source: pathlib.Path, photos: Sequence[ImageFile], images: np.ndarray) -> None:
    logging.info("decoding %d images of %s, once", len(photos), source)
    places = {photo.name: place for place, photo in enumerate(photos)}
    decode_files(source, places, images, lambda data, name: decode_image(data, name, images.shape[1:3], 3))


def prepare(
    imagenet_dir: str | os.PathLike, split_dir: str | os.PathLike, output_dir: str | os.PathLike, image_size: int = 84
) -> int:
    """Writes `{train,val,test}/<class>/<filename>` for `maml_tf.tasks.MiniImagenet`.

    A class appears in the output when all of its images are written. A new call after an interrupted one writes only
    the missing classes.

    Args:
        imagenet_dir: ImageNet's training images: holds `<class>/*.JPEG` or `<class>.tar` for each class of the
            split, and may hold other classes.
        split_dir: Holds `train.csv`, `val.csv` and `test.csv` with the columns filename and label. A filename
            is a file of the class, or `<class>` and a number of 8 digits: the position, from 1, among the class's
            files in the order of the numbers in their names.
        output_dir: Folder for the output; created if it does not exist.
        image_size: Height and width of the images written, resized with a Lanczos filter.

    Returns:
        The number of images written; those of an earlier call are not counted.

    Raises:
        FileNotFoundError: If a list, a class or an image is missing.
        ValueError: If a list is broken, an image cannot be decoded, or the output has a class with other images or
            with images of another size.
    """
    image_size = check_image_size(image_size)
    split, output_dir = _read_split(split_dir), pathlib.Path(output_dir).expanduser()
    imagenet_dir = pathlib.Path(imagenet_dir).expanduser()
    todo = [
        (output_dir / part / name, names)
        for part, classes in split.items()
        for name, names in classes.items()
        if not _is_done(output_dir / part / name, names, image_size)
    ]
    # All sources are looked up before the first image is written, so that a missing one is reported at once.
    sources = {folder.name: _class_source(imagenet_dir, folder.name) for folder, _ in todo}
    total, written = sum(len(names) for _, names in todo), 0
    for folder, names in todo:
        _write_class(sources[folder.name], folder, names, image_size)
        written += len(names)
        logging.info("wrote %d of %d images", written, total)
    return written


def _read_split(split_dir: str | os.PathLike) -> dict[str, dict[str, list[str]]]:
    """Returns file names by part and class, in the order of the lists."""
    split: dict[str, dict[str, list[str]]] = {}
    for part in _LISTS:
        path = pathlib.Path(split_dir, f"{part}.csv").expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"Expected train.csv, val.csv and test.csv in {split_dir}. Received: no {path}")
        with open(path, newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if row]
        if not rows[1:] or rows[0] != _COLUMNS or any(len(row) != len(_COLUMNS) for row in rows):
            raise ValueError(f"Expected the columns {','.join(_COLUMNS)} and rows. Received: {path} without them")
        split[part] = {}
        for name, label in rows[1:]:
            if any(pathlib.PurePath(text).name != text or text == ".." for text in (name, label)):
                raise ValueError(f"Expected names without folders. Received: {name!r}, {label!r} in {path}")
            split[part].setdefault(label, []).append(name)
    _check_distinct(split)
    return split


def _check_distinct(split: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
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
            f"{len(present)} files, not the {len(names)} listed. Remove it, and it is written again."
        )
    # One image is enough: all images of a class are written together.
    with Image.open(folder / min(present), formats=["JPEG"]) as image:
        size = image.size
    if size != (image_size, image_size):
        raise ValueError(
            f"Expected an output folder with images of {image_size} x {image_size}, or a new folder. "
            f"Received: {size[0]} x {size[1]} in {folder}"
        )
    return True


def _class_source(imagenet_dir: pathlib.Path, label: str) -> pathlib.Path:
    for path in (imagenet_dir / label, imagenet_dir / f"{label}.tar"):
        if path.exists():
            return path
    raise FileNotFoundError(
        f"Expected ImageNet's training images with a folder {label} or {label}.tar. Received: {imagenet_dir} without it"
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

    list(map_files(write, source, originals.keys()))
    os.rename(unfinished, folder)


def _originals(source: pathlib.Path, label: str, names: Sequence[str]) -> dict[str, str]:
    """Returns the names in the list by the names of ImageNet's files."""
    files = sorted(filter(is_image, list_files(source)), key=_number_in_name)
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
                f"Expected {name} of class {label!r}, by its name or its position. Received: {source} with "
                f"{len(files)} images, none of that name or position"
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


def _open(data_dir: str | None, cache_dir: str | None, split: str | None) -> MiniImagenet:
    """Opens mini-ImageNet, which has one split."""
    if data_dir is None:
        raise ValueError("Expected data_dir: mini-ImageNet cannot be downloaded. Received: data_dir=None")
    return MiniImagenet(data_dir, cache_dir=cache_dir)


# The settings of the paper and of its authors' code.
_PAPER = {
    "loss_scale": "original", "inner_learning_rate": 0.01, "gradient_clip": 10.0, "head": "glorot_uniform",
    "adapted": "weights",
}  # fmt: skip
_SPEC = DatasetSpec(
    name="mini_imagenet",
    title="mini-ImageNet",
    open=_open,
    image_shape=(IMAGE_SIZE, IMAGE_SIZE, 3),
    networks=NETWORKS,
    presets=five_way_presets(evaluation_queries=None, paper=_PAPER),
    licence="mini-ImageNet, classes and images of ImageNet: for non-commercial research and education alone",
    how_to_get="Made from ImageNet's training images by maml-tf prepare-mini-imagenet.",
    environment=ENVIRONMENT,
)
datasets.register(_SPEC.name, _SPEC)
