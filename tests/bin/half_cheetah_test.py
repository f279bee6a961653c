"""Tests of bin/half_cheetah.py, run as a process."""

import json
import pathlib
import tempfile

import keras
import numpy as np
from absl.testing import absltest

from tests.support import binary, with_rl  # noqa: F401

# isort: split
from maml_tf.rl.policy import GaussianPolicy

SETTINGS = (
    "--task=direction", "--meta_batch_size=2", "--rollouts=2", "--hidden=8", "--conjugate_gradient_iterations=2",
    "--evaluation_steps=1", "--evaluation_rollouts=2", "--test_tasks=2", "--checkpoint_seconds=0",
)  # fmt: skip


class HalfCheetahTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.whole, cls.broken = pathlib.Path(folder.name, "whole"), pathlib.Path(folder.name, "broken")
        whole = binary.Running("half_cheetah", "--iterations=2", f"--logdir={cls.whole}", *SETTINGS)
        cls.addClassCleanup(whole.kill)
        arguments = ("half_cheetah", "--videos=none", f"--logdir={cls.broken}", *SETTINGS)
        cls.interrupted = binary.run(*arguments, "--iterations=1")
        cls.resumed = binary.run(*arguments, "--iterations=2", "--resume")
        cls.finished = whole.finish()
        if cls.finished.code:
            raise RuntimeError(cls.finished.stderr)

    def test_rows(self):
        results = json.loads((self.whole / "results.json").read_text())
        self.assertEqual(results["experiment"], "half_cheetah_direction")
        self.assertEqual(results["config"]["max_divergence"], 0.02)
        self.assertEqual(
            [(row["method"], row["metric"], row["step"], row["tasks"]) for row in results["rows"]],
            [("maml", "return", 0, 2), ("maml", "return", 1, 2)],
        )

    def test_figure_and_videos(self):
        self.assertTrue(binary.is_png(self.whole / "returns.png"))
        self.assertFalse((self.whole / "trajectories.png").exists())
        videos = sorted((self.whole / "videos").glob("*.gif"))
        if "no video" in self.finished.stderr:
            self.skipTest("nothing here can draw without a display")
        self.assertEqual([video.name for video in videos], ["maml_task_-1.00.gif", "maml_task_1.00.gif"])
        self.assertFalse((self.broken / "videos").exists())

    def test_a_resumed_run_equals_one_that_never_stopped(self):
        self.assertEqual((self.interrupted.code, self.resumed.code), (0, 0), self.resumed.stderr)
        policies = [keras.saving.load_model(folder / "maml" / "policy.keras") for folder in (self.whole, self.broken)]
        self.assertIsInstance(policies[0], GaussianPolicy)
        for one, other in zip(*(policy.get_weights() for policy in policies), strict=True):
            np.testing.assert_array_equal(one, other)


class CommandLineTest(absltest.TestCase):
    def test_an_unknown_task_is_refused(self):
        finished = binary.run("half_cheetah", "--task=dance")
        self.assertNotEqual(finished.code, 0)
        self.assertIn("velocity|direction", finished.stdout + finished.stderr)


if __name__ == "__main__":
    absltest.main()
