"""Tests of maml_tf.core.over_tasks."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest

from maml_tf.core.over_tasks import examples_of, numbered
from maml_tf.core.replicas import merged_states, shares_of


class MetaBatchTest(absltest.TestCase):
    def test_tasks_are_numbered_from_0(self):
        numbers, tasks = numbered({"a": tf.ones((3, 2)), "b": tf.ones(3)})
        np.testing.assert_array_equal(numbers, [0, 1, 2])
        self.assertEqual(set(tasks), {"a", "b"})

    def test_examples_keep_their_order(self):
        images = tf.reshape(tf.range(24), (2, 3, 4))
        merged = examples_of((images, tf.constant([[1, 2, 3], [4, 5, 6]])))
        np.testing.assert_array_equal(merged[0], np.arange(24).reshape(6, 4))
        np.testing.assert_array_equal(merged[1], [1, 2, 3, 4, 5, 6])

    def test_statistics_are_averaged_and_counters_are_the_first_tasks(self):
        before = [tf.constant([9.0, 9.0]), tf.constant([7, 0])]
        states = [tf.constant([[1.0, 2.0], [3.0, 6.0]]), tf.constant([[7, 1], [8, 1]])]
        mean, seed = merged_states(states, before, shares_of(tf.constant(2)))
        np.testing.assert_array_equal(mean, [2.0, 4.0])
        np.testing.assert_array_equal(seed, [7, 1])

    def test_states_of_no_task_are_those_before(self):
        before = [tf.constant([9.0, 9.0]), tf.constant([7, 0])]
        states = merged_states([tf.ones([0, 2]), tf.ones([0, 2], tf.int32)], before, shares_of(tf.constant(0)))
        for merged, old in zip(states, before, strict=True):
            np.testing.assert_array_equal(merged, old)


if __name__ == "__main__":
    absltest.main()
