"""Tests of maml_tf.training.progress."""

import contextlib
import io

import keras
import numpy as np
from absl.testing import absltest, parameterized

from maml_tf.training.progress import Progress, format_duration


class ProgressTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.now = 0.0
        self.lines = []

    def progress(self, total=1000, per_epoch=100, **arguments):
        return Progress(total, per_epoch, write=self.lines.append, clock=lambda: self.now, **arguments)

    def test_a_line_counts_iterations_and_tells_the_time_left(self):
        progress = self.progress(total=70_000, per_epoch=1000)
        progress.on_train_begin()
        progress.on_epoch_begin(0)
        self.now = 5.0
        progress.on_epoch_end(0, {"loss": 1.23456, "val_loss": 2.0})
        expected = "iteration 1,000 of 70,000  200 iterations/s  5 min 45 s left  loss 1.235  val_loss 2"
        self.assertEqual(self.lines, [expected])

    def test_a_metric_may_be_of_each_class(self):
        progress = self.progress()
        progress.on_train_begin()
        progress.on_epoch_begin(0)
        self.now = 10.0
        progress.on_epoch_end(0, {"f1": np.array([0.5, 0.25]), "loss": 1.0})
        self.assertEndsWith(self.lines[0], "left  f1 0.5 0.25  loss 1")

    def test_speed_is_that_since_the_last_line(self):
        progress = self.progress()
        progress.on_train_begin()
        for epoch, now in ((0, 50.0), (1, 60.0)):
            progress.on_epoch_begin(epoch)
            self.now = now
            progress.on_epoch_end(epoch, {})
        self.assertEqual(self.lines[1], "iteration 200 of 1,000  10.0 iterations/s  1 min 20 s left")

    def test_slow_iterations_are_timed_and_not_counted(self):
        progress = self.progress(total=10, per_epoch=1)
        progress.on_train_begin()
        progress.on_epoch_begin(0)
        self.now = 26.14
        progress.on_epoch_end(0, {})
        self.assertEqual(self.lines, ["iteration 1 of 10  26.1 s an iteration  3 min 55 s left"])

    def test_lines_are_some_seconds_apart_and_the_last_is_written(self):
        progress = self.progress(every_seconds=3.0)
        progress.on_train_begin()
        for epoch in range(10):
            progress.on_epoch_begin(epoch)
            self.now += 1.0
            progress.on_epoch_end(epoch, {})
        self.assertEqual([line.split()[1] for line in self.lines], ["300", "600", "900", "1,000"])

    def test_a_resumed_training_counts_from_its_first_epoch(self):
        progress = self.progress()
        progress.on_train_begin()
        progress.on_epoch_begin(7)
        self.now = 10.0
        progress.on_epoch_end(7, {})
        self.assertEqual(self.lines, ["iteration 800 of 1,000  10.0 iterations/s  20 s left"])

    def test_a_second_training_is_timed_by_itself(self):
        progress = self.progress(every_seconds=5.0)
        for epochs, began in ((1, 0.0), (3, 100.0)):
            self.now = began
            progress.on_train_begin()
            for epoch in range(epochs - 1, 2 * epochs - 1):
                progress.on_epoch_begin(epoch)
                self.now += 4.0
                progress.on_epoch_end(epoch, {})
        self.assertEqual(self.lines, ["iteration 400 of 1,000  25.0 iterations/s  24 s left"])

    def test_lines_within_a_long_epoch_of_fit(self):
        def tick(batch, logs):
            self.now += 1.0

        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile("sgd", loss="mse")
        clock = keras.callbacks.LambdaCallback(on_train_batch_begin=tick)
        x = np.ones((8, 1), "float32")
        progress = self.progress(total=8, per_epoch=8, every_seconds=3.0, metrics=["loss"])
        model.fit(x, x, batch_size=1, epochs=1, verbose=0, callbacks=[clock, progress])
        self.assertEqual([line.split()[1] for line in self.lines], ["3", "6", "8"])
        self.assertIn("  1.0 iterations/s  5 s left  loss ", self.lines[0])

    def test_only_the_named_metrics_are_shown(self):
        progress = self.progress(metrics=["mae"])
        progress.on_train_begin()
        progress.on_epoch_begin(9)
        self.now = 1.0
        progress.on_epoch_end(9, {"loss": 1.0, "mae": 2.0})
        self.assertEndsWith(self.lines[0], "left  mae 2")

    def test_writes_to_stderr(self):
        stderr = io.StringIO()
        with contextlib.redirect_stderr(stderr):
            progress = Progress(10, 10)
            progress.on_train_begin()
            progress.on_epoch_begin(0)
            progress.on_epoch_end(0, {})
        self.assertStartsWith(stderr.getvalue(), "iteration 10 of 10  ")
        self.assertEndsWith(stderr.getvalue(), "0 s left\n")


class FormatDurationTest(parameterized.TestCase):
    @parameterized.parameters(
        (0.4, "0 s"),
        (59.6, "1 min 00 s"),
        (200.2, "3 min 20 s"),
        (7505.0, "2 h 05 min"),
        (float("inf"), "unknown time"),
    )
    def test_format_duration(self, seconds, expected):
        self.assertEqual(format_duration(seconds), expected)


if __name__ == "__main__":
    absltest.main()
