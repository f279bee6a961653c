"""Tests of maml_tf.training.progress."""

import io
import json
import pathlib
import sys
from unittest import mock

import keras
import numpy as np
from absl.testing import absltest, parameterized

from maml_tf.training import progress as progress_module
from maml_tf.training.iterations import Iterations, Place
from maml_tf.training.progress import Progress, WallTime, format_duration, recorded_seconds

_LAST = r"^iteration 30 of 30  [\d,.]+ iterations/s  0 s left  loss 0.5\n$"


class ProgressTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.now = 0.0
        self.lines = []

    def progress(self, total=1000, per_epoch=100, **arguments):
        self.iterations = Iterations(total, per_epoch)
        return Progress(self.iterations, write=self.lines.append, clock=lambda: self.now, **arguments)

    def run_epoch(self, progress, seconds, logs=None, validation=0.0):
        progress.on_train_batch_begin(0)
        self.now += seconds
        self.iterations.variable.assign_add(self.iterations.per_epoch)
        progress.on_train_batch_end(0, logs)
        self.now += validation
        progress.on_epoch_end(0, logs)

    def test_a_line_counts_iterations_and_tells_the_time_left(self):
        progress = self.progress(total=70_000, per_epoch=1000)
        progress.on_train_begin()
        self.run_epoch(progress, 1.0)
        self.run_epoch(progress, 5.0, {"loss": 1.23456, "val_loss": 2.0})
        expected = "iteration 2,000 of 70,000  200 iterations/s  5 min 40 s left  loss 1.235  val_loss 2"
        self.assertEqual(self.lines, [expected])

    def test_a_metric_may_be_of_each_class(self):
        progress = self.progress()
        progress.on_train_begin()
        self.run_epoch(progress, 10.0, {"f1": np.array([0.5, 0.25]), "loss": 1.0})
        self.assertEqual(self.lines, ["iteration 100 of 1,000  f1 0.5 0.25  loss 1"])

    def test_the_speed_is_without_compilation_and_validation_and_the_time_left_with_validation(self):
        progress = self.progress()
        progress.on_train_begin()
        self.run_epoch(progress, 50.0, validation=30.0)  # Both compile.
        for _ in range(2):
            self.run_epoch(progress, 10.0, validation=5.0)
        self.assertEqual(self.lines[0], "iteration 100 of 1,000")
        # Since the first batch 20 s of 55 were in batches, up to the end of the last one.
        self.assertEqual(self.lines[2], "iteration 300 of 1,000  10.0 iterations/s  3 min 12 s left")

    def test_the_speed_is_that_of_the_last_seconds(self):
        progress = self.progress(total=10_000)
        progress.on_train_begin()
        for seconds in (1.0, *[10.0] * 3, *[5.0] * 4):
            self.run_epoch(progress, seconds)
        self.assertIn("  20.0 iterations/s  ", self.lines[-1])

    def test_slow_iterations_are_timed_and_not_counted(self):
        progress = self.progress(total=10, per_epoch=1)
        progress.on_train_begin()
        self.run_epoch(progress, 1.0)
        self.run_epoch(progress, 26.14)
        self.assertEqual(self.lines, ["iteration 2 of 10  26.1 s an iteration  3 min 29 s left"])

    def test_lines_are_some_seconds_apart_and_the_last_is_written(self):
        progress = self.progress(every_seconds=3.0)
        progress.on_train_begin()
        for _ in range(10):
            self.run_epoch(progress, 1.0)
        self.assertEqual([line.split()[1] for line in self.lines], ["300", "600", "900", "1,000"])

    def test_a_resumed_training_counts_from_its_first_iteration(self):
        progress = self.progress()
        self.iterations.variable.assign(700)
        progress.on_train_begin()
        self.run_epoch(progress, 1.0)
        self.run_epoch(progress, 10.0)
        self.assertEqual(self.lines, ["iteration 900 of 1,000  10.0 iterations/s  10 s left"])

    def test_a_second_training_is_timed_by_itself(self):
        progress = self.progress(every_seconds=5.0)
        for epochs, began in ((1, 0.0), (2, 100.0)):
            self.now = began
            progress.on_train_begin()
            for _ in range(epochs):
                self.run_epoch(progress, 4.0)
        self.assertEqual(self.lines, ["iteration 300 of 1,000  25.0 iterations/s  28 s left"])

    def test_lines_within_a_long_epoch_of_fit(self):
        class Tick(keras.callbacks.Callback):
            place = Place.SHOW

            def on_train_batch_end(callback, batch, logs=None):
                self.now += 1.0

        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile("sgd", loss="mse")
        x = np.ones((8, 1), "float32")
        progress = self.progress(total=8, per_epoch=8, every_seconds=3.0, metrics=["loss"])
        model.fit(x, x, batch_size=1, epochs=1, verbose=0, callbacks=[self.iterations, Tick(), progress])
        self.assertEqual([line.split()[1] for line in self.lines], ["3", "6", "8"])
        self.assertIn("  1.0 iterations/s  5 s left  loss ", self.lines[0])

    def test_only_the_named_metrics_are_shown(self):
        progress = self.progress(metrics=["mae"])
        progress.on_train_begin()
        self.run_epoch(progress, 5.0, {"loss": 1.0, "mae": 2.0})
        self.assertEqual(self.lines, ["iteration 100 of 1,000  mae 2"])

    def trained(self, stderr):
        iterations = Iterations(30, 10)
        with mock.patch.object(sys, "stderr", stderr):
            progress = Progress(iterations)
            progress.on_train_begin()
            for epoch in range(3):
                progress.on_train_batch_begin(0)
                iterations.variable.assign_add(10)
                progress.on_train_batch_end(0)
                progress.on_epoch_end(epoch, {"loss": 0.5})
            progress.on_train_end()
        return stderr.getvalue()

    def test_a_file_gets_lines_and_a_terminal_a_bar(self):
        lines = self.trained(io.StringIO())
        self.assertRegex(lines, _LAST)
        terminal = io.StringIO()
        terminal.isatty = lambda: True
        with mock.patch.object(progress_module, "_BAR_SECONDS", 0.0):
            first, *bars, last = (part.rstrip(" ") for part in self.trained(terminal).split("\r")[1:])
        self.assertRegex(first, r"^  0 % \|\s+\| 0 of 30")
        self.assertRegex(bars[1], r"^ 67 % \|[█#]+.\s+\| 20 of 30, [\d,.]+ iterations/s  0 s left  loss 0.5$")
        self.assertRegex(last, _LAST)


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
