"""Tests of bin/ant.py, run as a process."""

import json
import pathlib
import tempfile

from absl.testing import absltest

from tests.support import binary, with_rl  # noqa: F401


class AntTest(absltest.TestCase):
    def test_trains_and_evaluates(self):
        with tempfile.TemporaryDirectory() as folder:
            finished = binary.run(
                "ant", "--task=direction", "--budget", "--videos=none", "--iterations=1", "--meta_batch_size=2",
                "--rollouts=2", "--hidden=8", "--conjugate_gradient_iterations=2", "--evaluation_steps=1",
                "--evaluation_rollouts=2", "--test_tasks=2", f"--logdir={folder}",
            )  # fmt: skip
            self.assertEqual(finished.code, 0, finished.stderr)
            results = json.loads(pathlib.Path(folder, "results.json").read_text())
            self.assertTrue(binary.is_png(pathlib.Path(folder, "returns.png")))
        self.assertEqual(results["experiment"], "ant_direction")
        self.assertEqual((results["config"]["test_seed"], results["config"]["budget"]), (2, True))
        self.assertEqual([(row["step"], row["tasks"]) for row in results["rows"]], [(0, 2), (1, 2)])
        self.assertIn("after 1 step", finished.stdout)


if __name__ == "__main__":
    absltest.main()
