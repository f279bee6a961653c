"""What happens to images between the pool they are drawn from and the episode."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

Transform = Callable[[tf.Tensor], tf.Tensor]


def unit_range(images: tf.Tensor) -> tf.Tensor:
    """Returns images as float32, bytes in [0, 1].

    Args:
        images: Of any real dtype and shape.

    Returns:
        uint8 divided by 255; every other dtype as it is, cast to float32.
    """
    scale = 1.0 / 255.0 if images.dtype == tf.uint8 else 1.0
    return tf.cast(images, tf.float32) * scale


def rotate_quarter_turns(images: tf.Tensor, quarter_turns: tf.Tensor) -> tf.Tensor:
    """Turns each image counterclockwise by its own multiple of 90 degrees.

    Args:
        images: [images, side, side] or [images, side, side, channels], of any dtype.
        quarter_turns: int32 [images], in [0, 4).

    Returns:
        The turned images, as `images`.

    Example:
    >>> from maml_tf.tasks.drawn_images import rotate_quarter_turns
    >>> rotate_quarter_turns(tf.constant([[[1, 2], [3, 4]]]), [1]).numpy().tolist()
    [[[2, 4], [1, 3]]]
    """
    grey = images.shape.rank == 3
    # Sorting the images by turn and turning each group as a whole takes half the time of turning all of them
    # every way and selecting.
    groups = tf.dynamic_partition(images[..., None] if grey else images, quarter_turns, 4)
    places = tf.dynamic_partition(tf.range(tf.shape(images)[0]), quarter_turns, 4)
    turned = tf.dynamic_stitch(places, [_turned(group, turns) for turns, group in enumerate(groups)])
    return tf.reshape(turned, tf.shape(images))


def _turned(images: tf.Tensor, turns: int) -> tf.Tensor:
    # tf.image.rot90 takes its number of turns as a tensor and puts all four ways into the graph, each time.
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
