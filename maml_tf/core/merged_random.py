"""Random numbers of all tasks at once, with a seed for each task: the numbers that TensorFlow draws for a single task.

TensorFlow's kernels take one seed. This is their generator, Philox4x32-10 of Salmon et al., "Parallel Random Numbers:
As Easy as 1, 2, 3", 2011, in integer operations. Without XLA it draws bit for bit what they draw on a CPU and a GPU.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf
from tensorflow.python.ops.parallel_for import pfor

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
# The generator itself, with this key, turns seeds into keys and counters.
_SEEDING_KEY = (0x3EC8F720, 0x02461E29)
# Type of the same size, bits of the fraction, exponent of [1, 2).
_FLOATS = {
    tf.bfloat16: (tf.uint16, 7, 127),
    tf.float16: (tf.uint16, 10, 15),
    tf.float32: (tf.uint32, 23, 127),
    tf.float64: (tf.uint64, 52, 1023),
}


def philox(counters: list[tf.Tensor], keys: list[tf.Tensor]) -> list[tf.Tensor]:
    """Draws four random 32-bit words for each counter and key.

    Args:
        counters: The counter's four 32-bit words, from the lowest, uint64 tensors of any shape.
        keys: The key's two 32-bit words, uint64 tensors of a shape that broadcasts to that of the counters.

    Returns:
        Four uint64 tensors of the shape of the counters.
    """
    words, keys = list(counters), list(keys)
    for _ in range(_ROUNDS):
        first, second = (word * _constant(number) for word, number in zip(words[::2], _MULTIPLIERS, strict=True))
        words = [_high(second) ^ words[1] ^ keys[0], _low(second), _high(first) ^ words[3] ^ keys[1], _low(first)]
        keys = [_low(key + _constant(step)) for key, step in zip(keys, _KEY_STEPS, strict=True)]
    return words


def uniform(shape: tf.Tensor, keys: tf.Tensor, counters: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Draws numbers in [0, 1) for each task.

    Args:
        shape: Shape of one task's numbers, an integer vector.
        keys: uint64 [tasks, 1].
        counters: uint64 [tasks, 2], the lower half and the upper.
        dtype: A float type.

    Returns:
        Tensor [tasks, *shape].
    """
    shape = tf.cast(shape, tf.int32)
    static = tf.get_static_value(shape)
    count = tf.reduce_prod(shape) if static is None else math.prod(static.tolist())
    of_each_draw = 2 if dtype == tf.float64 else 4
    draws = -(-count // of_each_draw)
    numbers = tf.cast(tf.range(draws), tf.uint64)
    lower = counters[:, :1] + numbers
    upper = counters[:, 1:] + tf.cast(lower < numbers, tf.uint64)
    words = philox([_low(lower), _high(lower), _low(upper), _high(upper)], [_low(keys), _high(keys)])
    if dtype == tf.float64:
        words = [_shifted(words[0]) | words[1], _shifted(words[2]) | words[3]]
    bits, fraction, exponent = _FLOATS[dtype]
    words = tf.stack(
        [word & _constant((1 << fraction) - 1) | _constant(exponent << fraction) for word in words], axis=-1
    )
    values = tf.bitcast(tf.cast(words, bits), dtype) - tf.ones([], dtype)
    values = tf.reshape(values, [_tasks(keys), draws * of_each_draw])[:, :count]
    return tf.reshape(values, tf.concat([[_tasks(keys)], shape], axis=0))


def _convert_seed(given: Any) -> Any:
    """Converts StatelessRandomGetKeyCounter: a seed of two integers."""
    seeds = tf.bitcast(tf.cast(given.stacked_input(0), tf.int64), tf.uint64)
    counters = [_low(seeds[:, 0]), _high(seeds[:, 0]), _low(seeds[:, 1]), _high(seeds[:, 1])]
    words = philox(counters, [_constant(word) for word in _SEEDING_KEY])
    keys = words[0] | _shifted(words[1])
    upper = words[2] | _shifted(words[3])
    return [pfor.wrap(keys[:, tf.newaxis], True), pfor.wrap(tf.stack([tf.zeros_like(upper), upper], axis=-1), True)]


def _convert_uniform(given: Any) -> Any:
    """Converts StatelessRandomUniformV2: (shape, key, counter, algorithm)."""
    given.stack_inputs([1, 2])
    operation = given.op
    values = uniform(
        given.unstacked_input(0), given.stacked_input(1), given.stacked_input(2), operation.outputs[0].dtype
    )
    values.set_shape([None, *operation.outputs[0].shape])
    return pfor.wrap(values, True)


CONVERTERS = {"StatelessRandomGetKeyCounter": _convert_seed, "StatelessRandomUniformV2": _convert_uniform}


def _constant(number: int) -> tf.Tensor:
    return tf.constant(number, tf.uint64)


def _low(words: tf.Tensor) -> tf.Tensor:
    return words & _constant(0xFFFFFFFF)


def _high(words: tf.Tensor) -> tf.Tensor:
    return tf.bitwise.right_shift(words, _constant(32))


def _shifted(words: tf.Tensor) -> tf.Tensor:
    return tf.bitwise.left_shift(words, _constant(32))


def _tasks(keys: tf.Tensor) -> int | tf.Tensor:
    return keys.shape[0] or tf.shape(keys)[0]
