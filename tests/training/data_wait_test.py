"""Tests of maml_tf.training.data_wait."""

import time

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest

from maml_tf.training import DataWait
from tests.support.keras_warnings import ignore_array_copy


def slow_dataset(seconds, elements=None):
    """Elements that take so long to make; not made ahead."""

    def slow(index):
        def wait(value):
            time.sleep(seconds)
            return value

        return tf.ensure_shape(tf.numpy_function(wait, [index], tf.int64), [])

    return tf.data.Dataset.range(elements or 10**6).map(slow)


def model():
    built = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    built.compile("sgd", "mse")
    return built


def pair(index):
    x = tf.reshape(tf.cast(index, tf.float32), [1, 1])
    return x, x


class DataWaitTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.now = 0.0
        self.wait = DataWait(clock=lambda: self.now)

    def epoch(self, seconds, take=(), evaluate=0.0):
        """An epoch of so many seconds by the clock, in which elements are taken from an iterator."""
        logs = {}
        self.wait.on_epoch_begin(0)
        for iterator in take:
            next(iterator)
        self.now += seconds
        if evaluate:
            self.wait.on_test_begin()
            self.now += evaluate
        self.wait.on_epoch_end(0, logs)
        return logs["data_wait"]

    def test_elements_stay_as_they_are(self):
        dataset = tf.data.Dataset.range(5).map(lambda i: ((i, 2 * i), {"y": i}))
        watched = self.wait.watch(dataset)
        self.assertEqual(watched.element_spec, dataset.element_spec)
        self.assertEqual(watched.cardinality(), 5)
        for a, b in zip(watched, dataset, strict=True):
            tf.nest.map_structure(np.testing.assert_array_equal, a, b)

    def test_counts_the_time_an_element_takes(self):
        iterator = iter(self.wait.watch(slow_dataset(0.05)))
        share = self.epoch(1.0, take=[iterator] * 4)
        self.assertBetween(share, 0.2, 0.9)
        self.assertEqual(self.wait.share, share)

    def test_does_not_count_the_time_between_elements(self):
        iterator = iter(self.wait.watch(tf.data.Dataset.range(100)))
        self.epoch(1.0)
        next(iterator)
        time.sleep(0.2)
        next(iterator)
        self.assertLess(float(self.wait._waited), 0.1)

    def test_counts_each_epoch_by_itself(self):
        iterator = iter(self.wait.watch(slow_dataset(0.05)))
        self.assertGreater(self.epoch(1.0, take=[iterator] * 2), 0.1)
        self.assertEqual(self.epoch(1.0), 0.0)

    def test_validation_is_not_training(self):
        iterator = iter(self.wait.watch(slow_dataset(0.1)))
        self.assertGreater(self.epoch(0.2, take=[iterator], evaluate=1000.0), 0.4)

    def test_is_never_more_than_all(self):
        iterator = iter(self.wait.watch(slow_dataset(0.02)))
        self.assertEqual(self.epoch(0.001, take=[iterator]), 1.0)


class FitTest(absltest.TestCase):
    def test_data_slower_than_the_step_are_waited_for(self):
        wait = DataWait()
        data = wait.watch(slow_dataset(0.03).map(pair))
        history = model().fit(data, epochs=2, steps_per_epoch=6, verbose=0, shuffle=False, callbacks=[wait])
        # The first epoch compiles; the second does next to nothing but wait.
        self.assertGreater(history.history["data_wait"][1], 0.5)

    def test_data_made_ahead_are_not(self):
        class SlowStep(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                time.sleep(0.1)

        wait = DataWait()
        data = wait.watch(slow_dataset(0.01).map(pair).prefetch(2))
        history = model().fit(data, epochs=2, steps_per_epoch=6, verbose=0, shuffle=False, callbacks=[wait, SlowStep()])
        self.assertLess(history.history["data_wait"][1], 0.5)

    def test_tensorboard_writes_it(self):
        folder = self.create_tempdir().full_path
        wait = DataWait()
        data = wait.watch(tf.data.Dataset.range(100).map(pair))
        board = keras.callbacks.TensorBoard(folder, write_graph=False)
        ignore_array_copy()
        model().fit(data, epochs=1, verbose=0, shuffle=False, callbacks=[wait, board])
        tags = {
            value.tag
            for file in tf.io.gfile.glob(f"{folder}/train/*")
            for event in tf.compat.v1.train.summary_iterator(file)
            for value in event.summary.value
        }
        self.assertIn("epoch_data_wait", tags)


if __name__ == "__main__":
    absltest.main()
