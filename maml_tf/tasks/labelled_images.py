"""Brings labelled images of other forms into one array of images and one of labels."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from maml_tf.tasks.image_decoding import IMAGE_SUFFIXES, decode_files, decode_image, is_image
from maml_tf.tasks.image_files import list_files, read_files


def check_labelled_images(images: np.ndarray, labels: np.ndarray) -> None:
    """Checks that there are images and a label of each.

    Args:
        images: [images, ...].
        labels: [images] or [images, 1].

    Raises:
        TypeError: If the images aren't numbers.
        ValueError: If shapes don't fit each other, or there is no image.
    """
    if images.dtype.kind not in "buif":
        raise TypeError(f"Expected images of a real number type. Received: dtype {images.dtype}")
    if labels.ndim not in (1, 2) or labels.shape[1:] not in ((), (1,)) or len(labels) != len(images):
        raise ValueError(
            "Expected images [images, ...] and one label each, [images] or [images, 1]. "
            f"Received: images {images.shape}, labels {labels.shape}"
        )
    if images.ndim < 2 or not images.size:
        raise ValueError(f"Expected at least one image, [images, ...]. Received: shape {images.shape}")


def join_classes(classes: Mapping[Hashable, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Joins the images of classes.

    Args:
        classes: Class name to images [images, ...]; classes may differ in size.

    Returns:
        Images [images, ...] and the class name of each, [images].

    Raises:
        ValueError: If there is no class, a class is empty, two have one name, or shapes or dtypes differ.
    """
    arrays = {name: np.asarray(images) for name, images in classes.items()}
    texts = [str(name) for name in classes]
    if len(set(texts)) < len(texts):
        twice = next(text for text in texts if texts.count(text) > 1)
        raise ValueError(f"Expected class names that differ as text. Received: {twice!r} twice")
    empty = [name for name, images in arrays.items() if not images.size]
    if not arrays or empty:
        raise ValueError(
            f"Expected at least one class and at least one image in each. Received: {len(arrays)} classes, "
            f"empty among them: {empty}"
        )
    shapes = {images.shape[1:]: name for name, images in arrays.items()}
    if len(shapes) > 1:
        received = ", ".join(f"{shape} in class {name!r}" for shape, name in shapes.items())
        raise ValueError(f"Expected images of one shape in all classes. Received: {received}")
    dtypes = {images.dtype: name for name, images in arrays.items()}
    if len(dtypes) > 1:
        # Joined, they would be of one type and of two scales.
        received = ", ".join(f"{dtype} in class {name!r}" for dtype, name in dtypes.items())
        raise ValueError(f"Expected images of one dtype in all classes. Received: {received}")
    labels = np.repeat(list(arrays), [len(images) for images in arrays.values()])
    return np.concatenate(list(arrays.values())), labels


def as_text(label: Any) -> Any:
    """Decodes a label of bytes, the form that TensorFlow gives strings.

    Args:
        label: A number, a string or bytes in UTF-8.

    Returns:
        The label, or its text.
    """
    return label.decode() if isinstance(label, bytes) else label


