"""Tasks of different sizes in one meta-batch: padding examples, and classes that a task does not have."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from maml_tf.checks import whole_number

# The logit of a class that a task does not have. Its probability is 0, and its derivatives are finite.
_NEVER = -1e9


class Padding:
    """Removes padding examples before a model sees a set, and restores their places in its results.

    Args:
        label: The label of padding examples, a negative integer.

    Raises:
        ValueError: If `label` is not negative.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.core.padding import Padding
    >>> (x, y), places = Padding(-1).cut(tf.constant([[1.0], [2.0], [0.0]]), tf.constant([1, 0, -1]))
    >>> y.numpy().tolist(), Padding.restored(10 * x, places, 3).numpy().tolist()
    ([1, 0], [[10.0], [20.0], [0.0]])
    """

    def __init__(self, label: int):
        self.label = whole_number("padding_label", label, maximum=-1)

    def cut(self, inputs: Any, labels: tf.Tensor) -> tuple[tuple[Any, tf.Tensor], tf.Tensor]:
        """Returns a set without its padding examples, and the places of the remaining ones, int64 [examples]."""
        places = tf.where(self.counted(labels))[:, 0]
        return tf.nest.map_structure(lambda leaf: tf.gather(leaf, places), (inputs, labels)), places

    def counted(self, labels: tf.Tensor) -> tf.Tensor:
        """Tells which examples are not padding, bool [examples]; unsigned labels have none, for -1 would be 255."""
        labels = tf.reshape(labels, [-1])
        if labels.dtype.is_integer:
            labels = tf.cast(labels, tf.int64)
        return labels != tf.cast(self.label, labels.dtype)

    @staticmethod
    def restored(values: Any, places: tf.Tensor, size: int | tf.Tensor) -> Any:
        """Puts a nest of values [examples, ...] of a cut set at their places in the padded set, with 0 elsewhere."""

        def whole(leaf: tf.Tensor) -> tf.Tensor:
            shape = tf.concat([[size], tf.shape(leaf)[1:]], axis=0)
            filled = tf.scatter_nd(places[:, tf.newaxis], leaf, tf.cast(shape, tf.int64))
            return tf.ensure_shape(filled, [None if tf.is_tensor(size) else size, *leaf.shape[1:]])

        return tf.nest.map_structure(whole, values)


def check_loss(loss: Any) -> None:
    """Checks that a loss can leave out classes that a task does not have.

    Raises:
        ValueError: If it is not Keras' cross-entropy of logits and integer labels.
    """
    known = isinstance(loss, keras.losses.SparseCategoricalCrossentropy) and loss.get_config()["from_logits"]
    if not known:
        raise ValueError(
            "Expected keras.losses.SparseCategoricalCrossentropy(from_logits=True) with padding_label. "
            f"Received: loss={loss!r}"
        )


def of_present_classes(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Gives the classes above the greatest label of a set a probability of 0.

    Args:
        logits: [examples, classes].
        labels: Integer labels of a set that contains every class of the task.

    Returns:
        Logits [examples, classes].

    Raises:
        ValueError: If `logits` is not a tensor [examples, classes].
    """
    if not tf.is_tensor(logits) or logits.shape.rank != 2:
        raise ValueError(f"Expected logits [examples, classes] with padding_label. Received: {logits!r}")
    classes = tf.range(tf.shape(logits)[1], dtype=tf.int64)
    present = classes <= tf.cast(tf.reduce_max(labels), tf.int64)
    return tf.where(present, logits, tf.constant(_NEVER, logits.dtype))
