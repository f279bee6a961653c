"""Tests of maml_tf.tasks.meta_batches."""

import hypothesis
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized
from hypothesis import strategies

from maml_tf.tasks.meta_batches import meta_batches


def numbers(start, size):
    return start + tf.range(tf.cast(size, tf.int64))


class MetaBatchesTest(parameterized.TestCase):
    @hypothesis.given(strategies.integers(1, 30), strategies.integers(1, 7), strategies.data())
    @hypothesis.settings(max_examples=20)
    def test_hold_every_task_once_and_in_order(self, tasks, meta_batch_size, data):
        first = data.draw(strategies.integers(0, (tasks - 1) // meta_batch_size))
        stream = meta_batches(numbers, meta_batch_size=meta_batch_size, first=first, tasks=tasks)
        elements = [element.numpy() for element in stream]
        np.testing.assert_array_equal(np.concatenate(elements), np.arange(first * meta_batch_size, tasks))
        self.assertEqual({len(element) for element in elements[:-1]} - {meta_batch_size}, set())

    def test_without_an_end_goes_on_from_the_first(self):
        stream = meta_batches(numbers, meta_batch_size=3, first=5).take(2)
        self.assertEqual([element.numpy().tolist() for element in stream], [[15, 16, 17], [18, 19, 20]])

    @parameterized.parameters((None, (3, 2)), (12, (3, 2)), (11, (None, 2)))
    def test_says_the_shape_where_all_have_the_same(self, tasks, shape):
        stream = meta_batches(lambda start, size: tf.zeros([size, 2]), meta_batch_size=3, tasks=tasks)
        self.assertEqual(tuple(stream.element_spec.shape), shape)

    @parameterized.parameters(
        ({"meta_batch_size": 0}, "meta_batch_size to be at least 1. Received: meta_batch_size=0"),
        ({"first": -1}, "first to be at least 0. Received: first=-1"),
        ({"first": 2, "tasks": 4}, "tasks to be at least 5. Received: tasks=4"),
    )
    def test_refuses(self, changed, message):
        with self.assertRaisesRegex(ValueError, f"Expected {message}"):
            meta_batches(numbers, **({"meta_batch_size": 2} | changed))


if __name__ == "__main__":
    absltest.main()
