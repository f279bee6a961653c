"""Weights of the original TensorFlow 1 implementation, read into our networks."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

_OFFSET = re.compile(r"(?P<prefix>(?:.*/)?)0/beta")
_BLOCKS = 4


def read_original(path: str | os.PathLike[str]) -> list[np.ndarray]:
    """Reads a classification network's weights from a TensorFlow 1 checkpoint of the original implementation.

    It has kernels `conv1` to `conv4` [3, 3, in, out], or in a fully connected network `w1` to `w4` [in, out],
    batch-norm offsets `0/beta` to `3/beta` [out] and the output layer `w5`, `b5`, each after a prefix such as `model/`.
    Its biases `Variable`, `Variable_1`, ... or `b1` to `b4` are added before a batch normalization with the batch's
    statistics, which takes them out again: they have no effect and are left behind, as are the optimizer's variables.
    Fully connected networks without names have `Variable` to `Variable_9` for w1, b1, w2, ..., b5.

    Args:
        path: Prefix of the checkpoint's files, such as `model59999`, or a folder with a `checkpoint` file.

    Returns:
        For each block its kernel and its offset, then the output layer's kernel and bias.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If it is damaged, or a variable is missing.
    """
    try:
        reader = tf.train.load_checkpoint(os.path.expanduser(path))
    except (tf.errors.NotFoundError, ValueError) as error:
        raise FileNotFoundError(f"Expected a TensorFlow checkpoint. Received: {os.fspath(path)!r}: {error}") from error
    except tf.errors.OpError as error:
        raise ValueError(f"Expected a whole checkpoint. Received: {os.fspath(path)!r}: {error}") from error
    names = reader.get_variable_to_shape_map()
    prefixes = sorted({match["prefix"] for name in names if (match := _OFFSET.fullmatch(name))})
    if len(prefixes) != 1:
        raise ValueError(
            f"Expected the variable 0/beta of one classification network, after any prefix. Received: {sorted(names)}"
        )
    [prefix] = prefixes
    kernels, head = _layers({name.removeprefix(prefix) for name in names if name.startswith(prefix)})
    wanted = [name for block, kernel in enumerate(kernels) for name in (kernel, f"{block}/beta")] + head
    missing = [f"{prefix}{name}" for name in wanted if f"{prefix}{name}" not in names]
    if missing:
        raise ValueError(f"Expected variables {missing} in {os.fspath(path)!r}. Received: {sorted(names)}")
    return [reader.get_tensor(f"{prefix}{name}") for name in wanted]


def _layers(names: set[str]) -> tuple[list[str], list[str]]:
    """Returns the names of the blocks' kernels and of the output layer's variables."""
    numbers, head = range(1, _BLOCKS + 1), [f"w{_BLOCKS + 1}", f"b{_BLOCKS + 1}"]
    if "conv1" in names:
        return [f"conv{number}" for number in numbers], head
    if "w1" in names:
        return [f"w{number}" for number in numbers], head
    # Fully connected networks whose variables have no names of their own: w1, b1, w2, b2, ... as they were made.
    unnamed = ["Variable", *(f"Variable_{number}" for number in range(1, 2 * _BLOCKS + 2))]
    return unnamed[: 2 * _BLOCKS : 2], unnamed[2 * _BLOCKS :]


def assign_original(network: keras.Model, values: Sequence[np.ndarray]) -> None:
    """Sets a network's weights to those of an original one.

    Args:
        network: Of `maml_tf.models.omniglot_conv`, `mini_imagenet_conv` or `omniglot_dense`, without biases before
            batch normalization.
        values: From `read_original`.

    Raises:
        ValueError: If a shape differs: the network is another one.
    """
    shapes = [tuple(value.shape) for value in values]
    own = [tuple(variable.shape) for variable in network.trainable_variables]
    if shapes != own:
        raise ValueError(
            f"Expected a checkpoint of {network.name} with shapes {own}; number of classes, filters, data set or "
            f"kind of network may differ. Received: {shapes}"
        )
    for variable, value in zip(network.trainable_variables, values, strict=True):
        variable.assign(value)
