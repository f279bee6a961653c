"""Tests of bin/mini_imagenet.py, run as a process on the small images in testdata."""

import json
import pathlib
import tempfile

from absl.testing import absltest

from tests.support import binary
from tests.support.source_tree import PROJECT


class MiniImagenetTest(absltest.TestCase):
    def test_a_training_is_evaluated(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            settings = (
                f"--data_dir={PROJECT / 'testdata' / 'mini_imagenet'}", f"--cache_dir={folder / 'cache'}",
                f"--logdir={folder / 'run'}", "--preset=5way_1shot_first_order_paper", "--iterations_per_epoch=1",
                "--validate_every=1", "--validation_tasks=2", "--filters=2", "--meta_batch_size=1", "--queries=1",
                "--test_tasks=3", "--inner_steps=1", "--evaluation_steps=1",
            )  # fmt: skip
            trained = binary.run("mini_imagenet", *settings, "--iterations=1")
            evaluated = binary.run("mini_imagenet", "--mode=evaluate", f"--logdir={folder / 'run'}")
            for finished in (trained, evaluated):
                self.assertEqual(finished.code, 0, finished.stderr)
            results = json.loads((folder / "run" / "results.json").read_text())
            self.assertTrue(binary.is_png(folder / "run" / "accuracy.png"))
        self.assertEqual(results["experiment"], "mini_imagenet")
        self.assertEqual(
            [(row["method"], row["step"], row["tasks"]) for row in results["rows"]],
            [("maml_first_order", 0, 3), ("maml_first_order", 1, 3)],
        )
        self.assertEqual(results["config"]["gradient_clip"], 10.0)
        self.assertEqual(results["protocol"]["loss_scale"], "original")
        self.assertAlmostEqual(results["protocol"]["inner_learning_rate_on_the_mean"], 0.05)
        self.assertIn("after 0 steps", evaluated.stdout)

    def test_data_must_be_brought(self):
        with tempfile.TemporaryDirectory() as folder:
            finished = binary.run("mini_imagenet", f"--logdir={folder}/run")
        self.assertEqual(finished.code, 1)
        self.assertEqual(
            finished.errors,
            ["Error: Expected data_dir: mini-ImageNet cannot be downloaded. Received: data_dir=None"],
        )


if __name__ == "__main__":
    absltest.main()
