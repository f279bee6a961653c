"""ClassPool: N-way K-shot episodes over any labelled images, in memory or mapped from a file."""

from __future__ import annotations

import copy
import functools
import os
import pathlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from maml_tf.checks import flag
from maml_tf.tasks.episode import Episode, meta_batches, stream_number
from maml_tf.tasks.episode_draw import (
    EpisodeDraw,
    ImageDraw,
    Transform,
    check_square,
    rotate_quarter_turns,
    unit_range,
)
from maml_tf.tasks.image_store import ImageStore
from maml_tf.tasks.images import read_class_folders
from maml_tf.tasks.labelled_data import read_dataset, read_tfds
from maml_tf.tasks.saved_pool import read_pool, write_pool

# A number, or the least and the greatest number.
Size = int | tuple[int, int]
_NUMBERS_AT_ONCE = 1 << 24


class ClassPool:
    """Labelled images from which N-way K-shot episodes are drawn.

    A task takes `ways` different classes of the pool, numbers them in a random order, and takes `shots` support and
    `queries` query images of each class, all different. Task i depends only on the seed, i and these three numbers. So
    a run that stopped can continue with the same tasks, and two learners with the same seed see the same tasks.

    Args:
        images: [images, ...], of any real dtype, in memory or mapped from a file. Floats are read once and must be
            finite. Images that are sorted by class are shared, not copied, and must not change.
        labels: [images] or [images, 1], integers or strings; images with the same label form a class.
        rotations: Whether to turn each class of a task by a random multiple of 90 degrees, the same for all its
            images. The class is drawn first and its turn second: a task never holds a class at two turns.
        transform: Maps drawn images [batch, ...] to the float images of the episode.

    Attributes:
        rotations: The argument.
        class_names: The names of the classes, sorted as their labels are.
        class_sizes: Images of each class, [classes].

    Raises:
        TypeError: If images are not real numbers, or labels are neither integers nor strings.
        ValueError: If shapes do not match, there is no image, a number is NaN or infinite, or images to rotate are not
            square.

    Example:
    >>> import numpy as np
    >>> from maml_tf.tasks import ClassPool
    >>> pool = ClassPool(np.zeros([60, 28, 28, 1], np.uint8), np.repeat(np.arange(6), 10))
    >>> pool
    ClassPool(6 classes, 60 images of shape (28, 28, 1), uint8)
    >>> pool.episode(seed=0, index=7, ways=5, shots=1, queries=3).query_x.shape
    TensorShape([15, 28, 28, 1])
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray | Sequence[int] | Sequence[str],
        *,
        rotations: bool = False,
        transform: Transform = unit_range,
    ):
        images, labels = np.asanyarray(images), np.asarray(labels)
        _check_labelled_images(images, labels)
        if flag("rotations", rotations):
            check_square(images)
        values, label_index, class_sizes = np.unique(labels.reshape(-1), return_inverse=True, return_counts=True)
        if np.any(np.diff(label_index) < 0):
            images = images[np.argsort(label_index, kind="stable")]
        self._set(images, [str(_as_text(value)) for value in values], class_sizes, rotations, transform)

    def _set(
        self, images: np.ndarray, names: Sequence[str], sizes: np.ndarray, rotations: bool, transform: Transform
    ) -> None:
        """Sets what the pool holds; the images are sorted by class."""
        self._images = ImageStore(images)
        self.rotations = rotations
        self.transform = _check_transform(transform)
        self._class_starts = np.cumsum(sizes) - sizes
        self.class_sizes = sizes
        self.class_names = tuple(names)

    @classmethod
    def from_classes(cls, classes: Mapping[str, np.ndarray], **options) -> ClassPool:
        """Makes a pool of classes that may differ in size.

        Args:
            classes: Class name to images [images, ...].
            **options: Options of the constructor.

        Raises:
            ValueError: If there is no class, a class is empty, two have the same name, or shapes or dtypes differ.
        """
        return cls(*_join_classes(classes), **options)

    @classmethod
    def from_dataset(
        cls,
        dataset: tf.data.Dataset,
        image_size: int | tuple[int, int] | None = None,
        *,
        keys: Sequence[str] = ("image", "label"),
        **options,
    ) -> ClassPool:
        """Makes a pool of all of a `tf.data.Dataset`.

        Args:
            dataset: Finite and unbatched, of (image, label), or of dictionaries; an image is an array of numbers, a
                label a number or a string.
            image_size: Height and width to resize uint8 images to, with a Lanczos filter; one number for a square.
                None keeps the size of the images, which must then be the same for all.
            keys: Keys of a dictionary's image and label.
            **options: Options of the constructor.

        Raises:
            ValueError: If the data set has another form or is infinite, or shapes differ.
        """
        return cls(*_join_classes(read_dataset(dataset, image_size, keys)), **options)

    @classmethod
    def from_tfds(
        cls,
        name: str,
        split: str | None = None,
        image_size: int | tuple[int, int] | None = None,
        *,
        data_dir: str | os.PathLike | None = None,
        keys: Sequence[str] = ("image", "label"),
        **options,
    ) -> ClassPool:
        """Makes a pool of a data set of TensorFlow Datasets, which is downloaded and prepared at its first use.

        It needs the extra `tfds`. `ClassPool.from_tfds("stanford_dogs", image_size=84)` has 120 breeds.

        Args:
            name: Name of the data set in TensorFlow Datasets, with a configuration and a version if needed.
            split: Splits in TensorFlow Datasets' notation, such as "train+test"; None for all of them.
            image_size: See `from_dataset`.
            data_dir: Folder for prepared data; None is TensorFlow Datasets' own folder.
            keys: Names of the features that hold the image and the label.
            **options: Options of the constructor.

        Returns:
            The pool; classes are named as in the label's feature.

        Raises:
            ImportError: If the package tensorflow_datasets is not installed.
            ValueError: If there are no such features, or shapes differ.
        """
        classes = read_tfds(name, split, image_size, data_dir=data_dir, keys=keys)
        return cls(*_join_classes(classes), **options)

    @classmethod
    def from_folder(
        cls,
        path: str | os.PathLike,
        image_size: int | tuple[int, int] | None = None,
        channels: int = 3,
        *,
        cache_dir: str | os.PathLike | None = None,
        **options,
    ) -> ClassPool:
        """Makes a pool of images `<class>/<image>`, read as uint8 by `read_class_folders`.

        Args:
            path: A folder, or a `.zip` or `.tar`, with one folder for each class; a class is named after its folder.
            image_size: Height and width to resize to, with a Lanczos filter; one number for a square. None keeps the
                size of the images, which must then be the same for all.
            channels: 1 for grey, 3 for RGB.
            cache_dir: Folder for the decoded images: the first use decodes them into a file there, and all processes
                map it into memory, so that images need not fit into memory and are there once. The file's name changes
                with the images. None decodes into memory.
            **options: Options of the constructor.
        """
        return cls(*read_class_folders(path, image_size, channels, cache_dir), **options)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, memory_map: bool = True, transform: Transform = unit_range
    ) -> ClassPool:
        """Opens a pool that `save` wrote; its episodes are those of the pool that was saved, bit for bit.

        Args:
            path: The file.
            memory_map: Whether to leave the images in the file, and to read those of an episode when it is drawn. They
                need not fit into memory, and processes share what is in memory of them. The file must not change
                meanwhile; it may be replaced by `save`. False reads all of them.
            transform: See the constructor.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is cut off, or something else.
        """
        images, names, sizes, rotations = read_pool(path, memory_map)
        pool = cls.__new__(cls)
        pool._set(images, names, np.array(sizes), rotations, transform)
        return pool

    def save(self, path: str | os.PathLike[str]) -> pathlib.Path:
        """Writes the pool into one file, whole or not at all; it holds no other classes of the pool it is a subset of.

        The images are an array in NumPy's uncompressed format, which `np.load` reads too. `transform` is a function,
        and is not saved.

        Args:
            path: The file; it is replaced if it exists.

        Returns:
            The path.

        Raises:
            OSError: If the file cannot be written.

        Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from maml_tf.tasks import ClassPool
        >>> pool = ClassPool(np.zeros([60, 28, 28, 1], np.uint8), np.repeat(np.arange(6), 10))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ClassPool.load(pool.save(f"{folder}/pool.npy"))
        ClassPool(6 classes, 60 images of shape (28, 28, 1), uint8)
        """
        classes = {name: self.images_of(name) for name in self.class_names}
        return write_pool(path, classes, self.rotations)

    def __len__(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    def __repr__(self) -> str:
        shape, dtype = self._images.array.shape[1:], self._images.array.dtype
        return f"ClassPool({len(self)} classes, {sum(self.class_sizes)} images of shape {shape}, {dtype})"

    def images_of(self, class_name: str) -> np.ndarray:
        """Returns the images of a class.

        Args:
            class_name: One of `class_names`.

        Returns:
            [images, ...], as they are in memory; read-only if they are mapped from a file.
        """
        index = self._class_index(class_name)
        start = self._class_starts[index]
        return self._images.array[start : start + self.class_sizes[index]]

    def look_up(self, numbers: tf.Tensor) -> tf.Tensor:
        """Looks up images by their numbers.

        Args:
            numbers: [batch], each from 0 to `sum(class_sizes) - 1`, class by class.

        Returns:
            [batch, ...], as they are in memory: not transformed.
        """
        return tf.gather(self._images.tensor, tf.gather(self._places, numbers))

    @functools.cached_property
    def _places(self) -> tf.Tensor:
        """The place of each image of the pool, class by class, among those that it shares with others."""
        places = [
            np.arange(start, start + size) for start, size in zip(self._class_starts, self.class_sizes, strict=True)
        ]
        with tf.init_scope(), tf.device("CPU:0"):
            return tf.constant(np.concatenate(places))

    def subset(
        self, class_names: Iterable[str], *, rotations: bool | None = None, transform: Transform | None = None
    ) -> ClassPool:
        """Returns a pool of some of the classes, which shares this pool's images.

        Args:
            class_names: Some of `class_names`, in any order.
            rotations: See the constructor; None keeps this pool's.
            transform: See the constructor; None keeps this pool's.

        Raises:
            ValueError: If there is no name, a name is unknown, or images to rotate are not square.
        """
        indices = sorted(self._class_index(name) for name in set(class_names))
        if not indices:
            raise ValueError("Expected at least one class name. Received: none")
        if rotations is not None and flag("rotations", rotations):
            check_square(self._images.array)
        part = copy.copy(self)
        vars(part).pop("_places", None)
        part.rotations = self.rotations if rotations is None else rotations
        part.transform = self.transform if transform is None else _check_transform(transform)
        part._class_starts, part.class_sizes = self._class_starts[indices], self.class_sizes[indices]
        part.class_names = tuple(self.class_names[i] for i in indices)
        return part

    def episode(self, seed: int | tf.Tensor, index: int | tf.Tensor, ways: Size, shots: Size, queries: int) -> Episode:
        """Draws task number `index` of the stream of tasks with this seed.

        Args:
            seed: Seed of the stream of tasks: an integer, or an integer tensor.
            index: The task's position in the stream, 0 or more: an integer, or an integer tensor.
            ways: Classes in the task, or the least and the greatest number, between which it is drawn.
            shots: Support images for each class, or the least and the greatest number, between which it is drawn.
            queries: Query images for each class.

        Returns:
            An `Episode` without a task axis: images [ways * (shots or queries), ...] in a random order and
            int32 labels in [0, ways). A task below the greatest size is padded at the end with zeros of label -1; see
            `padding_label` of `maml_tf.MetaLearner`.

        Raises:
            ValueError: If the pool has fewer than `ways` classes, a class has fewer than `shots + queries` images, or
                an argument is not a whole number.
        """
        seed, index = stream_number("seed", seed), stream_number("index", index, 0)
        batch = self._assemble(self._draw(ways, shots, queries), seed, index, tasks=1)
        return Episode(*(values[0] for values in batch))

    def episodes(
        self,
        seed: int,
        ways: Size,
        shots: Size,
        queries: int,
        *,
        meta_batch_size: int,
        first: int = 0,
        tasks: int | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> tf.data.Dataset:
        """Returns meta-batches `((support_x, support_y, query_x), query_y)` with a leading task axis.

        Element b holds `meta_batch_size` tasks from number `b * meta_batch_size` on. Task i of the stream is
        `episode(seed, i, ...)`.

        Args:
            seed: Seed of the stream of tasks.
            ways: Classes in a task; with a least and a greatest number, drawn for each task, see `episode`.
            shots: Support images for each class; with a least and a greatest number, drawn for each task.
            queries: Query images for each class.
            meta_batch_size: Tasks in an element.
            first: The first element: a run that consumed n elements continues with `first=n`.
            tasks: Number of tasks after which the stream ends (the last element may be smaller); None never ends.
            share: k and n, to draw only the k-th of n shares of each element; see `maml_tf.distribute.shared`.

        Returns:
            A `tf.data.Dataset`, prefetched.

        Raises:
            ValueError: As in `episode`, and if `meta_batch_size`, `first`, `tasks` or `share` is out of range.
        """
        seed = stream_number("seed", seed)
        draw = self._draw(ways, shots, queries)
        # The stream disables AutoGraph; the user's transform may need it, and a tf.function enables it again.
        pool = copy.copy(self)
        pool.transform = tf.function(self.transform)
        return meta_batches(
            lambda start, size: pool._assemble(draw, seed, start, size).keras_data(),
            meta_batch_size=meta_batch_size,
            first=first,
            tasks=tasks,
            share=share,
        )

    def _assemble(self, draw: EpisodeDraw, seed, first, tasks: int | tf.Tensor) -> Episode:
        support, query = draw(seed, first, tasks)
        # Both sets are looked up at once, the support sets of all tasks first: splitting there copies no image.
        drawn = ImageDraw(*(_flat(*values) for values in zip(support, query, strict=True)))
        images = self._look_up(drawn)
        if draw.varies:
            counts = tf.reshape(drawn.label >= 0, tf.concat([[-1], tf.ones([tf.rank(images) - 1], tf.int32)], axis=0))
            images = tf.where(counts, images, tf.zeros_like(images))
        support_images = tf.size(support.image)
        return Episode(
            tf.reshape(images[:support_images], [-1, draw.ways * draw.shots, *images.shape[1:]]),
            support.label,
            tf.reshape(images[support_images:], [-1, draw.ways * draw.queries, *images.shape[1:]]),
            query.label,
        )

    def _look_up(self, draw: ImageDraw) -> tf.Tensor:
        """Returns the episode's images [images, ...] of a draw [images]."""
        images = tf.gather(self._images.tensor, draw.image)
        if self.rotations:
            images = rotate_quarter_turns(images, draw.quarter_turns)
        return self.transform(images)

    def _draw(self, ways: Size, shots: Size, queries: int) -> EpisodeDraw:
        (least_ways, ways), (least_shots, shots) = _range_of("ways", ways), _range_of("shots", shots)
        return EpisodeDraw(
            self.class_names, self._class_starts, self.class_sizes, ways, shots, queries, least_ways, least_shots
        )

    def _class_index(self, class_name: str) -> int:
        if class_name not in self.class_names:
            raise ValueError(f"Expected the name of a class of the pool. Received: {class_name!r}")
        return self.class_names.index(class_name)


