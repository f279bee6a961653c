"""Tests of bin/omniglot.py, run as a process on the small alphabet in testdata."""

import dataclasses
import json
import pathlib
import re
import signal
import tempfile

import numpy as np
import tensorflow as tf
from absl.testing import absltest

from maml_tf.experiments.classification import files
from maml_tf.experiments.classification.config import ClassificationConfig
from tests.support import binary
from tests.support.source_tree import PROJECT

DATA = f"--data_dir={PROJECT / 'testdata' / 'alphabet'}"
SETTINGS = (
    DATA,
    "--split=alphabets",
    "--iterations_per_epoch=2",
    "--validate_every=2",
    "--validation_tasks=4",
    "--network=dense",
    "--meta_batch_size=2",
    "--queries=2",
    "--evaluation_queries=2",
    "--test_tasks=6",
    "--evaluation_steps=2",
)
ROW_KEYS = {"method", "shots", "step", "metric", "mean", "sd", "ci95", "tasks", "median", "diverged", "ways"}


def tensors(folder):
    """Returns all that the newest checkpoint holds."""
    reader = tf.train.load_checkpoint(str(folder))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


class TrainingTest(absltest.TestCase):
    """One run of 4 iterations; another that is stopped by a signal and resumed; the evaluation of the first."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.whole, cls.parts = pathlib.Path(folder.name, "whole"), pathlib.Path(folder.name, "parts")
        settings = (*SETTINGS, f"--cache_dir={folder.name}/cache")
        cls.settings = settings
        without_intervals = [flag for flag in settings if "iterations_per_epoch" not in flag and "every" not in flag]
        process = binary.Running("omniglot", *settings, f"--logdir={cls.parts}", "--iterations=4")
        cls.addClassCleanup(process.kill)
        cls.stopped = process.stop_when(lambda: any(cls.parts.glob("events.*")))
        finished = [
            binary.run("omniglot", *settings, f"--logdir={cls.whole}", "--iterations=4"),
            # Intervals that are not given are those of the training, not those that 4 iterations would have.
            binary.run("omniglot", *without_intervals, f"--logdir={cls.parts}", "--iterations=4", "--resume"),
            binary.run("omniglot", "--mode=evaluate", f"--logdir={cls.whole}"),
        ]
        for one in finished:
            if one.code:
                raise RuntimeError(one.stderr)
        cls.trained, _, cls.evaluated = finished
        cls.files_of_a_training = {path.name for path in cls.parts.iterdir()}
        cls.results = json.loads((cls.whole / "results.json").read_text())

    def test_rows_are_all_there_in_the_common_form(self):
        rows = self.results["rows"]
        self.assertEqual(
            [(row["method"], row["shots"], row["ways"], row["metric"], row["step"]) for row in rows],
            [("maml", 1, 5, "accuracy", step) for step in range(3)],
        )
        for row in rows:
            self.assertEqual(set(row), ROW_KEYS)
            self.assertEqual(row["tasks"], 6)
            self.assertBetween(row["mean"], 0, 1)

    def test_results_say_how_they_came_about(self):
        self.assertEqual(self.results["experiment"], "omniglot")
        self.assertEqual(self.results["config"]["iterations"], 4)
        self.assertEqual(self.results["config"]["split"], "alphabets")
        self.assertEqual(self.results["versions"]["tensorflow"], tf.__version__)
        self.assertGreater(self.results["training"]["seconds"], 0)
        self.assertEqual(
            self.results["protocol"],
            {
                "split": "test", "tasks": 6, "ways": 5, "shots": 1, "queries_per_class": 2, "steps": 2,
                "batch_norm": "transductive", "loss_scale": "mean", "inner_learning_rate_on_the_mean": 0.4, "seed": 1,
            },
        )  # fmt: skip

    def test_the_figure_is_an_image(self):
        self.assertTrue(binary.is_png(self.whole / "accuracy.png"))

    def test_events_for_tensorboard_are_written(self):
        self.assertNotEmpty(list(self.whole.glob("events.out.tfevents.*")))

    def test_the_table_is_on_stdout_in_percent(self):
        header, line, *_, last = self.evaluated.stdout.splitlines()
        self.assertRegex(header, r"^method +shots +metric +after 0 steps +after 1 step +after 2 steps$")
        self.assertIn(f"{100 * self.results['rows'][2]['mean']:.1f} +- ", line)
        self.assertEqual(last, f"Written to {self.whole}")

    def test_the_training_says_how_to_evaluate_it(self):
        self.assertEndsWith(self.trained.stdout, f"On the test classes: --mode=evaluate --logdir={self.whole}\n")
        self.assertNotIn("results.json", self.files_of_a_training)

    def test_an_evaluation_that_would_be_of_something_else_is_an_error(self):
        for name, flags, message in (
            ("omniglot", ["--preset=20way_1shot"], "Expected no --preset: .* Received: '20way_1shot'"),
            ("mini_imagenet", [], "Expected a training on mini_imagenet. Received: .*whole', one on omniglot"),
        ):
            finished = binary.run(name, "--mode=evaluate", f"--logdir={self.whole}", *flags)
            self.assertEqual(finished.code, 1)
            self.assertRegex(finished.errors[0], message)

    def test_a_signal_ends_a_training_with_what_to_do_next(self):
        self.assertEqual(self.stopped.code, 128 + signal.SIGTERM, self.stopped.stderr)
        self.assertRegex(
            self.stopped.stderr.splitlines()[-1], r"SIGTERM.*--resume continues from iteration \d+ \(.*parts"
        )

    def test_a_stopped_and_resumed_training_ends_as_if_never_stopped(self):
        whole, resumed = (tensors(folder / "checkpoints") for folder in (self.whole, self.parts))
        self.assertEqual(set(whole), set(resumed))
        for name, value in whole.items():
            # The count of saves, and the record of the objects, tell how often it was saved.
            if not name.startswith(("save_counter", "_CHECKPOINTABLE_OBJECT_GRAPH")):
                np.testing.assert_array_equal(value, resumed[name], name)
        kept = [
            files.load_learner(folder, files.load_config(folder)).get_weights() for folder in (self.whole, self.parts)
        ]
        for one, other in zip(*kept, strict=True):
            np.testing.assert_array_equal(one, other)


class CommandLineTest(absltest.TestCase):
    def test_help_lists_a_flag_for_every_field_of_the_configuration(self):
        finished = binary.run("omniglot", "--help")
        self.assertEqual(finished.code, 0)
        listed = set(re.findall(r"^ *--(?:\[no\])?(\w+)", finished.stdout, re.MULTILINE))
        fields = {field.name for field in dataclasses.fields(ClassificationConfig)} - {"dataset"}
        self.assertContainsSubset(fields | {"logdir", "mode", "preset", "resume", "task_a_thread"}, listed)
        self.assertIn("0.01 with 5 ways on original is 2.0, 2.0 and 0.05 on mean", " ".join(finished.stdout.split()))

    def test_a_folder_that_is_not_there_is_one_clear_error(self):
        with tempfile.TemporaryDirectory() as folder:
            finished = binary.run("omniglot", f"--data_dir={folder}/no", f"--logdir={folder}")
        self.assertEqual(finished.code, 1)
        [error] = finished.errors
        self.assertIn("Expected a folder with images_background.zip", error)
        self.assertIn(f"Received: {folder}/no", error)
        self.assertNotIn("Traceback", finished.stderr)


if __name__ == "__main__":
    absltest.main()
