"""Tests of bin/omniglot.py, run as a process on the small alphabet in testdata."""

import dataclasses
import json
import pathlib
import tempfile

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf.experiments.omniglot import OmniglotConfig, build_learner
from tests.support import binary
from tests.support.source_tree import PROJECT

DATA = f"--data_dir={PROJECT / 'testdata' / 'alphabet'}"
SETTINGS = (
    "--split=alphabets",
    "--iterations_per_epoch=2",
    "--filters=4",
    "--meta_batch_size=2",
    "--queries=2",
    "--test_tasks=6",
    "--evaluation_steps=2",
)
ROW_KEYS = {"method", "shots", "step", "metric", "mean", "sd", "ci95", "tasks", "median", "diverged", "ways"}


def tensors(folder):
    """Returns all that the newest checkpoint holds."""
    reader = tf.train.load_checkpoint(str(folder))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def weights(folder):
    learner = build_learner(OmniglotConfig(data_dir="", filters=4))
    learner.model.load_weights(folder / "network.weights.h5")
    return learner.model.get_weights()


class TrainingTest(absltest.TestCase):
    """One run of 4 iterations; another of 2 that is resumed for 4."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.whole, cls.parts = pathlib.Path(folder.name, "whole"), pathlib.Path(folder.name, "parts")
        cls.finished = binary.run("omniglot", DATA, f"--logdir={cls.whole}", *SETTINGS, "--iterations=4")
        cls.first_part = binary.run("omniglot", DATA, f"--logdir={cls.parts}", *SETTINGS, "--iterations=2")
        cls.weights_of_first_part = weights(cls.parts)
        cls.second_part = binary.run("omniglot", DATA, f"--logdir={cls.parts}", *SETTINGS, "--iterations=4", "--resume")
        for finished in (cls.finished, cls.first_part, cls.second_part):
            if finished.code:
                raise RuntimeError(finished.stderr)
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
        # An output layer of zeros says class 0 of everything: before adaptation exactly one in five is right.
        self.assertAlmostEqual(rows[0]["mean"], 0.2)
        self.assertAlmostEqual(rows[0]["sd"], 0.0)

    def test_results_say_how_they_came_about(self):
        self.assertEqual(self.results["experiment"], "omniglot")
        self.assertEqual(self.results["config"]["iterations"], 4)
        self.assertEqual(self.results["config"]["split"], "alphabets")
        self.assertEqual(self.results["versions"]["tensorflow"], tf.__version__)
        self.assertGreater(self.results["seconds"], self.results["training_seconds"])
        self.assertEqual(self.results["protocol"]["queries_per_class"], 2)
        self.assertIn("transductive", self.results["protocol"]["batch_norm"])

    def test_the_figure_is_an_image(self):
        self.assertTrue(binary.is_png(self.whole / "accuracy.png"))

    def test_events_for_tensorboard_are_written(self):
        self.assertNotEmpty(list((self.whole / "train").glob("events.out.tfevents.*")))

    def test_the_table_is_on_stdout_in_percent(self):
        header, line, *_, last = self.finished.stdout.splitlines()
        self.assertRegex(header, r"^method +shots +metric +after 0 steps +after 1 step +after 2 steps$")
        self.assertRegex(line, r"^maml +1 +accuracy +20\.0 \+- 0\.0 ")
        self.assertIn(f"{100 * self.results['rows'][2]['mean']:.1f} +- ", line)
        self.assertEqual(last, f"Written to {self.whole}")

    def test_a_stopped_and_resumed_training_ends_as_if_never_stopped(self):
        for whole, resumed in zip(weights(self.whole), weights(self.parts), strict=True):
            np.testing.assert_array_equal(whole, resumed)
        whole, resumed = (tensors(folder / "checkpoints") for folder in (self.whole, self.parts))
        self.assertEqual(set(whole), set(resumed))
        for name, value in whole.items():
            # The count of saves, and the record of the objects, tell how often it was saved.
            if not name.startswith(("save_counter", "_CHECKPOINTABLE_OBJECT_GRAPH")):
                np.testing.assert_array_equal(value, resumed[name], name)
        rows = json.loads((self.parts / "results.json").read_text())["rows"]
        self.assertEqual(rows, self.results["rows"])

    def test_the_second_part_trained(self):
        differing = [
            not np.array_equal(before, after)
            for before, after in zip(self.weights_of_first_part, weights(self.parts), strict=True)
        ]
        self.assertTrue(any(differing))

    def test_a_resume_under_another_seed_is_refused(self):
        finished = binary.run(
            "omniglot", DATA, f"--logdir={self.parts}", *SETTINGS, "--iterations=6", "--resume", "--seed=2"
        )
        self.assertEqual(finished.code, 1, finished.stderr)
        [error] = finished.errors
        self.assertIn("differs in seed: stored 1, given 2", error)

    def test_checkpoints_are_not_trained_over_without_resume(self):
        finished = binary.run("omniglot", DATA, f"--logdir={self.parts}", *SETTINGS, "--iterations=6")
        self.assertEqual(finished.code, 1, finished.stderr)
        self.assertEqual(
            finished.errors,
            [
                "Error: Expected a directory without checkpoints, or to resume from them (--resume). "
                f"Received: '{self.parts}' with checkpoints in 'checkpoints'"
            ],
        )


class CommandLineTest(parameterized.TestCase):
    def test_help_lists_a_flag_for_every_field_of_the_configuration(self):
        finished = binary.run("omniglot", "--help")
        self.assertEqual(finished.code, 1)  # absl's exit code of a help.
        listed = {line.strip().partition(":")[0] for line in finished.stdout.splitlines() if "--" in line}
        listed = {flag.removeprefix("--").removeprefix("[no]") for flag in listed}
        fields = {field.name for field in dataclasses.fields(OmniglotConfig)}
        self.assertContainsSubset(fields | {"logdir", "resume", "task_a_thread"}, listed)
        self.assertIn("N times the mean", " ".join(finished.stdout.split()))

    def test_data_that_are_not_there_are_one_clear_error(self):
        with tempfile.TemporaryDirectory() as folder:
            finished = binary.run("omniglot", f"--data_dir={folder}/nowhere", f"--logdir={folder}/run", *SETTINGS)
        self.assertEqual(finished.code, 1)
        self.assertLen(finished.errors, 1, finished.stderr)
        self.assertIn("Expected a folder with images_background.zip", finished.errors[0])
        self.assertIn(f"Received: {folder}/nowhere", finished.errors[0])
        self.assertNotIn("Traceback", finished.stderr)

    def test_no_data_dir_names_the_flag(self):
        finished = binary.run("omniglot")
        self.assertNotEqual(finished.code, 0)
        self.assertIn("--data_dir", finished.stderr + finished.stdout)
        self.assertNotIn("Traceback", finished.stderr)

    def test_a_directory_that_cannot_be_made_is_one_clear_error(self):
        with tempfile.NamedTemporaryFile() as file:
            finished = binary.run("omniglot", DATA, f"--logdir={file.name}/run", *SETTINGS)
        self.assertEqual(finished.code, 1)
        self.assertLen(finished.errors, 1, finished.stderr)
        self.assertIn(f"Received: '{file.name}/run' (Not a directory)", finished.errors[0])
        self.assertNotIn("Traceback", finished.stderr)


if __name__ == "__main__":
    absltest.main()