def read_dataset(dataset: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Reads all of a data set.

    Args:
        dataset: Finite and unbatched, of (image, label); an image is an array of numbers, a label a number or a
            string.

    Returns:
        Images [images, ...] and labels [images].

    Raises:
        ValueError: If the data set has another form or no end, or shapes differ.
    """
    spec = dataset.element_spec
    if not isinstance(spec, tuple) or len(spec) != 2:
        raise ValueError(f"Expected a dataset of (image, label) pairs. Received: elements {spec}")
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError("Expected a finite dataset. Received: a dataset of infinite cardinality")
    classes: dict[Hashable, list[np.ndarray]] = {}
    for image, label in dataset.as_numpy_iterator():
        if np.size(label) != 1 or not isinstance(image, np.ndarray):
            raise ValueError(
                "Expected an unbatched dataset: one image, an array of numbers, and one label an element. "
                f"Received: a label of shape {np.shape(label)}, an image of type {type(image).__name__}"
            )
        members = classes.setdefault(as_text(np.asarray(label).item()), [])
        if members and members[0].shape != image.shape:
            raise ValueError(f"Expected images of one shape. Received: {members[0].shape} and {image.shape}")
        members.append(image)
    return join_classes({label: np.stack(images) for label, images in classes.items()})


def read_class_folders(
    path: str | os.PathLike, image_size: int | tuple[int, int] | None = None, channels: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """Reads `<class>/<image>` of a folder or an archive, classes and images in the order of their names.

    Args:
        path: A folder, or a `.zip` or `.tar`, with one folder a class, directly or within one folder. Hidden files
            and files that aren't images are passed over.
        image_size: Height and width to resize to with a Lanczos filter; one number for a square. None keeps
            the images' own size, which must then be the same in all.
        channels: 1 for grey, 3 for RGB.

    Returns:
        Images, uint8 [images, height, width, channels], and the class name of each, [images].

    Raises:
        FileNotFoundError: If there is nothing, or no image in a folder of its class.
        ValueError: If a class is empty, an image lies deeper than in the folder of its class, the archive is broken, an
            image can't be decoded, sizes differ or `image_size` is no size.
    """
    path = pathlib.Path(path).expanduser()
    names = _class_images(path)
    size = None if image_size is None else _height_and_width(image_size)
    _, content = next(read_files(path, names[:1]))
    shape = decode_image(content, names[0], size, channels).shape

    def decode(content: bytes, name: str) -> np.ndarray:
        image = decode_image(content, name, size, channels)
        if image.shape != shape:
            raise ValueError(
                "Expected images of one size, or image_size to resize to. "
                f"Received: {image.shape} in {name}, {shape} in {names[0]}"
            )
        return image

    images = np.empty([len(names), *shape], np.uint8)
    decode_files(path, {name: place for place, name in enumerate(names)}, images, decode)
    return images, np.array([name.split("/")[-2] for name in names])


def _class_images(path: pathlib.Path) -> list[str]:
    """Returns the names of the images, sorted; a class is the folder that an image is in."""
    if not path.exists():
        raise FileNotFoundError(f"Expected a folder or archive with one folder of images a class. Received: {path}")
    listed = [file.name for file in list_files(path, folders=True)]
    files = [name for name in listed if not name.endswith("/")]
    images = sorted(name for name in files if is_image(name))
    if len(images) < len(files):
        logging.info(
            "%s: %d files that are not named like images (%s) are passed over",
            path, len(files) - len(images), ", ".join(IMAGE_SUFFIXES),
        )  # fmt: skip
    around = ""  # The folder around the classes.
    tops = {name.partition("/")[0] for name in images if "/" in name}
    if len(tops) == 1 and not any(name.count("/") == 1 for name in images):
        around = f"{tops.pop()}/"
    depth = around.count("/") + 1
    names = [name for name in images if name.count("/") == depth]
    if not names:
        raise FileNotFoundError(
            f"Expected a folder or archive with one folder of images ({', '.join(IMAGE_SUFFIXES)}) a class. "
            f"Received: {path} without one, of {len(files)} files"
        )
    if deeper := [name for name in images if name.count("/") > depth]:
        raise ValueError(
            "Expected images in the folder of their class and no deeper. "
            f"Received: {len(deeper)} deeper ones, the first {deeper[0]} in {path}"
        )
    if len(names) < len(images):
        logging.info("%s: %d images in no folder of a class are passed over", path, len(images) - len(names))
    classes = {name.split("/")[-2] for name in names}
    folders = {name.split("/")[depth - 1] for name in listed if name.startswith(around) and name.count("/") >= depth}
    if empty := sorted(folders - classes):
        raise ValueError(f"Expected at least one image in every class. Received: none in {path / around / empty[0]}")
    return names


def _height_and_width(image_size: int | Sequence[int]) -> tuple[int, int]:
    sizes = np.asarray(image_size)
    if sizes.dtype.kind not in "iu" or sizes.shape not in ((), (2,)) or sizes.min() < 1:
        raise ValueError(
            "Expected image_size to be a whole number of at least 1, or two of them, height and width. "
            f"Received: image_size={image_size}"
        )
    return tuple(np.broadcast_to(sizes, 2).tolist())
