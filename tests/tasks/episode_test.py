"""Tests of Episode and of the streams of tasks."""

import os
import threading
import unittest

import hypothesis
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized
from hypothesis import strategies

from maml_tf.baselines import labelled_batches
from maml_tf.tasks import ClassPool, Episode, Sinusoids
from maml_tf.tasks.episode import meta_batches, prefetched_map


class EpisodeTest(absltest.TestCase):
    def test_keras_data_puts_the_query_targets_last(self):
        episode = Episode(support_x="support_x", support_y="support_y", query_x="query_x", query_y="query_y")
        self.assertEqual(episode.keras_data(), (("support_x", "support_y", "query_x"), "query_y"))


def pool():
    return ClassPool(np.zeros([12, 2, 2, 1], np.uint8), np.repeat(np.arange(3), 4))


_on_two_processors = unittest.skipIf(
    hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) < 2, "tf.data has a thread for each processor"
)


class PrefetchedMapTest(parameterized.TestCase):
    @_on_two_processors
    def test_draws_before_it_is_asked_and_two_at_once(self):
        both = threading.Barrier(2, timeout=60)
        ahead = threading.Event()

        def draw(number):
            if number < 2:
                both.wait()
            elif number == 4:
                ahead.set()
            return number

        stream = prefetched_map(tf.data.Dataset.range(5), lambda number: tf.numpy_function(draw, [number], tf.int64))
        elements = iter(stream)
        self.assertEqual(int(next(elements)), 0)
        # Two drawn and kept, two more at work.
        self.assertTrue(ahead.wait(60))
        self.assertEqual([int(element) for element in elements], [1, 2, 3, 4])

    @_on_two_processors
    def test_keeps_the_order_whatever_is_drawn_first(self):
        second = threading.Event()

        def draw(number):
            if number == 0:
                second.wait(60)
            elif number == 1:
                second.set()
            return number

        stream = prefetched_map(tf.data.Dataset.range(5), lambda number: tf.numpy_function(draw, [number], tf.int64))
        self.assertEqual([int(element) for element in stream], [0, 1, 2, 3, 4])

    @parameterized.named_parameters(
        ("episodes", lambda: pool().episodes(0, 2, 1, 1, meta_batch_size=2)),
        ("labelled_images", lambda: labelled_batches(pool(), 0, 2)),
        ("sinusoids", lambda: Sinusoids().dataset(0, tasks=2, shots=1, queries=1)),
    )
    def test_is_not_tuned(self, stream):
        # A long evaluation would wait at its end for the tuning to look again, up to a minute.
        self.assertIs(stream().options().autotune.enabled, False)


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
        *({name: value} for name in ("meta_batch_size", "first", "tasks") for value in (1.5, 2.0, True, "2", -1)),
        {"meta_batch_size": 0},
        {"first": 2, "tasks": 4},
    )
    def test_refuses_what_is_no_whole_number_in_range(self, **changed):
        name, value = list(changed.items())[-1]
        with self.assertRaisesRegex(ValueError, f"{name}={value!r}"):
            meta_batches(numbers, **({"meta_batch_size": 2} | changed))

    def test_takes_the_integers_of_numpy(self):
        stream = meta_batches(numbers, meta_batch_size=np.int64(3), first=np.uint8(1), tasks=np.int32(5))
        self.assertEqual([element.numpy().tolist() for element in stream], [[3, 4]])


if __name__ == "__main__":
    absltest.main()
