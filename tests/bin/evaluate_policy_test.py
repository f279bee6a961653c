"""Tests of bin/evaluate_policy.py, run as a process."""

import json
import pathlib
import tempfile

from absl.testing import absltest

from tests.support import binary, with_rl  # noqa: F401

# isort: split
from maml_tf import pretrained
from maml_tf.results import file_digest

SETTINGS = (
    "--iterations=2", "--meta_batch_size=2", "--rollouts=2", "--hidden=8", "--conjugate_gradient_iterations=2",
    "--evaluation_steps=2", "--evaluation_rollouts=3", "--test_tasks=2", "--validation_tasks=2",
)  # fmt: skip
METHODS = ("maml", "pretrained", "oracle")


class OfATrainingTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.run_, cls.other = pathlib.Path(folder.name, "run"), pathlib.Path(folder.name, "other")
        trained = binary.run("point_navigation", f"--method={','.join(METHODS)}", f"--logdir={cls.run_}", *SETTINGS)
        if trained.code:
            raise RuntimeError(trained.stderr)
        cls.before = json.loads((cls.run_ / "results.json").read_text())
        cls.again = [
            binary.run("evaluate_policy", f"--logdir={cls.run_}", f"--method={method}", "--videos=none")
            for method in METHODS
        ]
        cls.changed = binary.run(
            "evaluate_policy", f"--logdir={cls.run_}", f"--output={cls.other}",
            "--test_tasks=3", "--evaluation_steps=1", "--later_learning_rate=0.2",
        )  # fmt: skip

    def test_the_returns_of_the_trainings_own_evaluation_come_out_again(self):
        for finished in self.again:
            self.assertEqual(finished.code, 0, finished.stderr)
            self.assertEqual(finished.stdout.splitlines()[-1], f"Written to {self.run_ / 'evaluation'}")
        after = json.loads((self.run_ / "evaluation" / "results.json").read_text())
        for key in ("experiment", "config", "rows", "weights_sha256"):
            self.assertEqual(after[key], self.before[key])
        self.assertEqual(json.loads((self.run_ / "results.json").read_text()), self.before)
        self.assertTrue(binary.is_png(self.run_ / "evaluation" / "returns.png"))
        self.assertFalse((self.run_ / "evaluation" / "videos").exists())

    def test_what_an_evaluation_may_change(self):
        self.assertEqual(self.changed.code, 0, self.changed.stderr)
        results = json.loads((self.other / "results.json").read_text())
        self.assertEqual(
            [(row["method"], row["step"], row["tasks"], row["step_sizes"]) for row in results["rows"]],
            [("maml", step, 3, [0.1, 0.2]) for step in range(2)],
        )
        self.assertLen(list((self.other / "videos").glob("maml_task_*.gif")), 2)

    def test_the_results_of_the_training_are_not_written_over(self):
        finished = binary.run("evaluate_policy", f"--logdir={self.run_}", f"--output={self.run_}")
        self.assertEqual(finished.code, 1)
        self.assertLen(finished.errors, 1)
        self.assertStartsWith(finished.errors[0], "Error: Expected an output directory that is not a training's.")

    def test_a_method_that_was_not_trained_is_named(self):
        finished = binary.run("evaluate_policy", f"--logdir={self.run_}", "--method=random")
        self.assertEqual(finished.code, 1)
        self.assertRegex(finished.errors[0], "Received: .*random/policy.keras")


class OfThePackageTest(absltest.TestCase):
    def test_the_returns_on_the_card_come_out_again(self):
        name = "point_navigation"
        with tempfile.TemporaryDirectory() as output:
            finished = binary.run("evaluate_policy", f"--pretrained={name}", f"--output={output}", "--videos=none")
            self.assertEqual(finished.code, 0, finished.stderr)
            results = json.loads(pathlib.Path(output, "results.json").read_text())
        expected = pretrained.card(name)["results"][0]["rows"]
        self.assertEqual([row["step"] for row in results["rows"]], [row["step"] for row in expected])
        for row, of_card in zip(results["rows"], expected, strict=True):
            # Processors round otherwise, by 1e-7 here; then one of 1,600 rollouts may end a step earlier or later.
            self.assertAlmostEqual(row["mean"], of_card["mean"], delta=0.005)
        digest = file_digest(pretrained.weights_path(name))
        self.assertEqual(results["weights_sha256"], {"maml": digest})

    def test_weights_of_images_are_refused(self):
        finished = binary.run("evaluate_policy", "--pretrained=omniglot_5way_1shot")
        self.assertEqual(finished.code, 1)
        self.assertRegex(finished.errors[0], "Expected an entry of reinforcement learning. .*maml-tf evaluate")

    def test_either_a_checkpoint_or_a_policy_of_the_package_is_required(self):
        for arguments in ((), ("--logdir=a", "--pretrained=point_navigation")):
            finished = binary.run("evaluate_policy", *arguments)
            self.assertNotEqual(finished.code, 0)
            self.assertIn("(logdir, pretrained)", finished.stdout + finished.stderr)

    def test_the_method_of_a_policy_of_the_package_is_not_chosen(self):
        finished = binary.run("evaluate_policy", "--pretrained=point_navigation", "--method=oracle")
        self.assertNotEqual(finished.code, 0)
        self.assertIn("(method, pretrained)", finished.stdout + finished.stderr)


if __name__ == "__main__":
    absltest.main()
