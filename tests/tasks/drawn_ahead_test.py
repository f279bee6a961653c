"""Tests of maml_tf.tasks.drawn_ahead."""

import threading

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf.baselines import labelled_batches
from maml_tf.tasks import ClassPool, Sinusoids
from maml_tf.tasks.drawn_ahead import drawn_ahead
from maml_tf.training import DataWait


def pool():
    return ClassPool(np.zeros([12, 2, 2, 1], np.uint8), np.repeat(np.arange(3), 4))


class DrawnAheadTest(parameterized.TestCase):
    def test_draws_before_it_is_asked_and_two_at_once(self):
        both = threading.Barrier(2, timeout=60)
        ahead = threading.Event()

        def draw(number):
            if number < 2:
                both.wait()
            elif number == 4:
                ahead.set()
            return number

        stream = drawn_ahead(tf.data.Dataset.range(5), lambda number: tf.numpy_function(draw, [number], tf.int64))
        elements = iter(stream)
        self.assertEqual(int(next(elements)), 0)
        # Two drawn and kept, two more at work.
        self.assertTrue(ahead.wait(60))
        self.assertEqual([int(element) for element in elements], [1, 2, 3, 4])

    def test_keeps_the_order_whatever_is_drawn_first(self):
        second = threading.Event()

        def draw(number):
            if number == 0:
                second.wait(60)
            elif number == 1:
                second.set()
            return number

        stream = drawn_ahead(tf.data.Dataset.range(5), lambda number: tf.numpy_function(draw, [number], tf.int64))
        self.assertEqual([int(element) for element in stream], [0, 1, 2, 3, 4])

    @parameterized.named_parameters(
        ("episodes", lambda: pool().episodes(0, 2, 1, 1, meta_batch_size=2)),
        ("watched", lambda: DataWait().watch(pool().episodes(0, 2, 1, 1, meta_batch_size=2))),
        ("labelled_images", lambda: labelled_batches(pool(), 0, 2)),
        ("sinusoids", lambda: Sinusoids().dataset(0, tasks=2, shots=1, queries=1)),
    )
    def test_is_not_tuned(self, stream):
        # A long evaluation would wait at its end for the tuning to look again, up to a minute.
        self.assertIs(stream().options().autotune.enabled, False)


if __name__ == "__main__":
    absltest.main()