def _range_of(name: str, size: Size) -> tuple[int | None, int]:
    if not isinstance(size, (tuple, list)):
        return None, size
    if len(size) != 2:
        raise ValueError(f"Expected {name} to be a number, or the least and the greatest. Received: {name}={size!r}")
    return size[0], size[1]


def _flat(support: tf.Tensor, query: tf.Tensor) -> tf.Tensor:
    return tf.concat([tf.reshape(support, [-1]), tf.reshape(query, [-1])], axis=0)


def _check_transform(transform: Transform) -> Transform:
    if not callable(transform):
        raise TypeError(f"Expected transform to be a function of images. Received: transform={transform!r}")
    return transform


def _check_labelled_images(images: np.ndarray, labels: np.ndarray) -> None:
    if images.dtype.kind not in "buif":
        raise TypeError(f"Expected images of a real number type. Received: dtype {images.dtype}")
    if labels.ndim not in (1, 2) or labels.shape[1:] not in ((), (1,)) or len(labels) != len(images):
        raise ValueError(
            "Expected images [images, ...] and one label each, [images] or [images, 1]. "
            f"Received: images {images.shape}, labels {labels.shape}"
        )
    if images.ndim < 2 or not images.size:
        raise ValueError(f"Expected at least one image, [images, ...]. Received: shape {images.shape}")
    types = {type(label) for label in labels.reshape(-1)} if labels.dtype.kind == "O" else {labels.dtype.type}
    if wrong := [kind.__name__ for kind in types if not issubclass(kind, (int, str, bytes, np.integer, np.bool_))]:
        raise TypeError(f"Expected labels that are integers or strings. Received: labels of type {wrong[0]}")
    if images.dtype.kind == "f":
        # In parts: the images may not fit into memory.
        at_once = max(1, _NUMBERS_AT_ONCE // images[0].size)
        for first in range(0, len(images), at_once):
            finite = np.isfinite(images[first : first + at_once]).reshape(-1, images[0].size).all(axis=1)
            if not finite.all():
                raise ValueError(
                    f"Expected images of finite numbers. Received: NaN or infinity in image {first + finite.argmin()}"
                )


def _join_classes(classes: Mapping[Hashable, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Joins the images of classes; returns images [images, ...] and the class name of each, [images]."""
    if not isinstance(classes, Mapping):
        raise TypeError(f"Expected a dictionary from class name to images. Received: {type(classes).__name__}")
    arrays = {name: np.asarray(images) for name, images in classes.items()}
    texts = [str(name) for name in classes]
    if len(set(texts)) < len(texts):
        twice = next(text for text in texts if texts.count(text) > 1)
        raise ValueError(f"Expected class names that differ as text. Received: {twice!r} twice")
    empty = [name for name, images in arrays.items() if not images.size]
    if not arrays or empty:
        raise ValueError(
            f"Expected at least one class and at least one image in each. Received: {len(arrays)} classes, "
            f"of which these are empty: {empty}"
        )
    # Joining two dtypes would give images of one dtype, but of two scales.
    for kind, found in (
        ("shape", {images.shape[1:]: name for name, images in arrays.items()}),
        ("dtype", {images.dtype: name for name, images in arrays.items()}),
    ):
        if len(found) > 1:
            received = ", ".join(f"{value} in class {name!r}" for value, name in found.items())
            raise ValueError(f"Expected images of one {kind} in all classes. Received: {received}")
    labels = np.repeat(list(arrays), [len(images) for images in arrays.values()])
    return np.concatenate(list(arrays.values())), labels


def _as_text(label: Any) -> Any:
    """Decodes a label of bytes, the form of strings in TensorFlow."""
    return label.decode() if isinstance(label, bytes) else label
