"""mini-ImageNet: 100 classes of ImageNet, 600 colour images each, as pools for few-shot episodes."""

from __future__ import annotations

import collections
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from absl import logging

from maml_tf.tasks.class_pool import ClassPool
from maml_tf.tasks.image_cache import decoded_once, default_cache_dir, fingerprint
from maml_tf.tasks.image_decoding import check_image_size, decode_files, decode_image, is_image
from maml_tf.tasks.image_files import ARCHIVE_SUFFIXES, ListedFile, is_archive, list_files
from maml_tf.tasks.split_classes import PARTS, SplitClasses

# Classes of each part in the split of Ravi and Larochelle, and images of each class.
CLASSES = {"train": 64, "validation": 16, "test": 20}
IMAGES_PER_CLASS = 600
IMAGE_SIZE = 84
_PART_OF_FOLDER = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
# Raised when the way the images are decoded changes, so that arrays cached before are not taken for new ones.
_DECODER_VERSION = 1


class _Photo(NamedTuple):
    """An image as it is listed; ordered by class and name, whatever the order on the disk."""

    class_name: str
    file_name: str
    part: str
    name: str
    fingerprint: str


class MiniImagenet(SplitClasses):
    """The classes of mini-ImageNet: 64 to train on, 16 to choose on and 20 to test on.

    The first use decodes all images and keeps the array; later ones map it into memory, and an episode reads no
    more than its own images.

    Args:
        data_dir: A folder or an archive (`.tar`, compressed or not, or `.zip`) that holds
            `train/<class>/<image>`, `val/<class>/<image>` and `test/<class>/<image>`, directly or within one
            folder; or a folder with one such archive. `bin/prepare_mini_imagenet.py` makes one of ImageNet.
        image_size: Height and width; images of another size are resized with a Lanczos filter.
        cache_dir: Where the decoded array is kept. None is `maml_tf/mini_imagenet` in Keras' folder,
            `$KERAS_HOME` or `~/.keras`. If it can't be written a warning is logged and nothing is kept.

    Attributes:
        splits: The names of the classes of "train", "validation" and "test".

    Raises:
        FileNotFoundError: If there are no data at `data_dir`, or a part of them is missing.
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
        check_image_size(image_size)
        source = _source(pathlib.Path(data_dir).expanduser())
        photos = _list_photos(source)
        splits = {part: tuple(dict.fromkeys(p.class_name for p in photos if p.part == part)) for part in PARTS}
        _notice_a_subset(splits, collections.Counter(photo.class_name for photo in photos), source)
        cache_dir = pathlib.Path(default_cache_dir("mini_imagenet") if cache_dir is None else cache_dir).expanduser()
        mark = fingerprint([f"{_DECODER_VERSION}", *(f"{p.class_name}/{p.file_name} {p.fingerprint}" for p in photos)])
        images = decoded_once(
            cache_dir / f"{mark}-{image_size}.npy",
            (len(photos), image_size, image_size, 3),
            lambda: _decode(source, photos, image_size),
            mapped=True,
        )
        super().__init__(ClassPool(images, [photo.class_name for photo in photos]), splits)


def _source(data_dir: pathlib.Path) -> pathlib.Path:
    """Returns the folder or archive that holds the images."""
    if not data_dir.exists():
        raise FileNotFoundError(
            "Expected mini-ImageNet as a folder or archive of {train,val,test}/<class>/<image>. "
            f"Received: {data_dir}, which is not there"
        )
    if data_dir.is_file():
        if not is_archive(data_dir):
            raise ValueError(f"Expected a folder or an archive ({', '.join(ARCHIVE_SUFFIXES)}). Received: {data_dir}")
        return data_dir
    archives = sorted(path for path in data_dir.iterdir() if path.is_file() and is_archive(path))
    folders = [path for path in data_dir.iterdir() if path.is_dir() and path.name[0] != "."]
    # An unpacked archive may lie beside what came out of it.
    return archives[0] if len(archives) == 1 and not folders else data_dir


def _list_photos(source: pathlib.Path) -> list[_Photo]:
    photos = sorted(photo for file in list_files(source) if (photo := _photo(file)) is not None)
    missing = [part for part in PARTS if not any(photo.part == part for photo in photos)]
    if missing:
        raise FileNotFoundError(
            "Expected images {train,val,test}/<class>/<image>, directly or within one folder. "
            f"Received: none of {', '.join(missing)} in {source}"
        )
    parts: dict[str, _Photo] = {}
    for before, photo in zip([None, *photos], photos, strict=False):
        if parts.setdefault(photo.class_name, photo).part != photo.part:
            raise ValueError(
                "Expected every class in one part of the split. "
                f"Received: {photo.class_name!r} in {parts[photo.class_name].part} and in {photo.part} of {source}"
            )
        if before is not None and before[:2] == photo[:2]:
            raise ValueError(f"Expected one tree of images. Received: {before.name} and {photo.name} in {source}")
    return photos


def _photo(file: ListedFile) -> _Photo | None:
    """Returns the image of that name, or None for a stray file."""
    parts = file.name.split("/")
    if len(parts) not in (3, 4) or parts[-3] not in _PART_OF_FOLDER or not is_image(file.name):
        return None
    return _Photo(parts[-2], parts[-1], _PART_OF_FOLDER[parts[-3]], file.name, file.fingerprint)


def _notice_a_subset(splits: Mapping[str, Sequence[str]], sizes: Mapping[str, int], source: pathlib.Path) -> None:
    received = []
    for part, names in splits.items():
        least, most = min(sizes[name] for name in names), max(sizes[name] for name in names)
        images = f"{least}" if least == most else f"{least} to {most}"
        received.append(f"{part} {len(names)} x {images}")
    expected = [f"{part} {classes} x {IMAGES_PER_CLASS}" for part, classes in CLASSES.items()]
    if received != expected:
        logging.warning(
            "These are not all of mini-ImageNet, so results do not compare. Expected (classes x images): %s. "
            "Received: %s in %s",
            ", ".join(expected), ", ".join(received), source,
        )  # fmt: skip


def _decode(source: pathlib.Path, photos: Sequence[_Photo], image_size: int) -> np.ndarray:
    logging.info("decoding %d images of %s, once", len(photos), source)
    images = np.empty([len(photos), image_size, image_size, 3], np.uint8)
    places = {photo.name: place for place, photo in enumerate(photos)}
    decode_files(source, places, images, lambda data, name: decode_image(data, name, (image_size, image_size), 3))
    return images
