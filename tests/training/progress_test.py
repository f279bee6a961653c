"""Tests of maml_tf.training.progress."""

import contextlib
import io
import json
import pathlib

import keras
import numpy as np
from absl.testing import absltest, parameterized

from maml_tf.training.iterations import Iterations
from maml_tf.training.progress import Progress, WallTime, format_duration, recorded_seconds


class ProgressTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.now = 0.0
        self.lines = []

    def progress(self, total=1000, per_epoch=100, **arguments):
        self.iterations = Iterations(total, per_epoch)
        return Progress(self.iterations, write=self.lines.append, clock=lambda: self.now, **arguments)

    def end_epoch(self, progress, logs):
        self.iterations.variable.assign_add(self.iterations.per_epoch)
        progress.on_epoch_end(0, logs)

    def test_a_line_counts_iterations_and_tells_the_time_left(self):
        progress = self.progress(total=70_000, per_epoch=1000)
        progress.on_train_begin()
        self.now = 5.0
        self.end_epoch(progress, {"loss": 1.23456, "val_loss": 2.0})
        expected = "iteration 1,000 of 70,000  200 iterations/s  5 min 45 s left  loss 1.235  val_loss 2"
        self.assertEqual(self.lines, [expected])

    def test_a_metric_may_be_of_each_class(self):
        progress = self.progress()
        progress.on_train_begin()
        self.now = 10.0
        self.end_epoch(progress, {"f1": np.array([0.5, 0.25]), "loss": 1.0})
        self.assertEndsWith(self.lines[0], "left  f1 0.5 0.25  loss 1")

    def test_speed_is_that_since_the_last_line(self):
        progress = self.progress()
        progress.on_train_begin()
        for now in (50.0, 60.0):
            self.now = now
            self.end_epoch(progress, {})
        self.assertEqual(self.lines[1], "iteration 200 of 1,000  10.0 iterations/s  1 min 20 s left")

    def test_slow_iterations_are_timed_and_not_counted(self):
        progress = self.progress(total=10, per_epoch=1)
        progress.on_train_begin()
        self.now = 26.14
        self.end_epoch(progress, {})
        self.assertEqual(self.lines, ["iteration 1 of 10  26.1 s an iteration  3 min 55 s left"])

    def test_lines_are_some_seconds_apart_and_the_last_is_written(self):
        progress = self.progress(every_seconds=3.0)
        progress.on_train_begin()
        for _ in range(10):
            self.now += 1.0
            self.end_epoch(progress, {})
        self.assertEqual([line.split()[1] for line in self.lines], ["300", "600", "900", "1,000"])

    def test_a_resumed_training_counts_from_its_first_iteration(self):
        progress = self.progress()
        self.iterations.variable.assign(700)
        progress.on_train_begin()
        self.now = 10.0
        self.end_epoch(progress, {})
        self.assertEqual(self.lines, ["iteration 800 of 1,000  10.0 iterations/s  20 s left"])

    def test_a_second_training_is_timed_by_itself(self):
        progress = self.progress(every_seconds=5.0)
        for epochs, began in ((1, 0.0), (2, 100.0)):
            self.now = began
            progress.on_train_begin()
            for _ in range(epochs):
                self.now += 4.0
                self.end_epoch(progress, {})
        self.assertEqual(self.lines, ["iteration 300 of 1,000  25.0 iterations/s  28 s left"])

    def test_lines_within_a_long_epoch_of_fit(self):
        def tick(batch, logs):
            self.now += 1.0

        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile("sgd", loss="mse")
        clock = keras.callbacks.LambdaCallback(on_train_batch_begin=tick)
        x = np.ones((8, 1), "float32")
        progress = self.progress(total=8, per_epoch=8, every_seconds=3.0, metrics=["loss"])
        model.fit(x, x, batch_size=1, epochs=1, verbose=0, callbacks=[self.iterations, clock, progress])
        self.assertEqual([line.split()[1] for line in self.lines], ["3", "6", "8"])
        self.assertIn("  1.0 iterations/s  5 s left  loss ", self.lines[0])

    def test_only_the_named_metrics_are_shown(self):
        progress = self.progress(metrics=["mae"])
        progress.on_train_begin()
        self.now = 5.0
        self.end_epoch(progress, {"loss": 1.0, "mae": 2.0})
        self.assertEndsWith(self.lines[0], "left  mae 2")

    def test_writes_to_stderr(self):
        stderr = io.StringIO()
        iterations = Iterations(10, 10)
        with contextlib.redirect_stderr(stderr):
            progress = Progress(iterations)
            progress.on_train_begin()
            iterations.variable.assign(10)
            progress.on_epoch_end(0, {})
        self.assertStartsWith(stderr.getvalue(), "iteration 10 of 10  ")
        self.assertEndsWith(stderr.getvalue(), "0 s left\n")


class WallTimeTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.now = 0.0

    def train(self, epochs, *, first=0, resume=True, killed=False):
        """Runs epochs of 10 iterations and 6 s each, begun 100 s after the objects were built."""
        iterations = Iterations(100, 10)
        iterations.variable.assign(first)
        wall_time = WallTime(self.folder, iterations, resume=resume, clock=lambda: self.now)
        self.now += 100
        wall_time.on_train_begin()
        for epoch in range(epochs):
            iterations.variable.assign_add(10)
            self.now += 6
            wall_time.on_epoch_end(epoch)
        if not killed:
            wall_time.on_train_end()
        return json.loads((self.folder / "wall_time.json").read_text())

    def test_nothing_recorded_is_no_time(self):
        self.assertEqual(recorded_seconds(self.folder), 0)

    def test_a_training_is_timed_from_its_beginning(self):
        self.assertEqual(self.train(4), {"seconds": 24, "parts": [{"iterations": [0, 40], "seconds": 24}]})
        self.assertEqual(recorded_seconds(self.folder), 24)

    def test_a_resumed_training_adds_its_part_and_what_it_does_again(self):
        self.train(4, killed=True)
        self.train(2, first=30)
        content = self.train(1, first=50)
        self.assertEqual([part["iterations"] for part in content["parts"]], [[0, 30], [30, 50], [50, 60]])
        self.assertEqual(content["seconds"], 24 + 12 + 6)

    def test_parts_that_were_killed_before_a_checkpoint_count(self):
        self.train(2, killed=True)
        self.train(1, first=0, killed=True)
        content = self.train(4, first=0)
        self.assertEqual([part["iterations"] for part in content["parts"]], [[0, 0], [0, 0], [0, 40]])
        self.assertEqual(content["seconds"], 12 + 6 + 24)

    def test_seconds_inside_a_long_epoch_count(self):
        iterations = Iterations(100, 10)
        wall_time = WallTime(self.folder, iterations, clock=lambda: self.now)
        wall_time.on_train_begin()
        for batch in range(3):
            self.now += 2
            wall_time.on_train_batch_end(batch)
        self.assertEqual(recorded_seconds(self.folder), 6)

    def test_a_broken_file_is_named(self):
        for broken in ('{"seconds": 1', "[]", '{"parts": 3}', '{"parts": [{"seconds": 3}]}'):
            (self.folder / "wall_time.json").write_text(broken)
            with self.assertRaisesRegex(ValueError, "wall_time.json"):
                WallTime(self.folder, Iterations(10), resume=True)
        # A training from the start does not read it.
        self.assertEqual(self.train(1, resume=False)["seconds"], 6)

    def test_a_training_from_the_start_forgets_all(self):
        self.train(4)
        self.assertEqual(self.train(1, resume=False)["seconds"], 6)

    def test_an_earlier_training_that_was_not_timed_has_no_part(self):
        self.assertEqual(self.train(1, first=20)["parts"], [{"iterations": [20, 30], "seconds": 6}])


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
