"""Reads labelled images from tf.data and TensorFlow Datasets into arrays."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from PIL import Image

from maml_tf.tasks.images import height_and_width


def read_dataset(
    dataset: tf.data.Dataset,
    image_size: int | Sequence[int] | None = None,
    keys: Sequence[str] = ("image", "label"),
    name_of: Callable[[Hashable], Hashable] = lambda label: label,
) -> dict[Hashable, np.ndarray]:
    """Reads all of a labelled data set into memory.

    Args:
        dataset: Finite and unbatched, of (image, label), or of dictionaries; an image is an array of numbers, a label a
            number or a string.
        image_size: Height and width to resize to with a Lanczos filter; None keeps the images' size.
        keys: Keys of a dictionary's image and label.
        name_of: Maps a label to the name of the class.

    Returns:
        A dictionary from the name of each class to its images [images, ...].

    Raises:
        TypeError: If `dataset` is not a `tf.data.Dataset`.
        ValueError: If it has another form or is infinite, or shapes differ.
    """
    if not isinstance(dataset, tf.data.Dataset):
        raise TypeError(f"Expected a tf.data.Dataset. Received: {type(dataset).__name__}")
    if len(keys) != 2 or isinstance(keys, str):
        raise ValueError(f"Expected two keys, of the image and the label. Received: keys={keys!r}")
    size = None if image_size is None else height_and_width(image_size)
    spec = dataset.element_spec
    if isinstance(spec, Mapping) and set(keys) <= set(spec):
        dataset = dataset.map(lambda element: tuple(element[key] for key in keys))
    elif not isinstance(spec, tuple) or len(spec) != 2:
        raise ValueError(
            f"Expected a dataset of (image, label) pairs, or of dictionaries with {keys[0]!r} and {keys[1]!r}. "
            f"Received: elements {spec}"
        )
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError("Expected a finite dataset. Received: a dataset of infinite cardinality")
    classes: dict[Hashable, list[np.ndarray]] = {}
    for image, label in dataset.as_numpy_iterator():
        if np.size(label) != 1 or not isinstance(image, np.ndarray):
            raise ValueError(
                "Expected an unbatched dataset: in each element one image, an array of numbers, and one label. "
                f"Received: a label of shape {np.shape(label)}, an image of type {type(image).__name__}"
            )
        label = np.asarray(label).item()
        members = classes.setdefault(name_of(label.decode() if isinstance(label, bytes) else label), [])
        image = image if size is None else _resized(image, size)
        if members and members[0].shape != image.shape:
            raise ValueError(
                f"Expected images of one shape, or image_size to resize to. Received: {members[0].shape} and "
                f"{image.shape}"
            )
        members.append(image)
    return {label: np.stack(images) for label, images in classes.items()}


def read_tfds(
    name: str,
    split: str | None = None,
    image_size: int | Sequence[int] | None = None,
    *,
    data_dir: str | os.PathLike | None = None,
    keys: Sequence[str] = ("image", "label"),
) -> dict[Hashable, np.ndarray]:
    """Reads a data set of TensorFlow Datasets into memory; its first use downloads and prepares it.

    Args:
        name: Name of the data set in TensorFlow Datasets, with a configuration and a version if needed, such as
            "stanford_dogs:0.2.0".
        split: Splits in TensorFlow Datasets' own notation, such as "train+test"; None for all of them.
        image_size: See `read_dataset`.
        data_dir: Folder for prepared data; None is TensorFlow Datasets' own folder.
        keys: Names of the features that hold the image and the label.

    Returns:
        As `read_dataset`; classes have the names of the label's feature, if it has names.

    Raises:
        ImportError: If the package tensorflow_datasets is not installed.
        ValueError: If there are no such features.
    """
    try:
        tfds = importlib.import_module("tensorflow_datasets")
    except ImportError as error:
        raise ImportError(
            "Expected the extra tfds of maml_tf to be installed: in the project's folder, run: pip install '.[tfds]'. "
            f"Received: {error}"
        ) from error
    builder = tfds.builder(name, data_dir=None if data_dir is None else os.fspath(data_dir))
    features = builder.info.features  # An object with a dictionary's methods, or a single feature.
    known = list(features.keys()) if hasattr(features, "keys") else [type(features).__name__]
    if len(keys) != 2 or not set(keys) <= set(known):
        raise ValueError(f"Expected keys of the image and the label among {known}. Received: keys={keys!r}")
    builder.download_and_prepare()
    dataset = builder.as_dataset(split=split or "+".join(builder.info.splits), shuffle_files=False)
    names = getattr(features[keys[1]], "names", None)
    return read_dataset(dataset, image_size, keys, names.__getitem__ if names else lambda label: label)


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)):
        raise ValueError(
            "Expected images uint8 [height, width], or with 1 or 3 channels, to resize. "
            f"Received: {image.dtype} {list(image.shape)}"
        )
    if image.shape[:2] == size:
        return image
    plane = image.reshape(image.shape[:2]) if image.shape[2:] in ((), (1,)) else image
    resized = Image.fromarray(plane).resize((size[1], size[0]), Image.Resampling.LANCZOS)
    return np.asarray(resized).reshape(*size, *image.shape[2:])
