"""Large data sets of photos, with one folder for each class and a published split: tieredImageNet and CUB."""

from __future__ import annotations

import collections
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from maml_tf.tasks.archives import Archive, download, is_archive, list_files
from maml_tf.tasks.colour_images import ENVIRONMENT, NETWORKS, five_way_presets
from maml_tf.tasks.dataset import DatasetSpec, SplitClasses, datasets, published_split
from maml_tf.tasks.images import (
    ImageFile,
    check_image_size,
    decode_files,
    decode_image,
    decoded_photos,
    default_cache_dir,
    is_image,
)

IMAGE_SIZE = 84
# Increased when the decoding of images changes, so that arrays cached before are not used.
_DECODER_VERSION = 1
# The checksum is that of the record, https://data.caltech.edu/records/65de6-vp158.
CUB_ARCHIVE = Archive(
    "CUB_200_2011.tgz",
    "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
    "97eceeb196236b17998738112f37df78",
)


class ClassFolders(SplitClasses):
    """Photos of a folder or an archive; the folder of a photo names its class.

    The first use decodes all photos of the split's classes into a file; later uses map it into memory. An episode reads
    only its own images, and the operating system decides how many images stay in memory.

    Args:
        data_dir: A folder or an archive. Photos are at `<class>/<image>`, at any depth, or in archives `<class>.tar`.
            Classes that are not in the split are skipped.
        splits: Names of classes by part: "train", "validation" and "test".
        images: Number of photos in the whole data set; another number logs a warning. None for any number.
        title: Name of the data set in messages.
        image_size: Height and width; photos are resized with a Lanczos filter, which may change their proportions.
        cache_dir: Folder for the decoded array. None is `maml_tf/class_folders` in Keras' folder.

    Raises:
        FileNotFoundError: If `data_dir` does not exist, or has no class of a part.
        ValueError: If an archive or a photo is broken, or a class is in two folders.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike,
        splits: Mapping[str, Sequence[str]],
        *,
        images: int | None = None,
        title: str = "the data set",
        image_size: int = IMAGE_SIZE,
        cache_dir: str | os.PathLike | None = None,
    ):
        # Imported here because names of data sets are listed without TensorFlow.
        from maml_tf.tasks.class_pool import ClassPool

        source, image_size = pathlib.Path(data_dir).expanduser(), check_image_size(image_size)
        photos = _list_photos(source, {name: part for part, names in splits.items() for name in names}, title)
        found = dict.fromkeys(photo.class_name for photo in photos)
        present = {part: tuple(name for name in names if name in found) for part, names in splits.items()}
        if missing := [part for part, names in present.items() if not names]:
            raise FileNotFoundError(
                f"Expected photos of the classes of {title}, <class>/<image> or <class>.tar. "
                f"Received: none of {', '.join(missing)} in {source}"
            )
        if (classes := sum(map(len, splits.values()))) != len(found) or images not in (None, len(photos)):
            logging.warning(
                "This is not all of %s, so results do not compare. Expected %d classes, %s photos. Received: %d and %d "
                "in %s",
                title, classes, "any number of" if images is None else images, len(found), len(photos), source,
            )  # fmt: skip
        decoded = decoded_photos(
            photos,
            lambda array: _decode(source, photos, array),
            cache_dir=default_cache_dir("class_folders") if cache_dir is None else cache_dir,
            image_size=image_size,
            version=_DECODER_VERSION,
        )
        super().__init__(ClassPool(decoded, [photo.class_name for photo in photos]), present)


def _list_photos(source: pathlib.Path, part_of: Mapping[str, str], title: str) -> list[ImageFile]:
    """Lists the photos of a split's classes, in order; a photo's `part` is the archive of its class, or empty."""
    if not source.exists():
        raise FileNotFoundError(f"Expected a folder or an archive of {title}. Received: {source}, which does not exist")
    if source.is_file() and not is_archive(source):
        raise ValueError(f"Expected a folder or an archive of {title}. Received: {source}")
    photos: list[ImageFile] = []
    places: dict[str, str] = {}

    def add(class_name: str, archive: str, name: str, mark: str) -> None:
        folder, _, file_name = f"{archive}/{name}".rpartition("/")
        if (other := places.setdefault(class_name, folder)) != folder:
            raise ValueError(
                f"Expected each class of {title} in one folder. Received: {other!r} and {folder!r} in {source}; pass "
                "the parent folder of one of them as data_dir, or remove the other"
            )
        photos.append(ImageFile(class_name, file_name, archive, name, mark))

    for name, mark in list_files(source).items():
        *folders, file_name = name.split("/")
        if folders and folders[-1] in part_of and is_image(name):
            add(folders[-1], "", name, mark)
        elif source.is_dir() and file_name.endswith(".tar") and file_name[: -len(".tar")] in part_of:
            for member, of_member in list_files(source / name).items():
                if is_image(member):
                    add(file_name[: -len(".tar")], name, member, of_member)
    return sorted(photos)


def _decode(source: pathlib.Path, photos: Sequence[ImageFile], images: np.ndarray) -> None:
    logging.info("decoding %d images of %s, once", len(photos), source)
    places: dict[str, dict[str, int]] = collections.defaultdict(dict)
    for place, photo in enumerate(photos):
        places[photo.part][photo.name] = place
    for archive, of_archive in places.items():
        decode_files(
            source / archive, of_archive, images,
            lambda content, name: decode_image(content, name, images.shape[1:3], 3),
        )  # fmt: skip


def open_tiered_imagenet(
    data_dir: str | os.PathLike | None = None,
    cache_dir: str | os.PathLike | None = None,
    split: Mapping[str, Sequence[str]] | None = None,
    **options: Any,
) -> ClassFolders:
    """Opens tieredImageNet: 608 classes of ImageNet, 779,165 photos, whose parts share no category of WordNet.

    Args:
        data_dir: ImageNet's training images, `<class>/<image>` or `<class>.tar`; other classes are skipped.
        cache_dir: Folder for the decoded array, 16.5 GB at 84 x 84 pixels. None is `maml_tf/tiered_imagenet` in
            Keras' folder.
        split: Names of classes of "train", "validation" and "test"; None for the published 351, 97 and 160.
        **options: Options of `ClassFolders`.

    Raises:
        ValueError: Without `data_dir`: ImageNet cannot be downloaded.

    Source: Ren et al., Meta-Learning for Semi-Supervised Few-Shot Classification, 2018.
    """
    if data_dir is None:
        raise ValueError(
            "Expected data_dir: ImageNet's training images (ILSVRC2012_img_train.tar, from https://image-net.org, "
            "unpacked) cannot be downloaded without an account. Received: data_dir=None"
        )
    splits = published_split("tiered_imagenet") if split is None else split
    cache_dir = default_cache_dir("tiered_imagenet") if cache_dir is None else cache_dir
    options = {"images": 779_165 if split is None else None, "title": "tieredImageNet", **options}
    return ClassFolders(data_dir, splits, cache_dir=cache_dir, **options)


def open_cub(
    data_dir: str | os.PathLike | None = None,
    cache_dir: str | os.PathLike | None = None,
    split: Mapping[str, Sequence[str]] | None = None,
    *,
    archive: Archive = CUB_ARCHIVE,
    **options: Any,
) -> ClassFolders:
    """Opens CUB-200-2011: 11,788 photos of 200 species of birds, each photo as a whole.

    Args:
        data_dir: The archive `CUB_200_2011.tgz`, the unpacked folder, or its folder `images`. None downloads the
            archive, 1.15 GB, from its official address into `cache_dir`.
        cache_dir: Folder for the download and the decoded array. None is `maml_tf/cub` in Keras' folder.
        split: Names of classes of "train", "validation" and "test"; None for the published 100, 50 and 50.
        archive: The archive to download.
        **options: Options of `ClassFolders`.

    Raises:
        OSError: If the download fails.

    Source: Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, 2011; split of Chen et al., A Closer Look at Few-shot
    Classification, 2019, after Hilliard et al., 2018.
    """
    cache_dir = pathlib.Path(default_cache_dir("cub") if cache_dir is None else cache_dir).expanduser()
    if data_dir is None:
        data_dir = download(archive, cache_dir)
    source = pathlib.Path(data_dir).expanduser()
    if source.is_dir() and (source / archive.file_name).is_file() and not any(source.glob("**/images")):
        source /= archive.file_name
    splits = published_split("cub") if split is None else split
    options = {"images": 11_788 if split is None else None, "title": "CUB-200-2011", **options}
    return ClassFolders(source, splits, cache_dir=cache_dir, **options)


_COMMON = {
    "image_shape": (IMAGE_SIZE, IMAGE_SIZE, 3),
    "networks": NETWORKS,
    "presets": five_way_presets(),
    "environment": ENVIRONMENT,
}
for _spec in (
    DatasetSpec(
        name="tiered_imagenet",
        title="tieredImageNet",
        open=open_tiered_imagenet,
        licence="tieredImageNet, classes and images of ImageNet: for non-commercial research and education alone",
        how_to_get="A folder with ImageNet's training images, a folder or tar for each class: https://image-net.org.",
        **_COMMON,
    ),
    DatasetSpec(
        name="cub",
        title="CUB-200-2011",
        open=open_cub,
        licence="CUB-200-2011, Caltech and UC San Diego; photos of their photographers, for non-commercial research "
        "and education alone",
        how_to_get="Downloaded from its official address if no folder is given: 1.15 GB.",
        **_COMMON,
    ),
):
    datasets.register(_spec.name, _spec)
