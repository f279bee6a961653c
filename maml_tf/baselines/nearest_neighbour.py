"""Nearest neighbour on a network's features: a query gets the label of the nearest support example."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from maml_tf.core import episode_checks
from maml_tf.core.functional import FunctionalModel
from maml_tf.core.task_values import Evaluation


def nearest_neighbour(features: keras.Model, episodes: Iterable[Any]) -> Evaluation:
    """Measures the accuracy of nearest neighbours, by the cosine of the angle between features.

    Args:
        features: A model from inputs [examples, ...] to features [examples, features].
        episodes: Meta-batches `((support_x, support_y, query_x), query_y)`, each with a leading task axis.

    Returns:
        An `Evaluation` of the metric "accuracy" at step 0.

    Raises:
        ValueError: If there is no episode, or the shapes of an episode do not match.

    Source: The baseline of Table 1.

    Example:
    >>> import keras
    >>> import tensorflow as tf
    >>> from maml_tf.baselines import nearest_neighbour
    >>> x = tf.constant([[[1.0, 0.0], [0.0, 1.0]]])
    >>> y = tf.constant([[0, 1]])
    >>> identity = keras.Sequential([keras.Input((2,)), keras.layers.Identity()])
    >>> float(nearest_neighbour(identity, [((x, y, 3.0 * x), y)]).values["accuracy"][0, 0])
    1.0
    """
    model = FunctionalModel(features)

    def measure(task):
        (support_x, support_y, query_x), query_y = task
        params, state = model.parameters(), model.state()
        if any(model.last_batch_statistics()):
            state = model(params, state, support_x, training=True).state
        support, query = (
            tf.linalg.l2_normalize(model(params, state, x, training=False).outputs, axis=-1)
            for x in (support_x, query_x)
        )
        nearest = tf.argmax(tf.matmul(query, support, transpose_b=True), axis=-1)
        labels = tf.gather(tf.reshape(support_y, [-1]), nearest)
        return tf.reduce_mean(tf.cast(tf.equal(labels, tf.reshape(query_y, [-1])), tf.float32))

    over_batch = tf.function(
        lambda data: tf.map_fn(measure, data, fn_output_signature=tf.float32),
        autograph=False,
        reduce_retracing=True,
    )
    values = [np.asarray(over_batch(episode_checks.check_data(data)), np.float64) for data in episodes]
    if not values:
        raise ValueError("Expected at least one meta-batch of episodes. Received: none")
    return Evaluation({"accuracy": np.concatenate(values)[np.newaxis]})
