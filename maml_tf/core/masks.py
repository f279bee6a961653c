"""The masks that Keras attaches to tensors, as values that survive a map over tasks."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def masks_of(outputs: Any) -> list[tuple[tf.Tensor, ...]]:
    """Reads the masks that Keras attached to a model's outputs.

    Args:
        outputs: Nest of tensors.

    Returns:
        For each output, in the order of `tf.nest.flatten`, its mask in a tuple, or an empty tuple.
    """
    masks = (getattr(output, "_keras_mask", None) for output in tf.nest.flatten(outputs))
    return [() if mask is None else (mask,) for mask in masks]


def with_masks(outputs: Any, masks: list[tuple[tf.Tensor, ...]]) -> Any:
    """Attaches masks to a model's outputs, where Keras' losses and metrics look for them.

    Args:
        outputs: Nest of tensors.
        masks: As `masks_of` returns them.

    Returns:
        The same nest of new tensors.

    Example:
    >>> import keras
    >>> from maml_tf.core.masks import masks_of, with_masks
    >>> hidden = with_masks(keras.ops.ones((2, 3)), [(keras.ops.array([True, False]),)])
    >>> [[row.numpy().tolist() for row in mask] for mask in masks_of(hidden)]
    [[[True, False]]]
    """
    copies = [tf.identity(output) for output in tf.nest.flatten(outputs)]
    for copy, mask in zip(copies, masks, strict=True):
        if mask:
            (copy._keras_mask,) = mask
    return tf.nest.pack_sequence_as(outputs, copies)
