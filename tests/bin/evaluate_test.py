"""Tests of bin/evaluate.py, run as a process on a training of the small alphabet in testdata."""

import json
import os
import pathlib
import tempfile
from unittest import mock

from absl.testing import absltest

from maml_tf.commands.evaluate import environment
from maml_tf.experiments.classification.config import ClassificationConfig
from maml_tf.experiments.classification.evaluate import evaluate
from maml_tf.experiments.classification.train import train
from tests.support import binary
from tests.support.keras_warnings import ignore_array_copy
from tests.support.source_tree import PROJECT


class EvaluateTest(absltest.TestCase):
    def test_the_numbers_of_the_trainings_own_evaluation_come_out_again(self):
        ignore_array_copy()
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            config = ClassificationConfig(
                data_dir=str(PROJECT / "testdata" / "alphabet"), cache_dir=str(folder / "cache"), split="alphabets",
                iterations=2, iterations_per_epoch=2, validate_every=2, network="dense", meta_batch_size=2,
                validation_tasks=3, test_tasks=5, evaluation_steps=2, first_order=True,
            )  # fmt: skip
            train(config, folder / "run")
            evaluate(folder / "run")
            before = json.loads((folder / "run" / "results.json").read_text())
            again = binary.run(
                "evaluate", f"--logdir={folder / 'run'}", f"--output={folder / 'again'}", "--notask_a_thread"
            )
            other = binary.run(
                "evaluate", f"--logdir={folder / 'run'}", f"--output={folder / 'other'}",
                "--evaluation_queries=4", "--test_tasks=7", "--evaluation_steps=1",
            )  # fmt: skip
            for finished in (again, other):
                self.assertEqual(finished.code, 0, finished.stderr)
            self.assertEqual(again.stdout.splitlines()[-1], f"Written to {folder / 'again'}")
            after = json.loads((folder / "again" / "results.json").read_text())
            changed = json.loads((folder / "other" / "results.json").read_text())
            self.assertTrue(binary.is_png(folder / "again" / "accuracy.png"))
        for key in ("rows", "config", "protocol", "training"):
            self.assertEqual(after[key], before[key])
        self.assertEqual([(row["step"], row["tasks"]) for row in changed["rows"]], [(0, 7), (1, 7)])
        self.assertEqual(changed["protocol"]["queries_per_class"], 4)

    def test_weights_of_the_package_are_evaluated_with_the_settings_on_their_card(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "images_background").mkdir()
            finished = binary.run(
                "evaluate", "--pretrained=omniglot_5way_1shot", f"--data_dir={folder}", f"--output={folder / 'out'}"
            )
            config = json.loads((folder / "out" / "config.json").read_text())
        # The settings are there, the data are not.
        self.assertEqual(finished.code, 1)
        self.assertLen(finished.errors, 1)
        self.assertStartsWith(finished.errors[0], "Error: Expected drawings images_background")
        self.assertEqual(config["evaluation_steps"], 3)

    def test_a_checkpoint_under_a_tilde_tells_the_data_set_before_tensorflow_is_imported(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "config.json").write_text('{"dataset": "mini_imagenet"}')
            self.enter_context(mock.patch.dict(os.environ, {"HOME": folder}))
            flags = {"TF_ENABLE_ONEDNN_OPTS": "1"}
            self.assertEqual(environment({"logdir": "~", "pretrained": None}), flags)
            self.assertEqual(environment({"logdir": None, "pretrained": "mini_imagenet_5way_1shot"}), flags)
            self.assertEqual(environment({"logdir": None, "pretrained": "omniglot_5way_1shot"}), {})
            self.assertEqual(environment({"logdir": f"{folder}/none", "pretrained": None}), {})

    def test_either_a_checkpoint_or_weights_of_the_package_are_required(self):
        for arguments in ((), ("--logdir=a", "--pretrained=omniglot_5way_1shot")):
            finished = binary.run("evaluate", *arguments)
            self.assertNotEqual(finished.code, 0)
            self.assertIn("(logdir, pretrained)", finished.stdout + finished.stderr)
        unknown = binary.run("evaluate", "--pretrained=omniglot")
        self.assertEqual(unknown.code, 1)
        self.assertStartsWith(unknown.errors[0], "Error: Expected one of [")
        self.assertIn("'omniglot_5way_1shot'", unknown.errors[0])
        self.assertEndsWith(unknown.errors[0], "Received: 'omniglot'")

    def test_a_directory_without_a_training_is_one_clear_error(self):
        with tempfile.TemporaryDirectory() as folder:
            finished = binary.run("evaluate", f"--logdir={folder}")
        self.assertEqual(finished.code, 1)
        self.assertEqual(
            finished.errors,
            [f"Error: Expected the directory of a training, with config.json. Received: '{folder}'"],
        )


if __name__ == "__main__":
    absltest.main()
