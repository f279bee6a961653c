"""Pretraining: a classifier of all training classes, whose features baselines adapt or compare."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from maml_tf.checks import whole_number
from maml_tf.tasks import ClassPool
from maml_tf.tasks.episode import prefetched_map
from maml_tf.tasks.episode_draw import rotate_quarter_turns


def feature_model(network: keras.Model) -> keras.Model:
    """Returns a model from inputs to the features before the output layer, [examples, features].

    Args:
        network: A network of `maml_tf.models`, whose output layer is called "head". Both models share the other layers.
    """
    return keras.Model(network.input, network.get_layer("head").input, name=f"{network.name}_features")


def classifier(network: keras.Model, classes: int) -> keras.Model:
    """Returns a model from inputs to logits [examples, classes]: the network with another output layer.

    Training it trains all layers of `network` except the head.

    Args:
        network: A network of `maml_tf.models`.
        classes: Number of classes.

    Raises:
        ValueError: If `classes` is below 2.

    Example:
    >>> from maml_tf.baselines import classifier
    >>> from maml_tf.models import omniglot_conv
    >>> classifier(omniglot_conv(5, filters=8), 1100).output_shape
    (None, 1100)
    """
    features = feature_model(network)
    outputs = keras.layers.Dense(whole_number("classes", classes, minimum=2), name="class_head")(features.output)
    return keras.Model(network.input, outputs, name=f"{network.name}_classifier")


def labelled_batches(
    pool: ClassPool, seed: int, batch_size: int, *, rotations: bool = False, first: int = 0
) -> tf.data.Dataset:
    """Draws endless batches of labelled images; element i depends only on (seed, i).

    Args:
        pool: The classes.
        seed: Seed of the stream.
        batch_size: Images in an element.
        rotations: Whether each class turned by 90, 180 and 270 degrees counts as three more classes.
        first: Index of the first element: a resumed training passes its number of finished iterations.

    Returns:
        Elements of images [batch, ...], transformed as in the pool's episodes, and labels [batch] from 0 to
        `len(pool) - 1`, or to `4 * len(pool) - 1` with rotations.

    Raises:
        ValueError: If `batch_size` is not positive, or `first` is negative.
    """
    batch_size, first = whole_number("batch_size", batch_size, 1), whole_number("first", first, 0)
    labels = tf.constant(np.repeat(np.arange(len(pool)), pool.class_sizes), tf.int32)

    def draw(index):
        # 64 random bits, modulo the limit: the bias is below 1e-12 for any number of images that fits into memory.
        bits = tf.random.stateless_uniform(
            [2, batch_size], tf.stack([tf.cast(seed, tf.int64), index]), None, None, tf.uint64, alg="philox"
        )
        chosen = tf.cast(bits[0] % len(labels), tf.int64)
        batch, label = pool.look_up(chosen), tf.gather(labels, chosen)
        if rotations:
            turns = tf.cast(bits[1] % 4, tf.int32)
            batch, label = rotate_quarter_turns(batch, turns), 4 * label + turns
        return pool.transform(batch), label

    return prefetched_map(tf.data.Dataset.counter(first, dtype=tf.int64), draw)
