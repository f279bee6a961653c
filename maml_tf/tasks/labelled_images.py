"""Brings labelled images of other forms into one array of images and one of labels."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Hashable, Mapping

import numpy as np
import tensorflow as tf

from maml_tf.tasks.image_decoding import decode_image, is_image


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
        ValueError: If there is no class, a class is empty, or shapes differ.
    """
    arrays = {name: np.asarray(images) for name, images in classes.items()}
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
    labels = np.repeat(list(arrays), [len(images) for images in arrays.values()])
    return np.concatenate(list(arrays.values())), labels


def read_dataset(dataset: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Reads all of a data set.

    Args:
        dataset: Finite and unbatched, of (image, label).

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
        if np.ndim(label) > 0:
            raise ValueError(
                "Expected an unbatched dataset: one image and one scalar label an element. "
                f"Received: a label of shape {np.shape(label)}"
            )
        members = classes.setdefault(label.decode() if isinstance(label, bytes) else label, [])
        if members and members[0].shape != image.shape:
            raise ValueError(f"Expected images of one shape. Received: {members[0].shape} and {image.shape}")
        members.append(image)
    return join_classes({label: np.stack(images) for label, images in classes.items()})


def read_class_folders(
    folder: str | os.PathLike, image_size: int | tuple[int, int] | None = None, channels: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """Reads `folder/<class>/<image>`, classes and images in the order of their names.

    Args:
        folder: Holds one folder a class. Names that start with a dot and files that aren't images are passed
            over.
        image_size: Height and width to resize to with a Lanczos filter; one number for a square. None keeps
            the images' own size, which must then be the same in all.
        channels: 1 for grey, 3 for RGB.

    Returns:
        Images, uint8 [images, height, width, channels], and the class name of each, [images].

    Raises:
        FileNotFoundError: If the folder or a class folder in it is missing.
        ValueError: If a class is empty, an image can't be decoded or sizes differ.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"Expected a folder with one folder of images a class. Received: {folder}")
    class_folders = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    if not class_folders:
        raise FileNotFoundError(
            f"Expected a folder with one folder of images a class. Received: {folder}, without a folder in it"
        )
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    images, labels = [], []
    for class_folder in class_folders:
        files = sorted(path for path in class_folder.iterdir() if path.name[0] != "." and is_image(path.name))
        if not files:
            raise ValueError(f"Expected at least one image in every class. Received: none in {class_folder}")
        for file in files:
            image = decode_image(file.read_bytes(), str(file), size, channels)
            if images and image.shape != images[0].shape:
                raise ValueError(
                    "Expected images of one size, or image_size to resize to. "
                    f"Received: {image.shape} in {file}, {images[0].shape} before it"
                )
            images.append(image)
            labels.append(class_folder.name)
    return np.stack(images), np.array(labels)
