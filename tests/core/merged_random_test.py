"""Tests of maml_tf.core.merged_random: against its source's known answers, and TensorFlow's kernels."""

import numpy as np
import pytest
import tensorflow as tf

from maml_tf.core.merged_random import philox
from maml_tf.core.over_tasks import over_tasks
from tests.support.graph_loops import count

# From the known answers of Random123, the library of the generator's authors: counter, key, words.
KNOWN = (
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
)
KINDS = (
    ((30, 41), tf.float32),
    ((3, 3), tf.float64),
    ((7,), tf.bfloat16),
    ((), tf.float16),
    ((0, 3), tf.float32),
)


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_known_answers(counter, key, words):
    drawn = philox(*([tf.constant(word, tf.uint64) for word in part] for part in (counter, key)))
    assert [int(word) for word in drawn] == words


def test_merged_tasks_draw_what_each_draws_alone():
    def drawn(seed):
        # A cast, because NumPy compares no bfloat16.
        return [tf.cast(tf.random.stateless_uniform(shape, seed, dtype=kind), tf.float64) for shape, kind in KINDS]

    seeds = tf.constant([[1, 2], [-5, 7], [2**31 - 1, -(2**31)]])
    merged = tf.function(lambda seeds: over_tasks(drawn, seeds, task_map="vectorized"), autograph=False)
    merged = merged.get_concrete_function(seeds)
    assert count(merged.graph) == 0
    for task, seed in enumerate(seeds):
        for together, alone in zip(merged(seeds), drawn(seed), strict=True):
            np.testing.assert_array_equal(together[task], alone)


def test_counters_carry():
    def drawn(counter):
        key = tf.constant([3], tf.uint64)
        return tf.raw_ops.StatelessRandomUniformV2(shape=[40], key=key, counter=counter, alg=1)

    counters = tf.constant([[2**64 - 3, 5], [2**64 - 3, 2**64 - 1], [2**32 - 2, 0]], tf.uint64)
    for together, counter in zip(over_tasks(drawn, counters, task_map="vectorized"), counters, strict=True):
        np.testing.assert_array_equal(together, drawn(counter))
