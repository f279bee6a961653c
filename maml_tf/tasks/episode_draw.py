"""Draws the images of N-way K-shot episodes, for a batch of tasks at once, and turns them.

A draw is a function of uniform random numbers, one row for each task, and a row is a function of (seed, task index). So
a task is the same in any batch of tasks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from maml_tf.checks import whole_number

Transform = Callable[[tf.Tensor], tf.Tensor]
_PHILOX = 1
_PHILOX_BLOCK = 4


class ImageDraw(NamedTuple):
    """The images of one set (support or query) of each task, in a random order.

    Attributes:
        image: int32 [tasks, ways * examples], positions in the pool's array of images.
        label: int32 [tasks, ways * examples] in [0, ways); -1 for padding, which comes last.
        quarter_turns: int32 [tasks, ways * examples] in [0, 4), the same for all images of a class in a task.
    """

    image: tf.Tensor
    label: tf.Tensor
    quarter_turns: tf.Tensor


@dataclasses.dataclass(frozen=True)
class EpisodeDraw:
    """The draw of `ways` classes and of `shots + queries` different images of each.

    Attributes:
        class_names: Name of each class, [classes].
        class_starts: Position of the first image of each class, [classes]; the images of a class are contiguous.
        class_sizes: Number of images of each class, [classes].
        ways: Greatest number of classes in a task.
        shots: Greatest number of support images for each class.
        queries: Number of query images for each class.
        least_ways: Least number of classes in a task; the number is drawn for each task. None for `ways`.
        least_shots: Least number of support images for each class; the number is drawn for each task. None for `shots`.

    Raises:
        ValueError: If there are fewer than `ways` classes, a class has fewer than `shots + queries` images, one of
            these three is not a whole number of at least 1, or a least number is not from 1 to the greatest.
    """

    class_names: tuple[str, ...]
    class_starts: np.ndarray
    class_sizes: np.ndarray
    ways: int
    shots: int
    queries: int
    least_ways: int | None = None
    least_shots: int | None = None

    def __post_init__(self) -> None:
        for name in ("ways", "shots", "queries"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), 1))
        for name, most in (("least_ways", self.ways), ("least_shots", self.shots)):
            least = getattr(self, name)
            object.__setattr__(self, name, most if least is None else whole_number(name, least, 1, most))
        classes, examples = len(self.class_sizes), self.shots + self.queries
        if self.ways > classes:
            raise ValueError(f"Expected at least ways={self.ways} classes. Received: a pool of {classes} classes")
        smallest = int(np.argmin(self.class_sizes))
        if self.class_sizes[smallest] < examples:
            raise ValueError(
                f"Expected at least shots + queries = {self.shots} + {self.queries} = {examples} images in every "
                f"class. Received: {self.class_sizes[smallest]} in class {self.class_names[smallest]!r}"
            )

    @property
    def varies(self) -> bool:
        """Whether tasks differ in size; smaller ones are padded with images of label -1."""
        return (self.least_ways, self.least_shots) != (self.ways, self.shots)

    @property
    def _uniforms(self) -> dict[str, int]:
        """The number of uniform numbers that each choice uses, in the order of a row."""
        sizes = {"sizes": 2} if self.varies else {}
        return {
            **sizes,
            "classes": len(self.class_sizes),
            "examples": self.ways * int(max(self.class_sizes)),
            "quarter_turns": self.ways,
            "support_order": self.ways * self.shots,
            "query_order": self.ways * self.queries,
        }

    @tf.autograph.experimental.do_not_convert  # AutoGraph has nothing to convert here, but would take half a second.
    def __call__(
        self, seed: int | tf.Tensor, first: int | tf.Tensor, tasks: int | tf.Tensor
    ) -> tuple[ImageDraw, ImageDraw]:
        """Draws the support and the query sets of consecutive tasks.

        Args:
            seed: Seed of the stream of tasks.
            first: The first task's position in the stream.
            tasks: Number of tasks.

        Returns:
            Support and query `ImageDraw`.
        """
        sizes = self._uniforms
        rows = _uniform_rows(seed, first, tasks, sum(sizes.values()))
        parts = dict(zip(sizes, tf.split(rows[:, : sum(sizes.values())], list(sizes.values()), axis=1), strict=True))
        # The order of the largest of independent uniform numbers is uniformly random, so the position of a class in it
        # is its label.
        classes = tf.math.top_k(parts["classes"], self.ways).indices
        image = self._different_images(classes, parts["examples"])
        label = tf.broadcast_to(tf.range(self.ways)[None, :, None], tf.shape(image))
        if self.varies:
            label = tf.where(self._of_the_task(parts["sizes"]), label, -1)
        quarter_turns = tf.cast(tf.floor(4.0 * parts["quarter_turns"]), tf.int32)
        quarter_turns = tf.broadcast_to(quarter_turns[:, :, None], tf.shape(image))
        support, query = zip(
            *(tf.split(values, [self.shots, self.queries], axis=2) for values in (image, label, quarter_turns)),
            strict=True,
        )
        return _shuffled(ImageDraw(*support), parts["support_order"]), _shuffled(
            ImageDraw(*query), parts["query_order"]
        )

    def _of_the_task(self, uniforms: tf.Tensor) -> tf.Tensor:
        """Returns which of [tasks, ways, shots + queries] are images of a task, from [tasks, 2] uniform numbers."""
        least = tf.constant([self.least_ways, self.least_shots])
        kinds = tf.constant([self.ways, self.shots]) - least + 1
        # A number just below 1, times `kinds`, may round up to `kinds`.
        drawn = tf.minimum(tf.cast(uniforms * tf.cast(kinds, tf.float32), tf.int32), kinds - 1) + least
        ways, shots = tf.split(drawn[:, :, None], 2, axis=1)
        of_a_class = tf.range(self.ways)[None, :] < ways[:, :, 0]
        example = tf.range(self.shots + self.queries)[None, None, :]
        return of_a_class[:, :, None] & ((example < shots) | (example >= self.shots))

    def _different_images(self, classes: tf.Tensor, uniforms: tf.Tensor) -> tf.Tensor:
        """Returns [tasks, ways, shots + queries] positions of different images."""
        largest = int(max(self.class_sizes))
        sizes = tf.gather(tf.constant(self.class_sizes, tf.int32), classes)
        starts = tf.gather(tf.constant(self.class_starts, tf.int32), classes)
        uniforms = tf.reshape(uniforms, [-1, self.ways, largest])
        if min(self.class_sizes) < largest:
            uniforms = tf.where(tf.range(largest) < sizes[:, :, None], uniforms, -1.0)
        return starts[:, :, None] + tf.math.top_k(uniforms, self.shots + self.queries).indices


def _shuffled(draw: ImageDraw, uniforms: tf.Tensor) -> ImageDraw:
    """Flattens [tasks, ways, examples] and orders each task's images by its uniforms."""
    # Padding comes last.
    padding = tf.cast(tf.reshape(draw.label, tf.shape(uniforms)) < 0, uniforms.dtype)
    order = tf.argsort(uniforms + padding, axis=1)
    flat = (tf.reshape(values, tf.shape(order)) for values in draw)
    return ImageDraw(*(tf.gather(values, order, batch_dims=1) for values in flat))


