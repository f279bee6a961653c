"""Tests of bin/meta_rl.py, run as a process, with an environment and a method that a file of the user adds."""

import json
import pathlib
import tempfile

from absl.testing import absltest

from tests.support import binary, with_rl  # noqa: F401
from tests.support.source_tree import PROJECT

# A complete file that the documentation shows.
ROD = PROJECT / "docs" / "contributing" / "files" / "rod.py"
SETTINGS = (
    "--environment=rod", "--rollouts=4", "--hidden=8", "--conjugate_gradient_iterations=2", "--evaluation_steps=2",
    "--evaluation_rollouts=3", "--test_tasks=2", "--validation_tasks=2",
)  # fmt: skip
METRICS = ("return", "success_rate")
# The guide to an environment of one's own says that the second in the place of the first changes no number.
IN_ONE_PROCESS, IN_PROCESSES = "SyncVectorEnv([Rod] * batch_size)", "ProcessVectorEnv(Rod, batch_size)"


class AddedTest(absltest.TestCase):
    def test_what_one_file_adds_is_trained_evaluated_and_drawn(self):
        with tempfile.TemporaryDirectory() as folder:
            logdir = pathlib.Path(folder, "run")
            finished = binary.run(
                "meta_rl", f"--register={ROD}", "--method=maml,bold,oracle", f"--logdir={logdir}", *SETTINGS
            )
            self.assertEqual(finished.code, 0, finished.stderr)
            results = json.loads((logdir / "results.json").read_text())
            self.assertTrue(binary.is_png(logdir / "returns.png"))
            self.assertTrue(binary.is_png(logdir / "success_rates.png"))
            again = binary.run(
                "evaluate_policy", f"--register={ROD}", f"--logdir={logdir}", "--method=bold", "--videos=none"
            )
            self.assertEqual(again.code, 0, again.stderr)
            rows = json.loads((logdir / "evaluation" / "results.json").read_text())["rows"]
            in_processes = self.trained_in_processes(pathlib.Path(folder))
        self.assertEqual(results["experiment"], "rod")
        self.assertEqual((results["config"]["meta_batch_size"], results["config"]["iterations"]), (3, 2))
        self.assertEqual(
            [
                (row["method"], row["metric"], row["step"], row["tasks"], row["step_sizes"][0])
                for row in results["rows"]
            ],
            [("maml", metric, step, 2, 0.1) for metric in METRICS for step in range(3)]
            + [("bold", metric, step, 2, 0.4) for metric in METRICS for step in range(3)]
            + [("oracle", metric, 0, 2, 0.1) for metric in METRICS],
        )
        for row in results["rows"]:
            self.assertEqual("gain" in row, row["step"] > 0)
            if row["metric"] == "success_rate":
                self.assertBetween(row["mean"], 0.0, 1.0)
        before, after = results["rows"][:2]
        self.assertAlmostEqual(after["gain"], after["mean"] - before["mean"], places=9)
        self.assertEqual(rows, results["rows"][6:12])
        self.assertEqual(in_processes, results["rows"][:6])

    def trained_in_processes(self, folder):
        """Returns the rows of a training whose simulations run in worker processes."""
        text = ROD.read_text().replace(f"gymnasium.vector.{IN_ONE_PROCESS}", IN_PROCESSES)
        self.assertIn(IN_PROCESSES, text)
        file = folder / "rod_in_processes.py"
        file.write_text(f"from maml_tf.rl.environments.processes import ProcessVectorEnv\n{text}")
        logdir = folder / "in_processes"
        finished = binary.run("meta_rl", f"--register={file}", f"--logdir={logdir}", "--videos=none", *SETTINGS)
        self.assertEqual(finished.code, 0, finished.stderr)
        return json.loads((logdir / "results.json").read_text())["rows"]

    def test_an_unknown_environment_is_one_clear_error(self):
        finished = binary.run("meta_rl", "--environment=walker")
        self.assertEqual(finished.code, 1)
        [error] = finished.errors
        self.assertIn("'walker'", error)


if __name__ == "__main__":
    absltest.main()
