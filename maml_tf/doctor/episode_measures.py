"""Measures of a task's data, predictions and loss, without a learner: pure functions of arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from maml_tf.core.adaptation import inner_step

# exp(-104) is 0 in float32, and adapted classifiers reach logits of about 50.
_LARGE_OUTPUT = 200.0
_CHANCE_DRAWS = 10


def classes(targets: Any, outputs: Any) -> np.ndarray | None:
    """Returns the class of each example, [tasks, examples], or None if the targets are not classes.

    Args:
        targets: Integer labels [tasks, examples] or [tasks, examples, 1], or one-hot rows [tasks, examples, ways].
        outputs: The model's outputs, [tasks, examples, ways].
    """
    if tf.nest.is_nested(targets) or tf.nest.is_nested(outputs) or len(outputs.shape) != 3 or outputs.shape[2] < 2:
        return None
    targets = np.asarray(targets)
    if targets.shape == outputs.shape and np.isin(targets, (0, 1)).all() and (targets.sum(axis=2) == 1).all():
        return np.argmax(targets, axis=2)
    whole = np.issubdtype(targets.dtype, np.integer) and targets.size == math.prod(outputs.shape[:2])
    return targets.reshape(outputs.shape[:2]).astype(int) if whole else None


def renamed(targets: Any, names: np.ndarray) -> np.ndarray:
    """Gives class c of each task the number `names[task, c]`.

    Args:
        targets: Targets for which `classes` returns classes.
        names: A permutation of the classes for each task, [tasks, ways].
    """
    targets = np.asarray(targets)
    rows = np.arange(len(targets)).reshape(-1, *[1] * (targets.ndim - 1))
    if targets.ndim == 3 and targets.shape[2] > 1:
        return np.take_along_axis(targets, np.argsort(names, axis=1)[:, np.newaxis], axis=2)
    return names[rows, targets].astype(targets.dtype)


def matched_accuracy(predicted: np.ndarray, labels: np.ndarray, ways: int) -> np.ndarray:
    """Computes each task's accuracy after the best one-to-one renaming of its predicted classes, [tasks].

    The renaming is greedy: the most frequent pair of a predicted class and a label comes first.

    Args:
        predicted: Predicted classes, [tasks, examples].
        labels: True classes, [tasks, examples].
        ways: Number of classes.

    Example:
    >>> import numpy as np
    >>> from maml_tf.doctor.episode_measures import matched_accuracy
    >>> matched_accuracy(np.array([[1, 1, 0, 0]]), np.array([[0, 0, 1, 1]]), ways=2).tolist()
    [1.0]
    """
    accuracies = []
    for of_task, true in zip(predicted, labels, strict=True):
        counts = np.zeros([ways, ways], int)
        np.add.at(counts, (of_task, true), 1)
        right = 0
        for _ in range(ways):
            row, column = np.unravel_index(np.argmax(counts), counts.shape)
            right += counts[row, column]
            counts[row], counts[:, column] = -1, -1
        accuracies.append(right / len(true))
    return np.array(accuracies)


def chance_matched_accuracy(predicted: np.ndarray, labels: np.ndarray, ways: int) -> np.ndarray:
    """Computes `matched_accuracy` for labels in random order, the mean over draws, [tasks]."""
    random = np.random.default_rng(0)
    draws = [matched_accuracy(predicted, random.permuted(labels, axis=1), ways) for _ in range(_CHANCE_DRAWS)]
    return np.mean(draws, axis=0)


def duplicates(support_x: Any, query_x: Any, shift: int = 0) -> np.ndarray:
    """Computes the share of a task's query examples that are also in a support set, bit for bit, [tasks].

    Args:
        support_x: Nest of arrays [tasks, support examples, ...].
        query_x: Nest of arrays [tasks, query examples, ...].
        shift: 0 compares with the task's own support set, n with that of the n-th task after it.
    """
    support, query = _rows(support_x), _rows(query_x)
    shares = []
    for task, examples in enumerate(query):
        known = set(support[(task + shift) % len(support)])
        shares.append(np.mean([example in known for example in examples]))
    return np.array(shares)


def _rows(inputs: Any) -> list[list[bytes]]:
    leaves = [np.asarray(leaf) for leaf in tf.nest.flatten(inputs)]
    tasks, examples = leaves[0].shape[:2]
    return [[b"".join(leaf[t, e].tobytes() for leaf in leaves) for e in range(examples)] for t in range(tasks)]


def doubled_loss(loss: Callable[[Any, Any], tf.Tensor], targets: Any, outputs: Any) -> float:
    """Computes the loss of a set with every example twice, divided by the loss of the set: 1 for a mean, 2 for a sum.

    Args:
        loss: The task loss, `(y_true, y_pred) -> scalar`.
        targets: [examples, ...].
        outputs: [examples, ...].
    """
    once = float(loss(targets, outputs))
    twice = [tf.nest.map_structure(lambda leaf: tf.concat([leaf, leaf], axis=0), nest) for nest in (targets, outputs)]
    return float(loss(*twice)) / once if once and math.isfinite(once) else math.nan


def uninformed_loss(loss: Callable[[Any, Any], tf.Tensor], targets: Any, outputs: Any) -> float:
    """Computes the loss of outputs that are equal for all classes, divided by their cross-entropy, ln(ways).

    Args:
        loss: The task loss, `(y_true, y_pred) -> scalar`.
        targets: Labels, [examples] or [examples, 1].
        outputs: Logits or probabilities, [examples, ways].
    """
    ways = outputs.shape[1]
    equal = tf.zeros_like(outputs) + (1.0 / ways if _are_probabilities(outputs) else 0.0)
    return float(loss(targets, equal)) / math.log(ways)


def loss_not_finite_at(loss: Callable[[Any, Any], tf.Tensor], targets: Any, outputs: Any) -> str | None:
    """Finds outputs, which a model may reach, at which the loss or its gradient is NaN or infinite.

    Args:
        loss: The task loss, `(y_true, y_pred) -> scalar`.
        targets: [examples, ...].
        outputs: [examples, ...], finite.

    Returns:
        A description of the outputs, or None.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.doctor.episode_measures import loss_not_finite_at
    >>> root = lambda y, prediction: tf.sqrt(tf.reduce_mean((y - prediction) ** 2))
    >>> loss_not_finite_at(root, tf.zeros([3, 1]), tf.ones([3, 1]))
    'outputs equal to the targets'
    """
    probabilities = all(_are_probabilities(leaf) for leaf in tf.nest.flatten(outputs))
    words = "probabilities of 0 and 1" if probabilities else f"outputs of up to {_LARGE_OUTPUT:g}"
    extreme = tf.nest.map_structure(tf.round if probabilities else _enlarged, outputs)
    # First outputs that are right for most examples, then for few: each example gets the outputs of another one.
    rolled = tf.nest.map_structure(lambda leaf: tf.roll(leaf, len(leaf) // 2, axis=0), extreme)
    trials = [(words, extreme), (words, rolled)]
    if not tf.nest.is_nested(outputs) and not tf.nest.is_nested(targets) and targets.shape == outputs.shape:
        trials.append(("outputs equal to the targets", tf.cast(targets, outputs.dtype)))
    for words, trial in trials:
        # The rule of this step returns the gradient.
        step = inner_step(lambda values, y, step: loss(y, values), trial, targets, lambda _, gradients, step: gradients)
        if not all(np.isfinite(leaf).all() for leaf in tf.nest.flatten((step.loss, step.params))):
            return words
    return None


def _are_probabilities(outputs: tf.Tensor) -> bool:
    return bool(tf.reduce_all((outputs >= 0) & (outputs <= 1)))


def _enlarged(outputs: tf.Tensor) -> tf.Tensor:
    return outputs * _LARGE_OUTPUT / tf.maximum(tf.reduce_max(tf.abs(outputs)), 1e-6)