def _uniform_rows(seed: int | tf.Tensor, first: int | tf.Tensor, tasks: int | tf.Tensor, length: int) -> tf.Tensor:
    """Returns float32 [tasks, length or a few more] in [0, 1); row i depends on (seed, first + i) and the length."""
    # Philox draws each block of numbers from one counter: one operation draws all rows, each from the counter at which
    # its task begins.
    blocks = -(-length // _PHILOX_BLOCK)
    seed = tf.stack([tf.cast(seed, tf.int64), tf.constant(0, tf.int64)])
    key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed)
    counter += tf.stack([tf.cast(first, tf.uint64) * blocks, tf.constant(0, tf.uint64)])
    return tf.raw_ops.StatelessRandomUniformV2(
        shape=tf.stack([tasks, blocks * _PHILOX_BLOCK]), key=key, counter=counter, alg=_PHILOX
    )


def unit_range(images: tf.Tensor) -> tf.Tensor:
    """Returns images as float32, bytes in [0, 1].

    Args:
        images: Of any real dtype and shape.

    Returns:
        uint8 divided by 255; every other dtype unscaled, cast to float32.
    """
    scale = 1.0 / 255.0 if images.dtype == tf.uint8 else 1.0
    return tf.cast(images, tf.float32) * scale


def rotate_quarter_turns(images: tf.Tensor, quarter_turns: tf.Tensor) -> tf.Tensor:
    """Turns each image counterclockwise by its own multiple of 90 degrees.

    Args:
        images: [images, side, side] or [images, side, side, channels], of any dtype.
        quarter_turns: int32 [images], in [0, 4).

    Returns:
        The turned images, of the shape and dtype of `images`.

    Example:
    >>> from maml_tf.tasks.episode_draw import rotate_quarter_turns
    >>> rotate_quarter_turns(tf.constant([[[1, 2], [3, 4]]]), [1]).numpy().tolist()
    [[[2, 4], [1, 3]]]
    """
    grey = images.shape.rank == 3
    # Grouping the images by turn and turning each group takes half the time of turning all images in every way and
    # selecting.
    groups = tf.dynamic_partition(images[..., None] if grey else images, quarter_turns, 4)
    places = tf.dynamic_partition(tf.range(tf.shape(images)[0]), quarter_turns, 4)
    turned = tf.dynamic_stitch(places, [_turned(group, turns) for turns, group in enumerate(groups)])
    return tf.reshape(turned, tf.shape(images))


def _turned(images: tf.Tensor, turns: int) -> tf.Tensor:
    # tf.image.rot90 takes the number of turns as a tensor, and each call puts all four ways into the graph.
    if turns % 2 == 0:
        return tf.reverse(images, [1, 2]) if turns else images
    return tf.reverse(tf.transpose(images, [0, 2, 1, 3]), [1 if turns == 1 else 2])


def check_square(images: np.ndarray) -> None:
    """Checks that images can be turned by 90 degrees.

    Args:
        images: [images, side, side] or [images, side, side, channels].

    Raises:
        ValueError: If they have another shape.
    """
    if images.ndim not in (3, 4) or images.shape[1] != images.shape[2]:
        raise ValueError(
            "Expected square images [images, side, side] or [images, side, side, channels] for rotations. "
            f"Received: shape {images.shape}"
        )
