"""Tests of bin/point_navigation.py, run as a process."""

import json
import pathlib
import tempfile

import tensorflow as tf
from absl.testing import absltest

from tests.support import binary, with_rl  # noqa: F401

# isort: split
from maml_tf.methods import names
from maml_tf.results import file_digest

METHODS = names("meta_rl")
SETTINGS = (
    "--meta_batch_size=3",
    "--rollouts=4",
    "--hidden=8",
    "--conjugate_gradient_iterations=2",
    "--evaluation_steps=2",
    "--evaluation_rollouts=3",
    "--test_tasks=2",
    "--validation_tasks=2",
    "--checkpoint_seconds=0",
)


def tensors(folder):
    """Returns all that the newest checkpoint holds but how often it was saved."""
    reader = tf.train.load_checkpoint(str(folder))
    names = [n for n in reader.get_variable_to_shape_map() if not n.startswith(("save_counter", "_CHECKPOINTABLE"))]
    return {name: reader.get_tensor(name).tolist() for name in names}


class AllMethodsTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.whole, cls.broken = pathlib.Path(folder.name, "whole"), pathlib.Path(folder.name, "broken")
        whole = binary.Running("point_navigation", "--method=all", "--iterations=3", f"--logdir={cls.whole}", *SETTINGS)
        cls.addClassCleanup(whole.kill)
        # The method that carries the most from iteration to iteration; half_cheetah_test.py resumes MAML.
        arguments = ("point_navigation", f"--logdir={cls.broken}", *SETTINGS)
        cls.first = binary.run(*arguments, "--iterations=2", "--method=promp")
        cls.refused = binary.run(*arguments, "--iterations=3", "--method=promp")
        cls.resumed = binary.run(*arguments, "--iterations=3", "--method=promp", "--resume")
        cls.other_method = binary.run(*arguments, "--iterations=3", "--method=random")
        cls.other_tasks = binary.run(*arguments, "--iterations=3", "--method=oracle", "--test_tasks=3")
        cls.finished = whole.finish()
        if cls.finished.code:
            raise RuntimeError(cls.finished.stderr)
        cls.results = json.loads((cls.whole / "results.json").read_text())

    def test_rows_are_all_there_in_the_common_form(self):
        self.assertEqual(
            [(row["method"], row["shots"], row["metric"], row["step"]) for row in self.results["rows"]],
            [
                (method, 3, "return", step)
                for method in METHODS
                for step in range(1 if method == "oracle" else 3)
            ],
        )  # fmt: skip
        for row in self.results["rows"]:
            self.assertEqual(row["tasks"], 2)
            self.assertLess(row["mean"], 0.0)
        self.assertEqual(self.results["experiment"], "point_navigation")
        self.assertEqual(set(self.results["training_seconds"]), set(METHODS))
        digests = {method: file_digest(self.whole / method / "policy.keras") for method in METHODS}
        self.assertEqual(self.results["weights_sha256"], digests)
        best = json.loads((self.whole / "maml" / "validation.json").read_text())
        self.assertEqual((best["metric"], best["mode"]), ("validation_return", "max"))
        self.assertLess(best["value"], 0.0)

    def test_figures_policies_and_events_are_written(self):
        for name in ("returns.png", "trajectories.png"):
            self.assertTrue(binary.is_png(self.whole / name), name)
        for method in METHODS:
            self.assertTrue((self.whole / method / "policy.keras").exists())
        self.assertNotEmpty(list((self.whole / "maml").glob("events.out.tfevents.*")))

    def test_a_resumed_run_equals_one_that_never_stopped(self):
        self.assertEqual((self.first.code, self.resumed.code), (0, 0), self.resumed.stderr)
        whole, resumed = (tensors(folder / "promp" / "checkpoints") for folder in (self.whole, self.broken))
        self.assertEqual(whole, resumed)
        self.assertContainsSubset({"divergence_penalties/.ATTRIBUTES/VARIABLE_VALUE"}, whole)
        self.assertTrue(any(name.startswith("outer_optimizer/") for name in whole))
        results = json.loads((self.broken / "results.json").read_text())
        methods = ("promp", "random")  # In the order of the trainings, which is another than that of all methods.
        self.assertEqual(results["rows"], [r for m in methods for r in self.results["rows"] if r["method"] == m])
        wall_time = json.loads((self.broken / "promp" / "wall_time.json").read_text())
        self.assertEqual([part["iterations"] for part in wall_time["parts"]], [[0, 2], [2, 3]])
        self.assertEqual(results["training_seconds"], {"promp": wall_time["seconds"], "random": 0.0})

    def test_results_of_other_methods_stay_and_those_of_another_configuration_are_refused(self):
        self.assertEqual((self.other_method.code, self.other_tasks.code), (0, 1), self.other_method.stderr)
        self.assertIn("\npromp ", self.other_method.stdout)
        self.assertIn("differs in test_tasks: stored 2, given 3", self.other_tasks.errors[0])
        self.assertFalse((self.broken / "oracle").exists())

    def test_checkpoints_are_not_trained_over_without_resume(self):
        self.assertEqual(self.refused.code, 1)
        self.assertIn("--resume", self.refused.errors[0])

    def test_the_table_is_on_stdout(self):
        self.assertIn("after 0 steps", self.finished.stdout)
        self.assertIn(f"Written to {self.whole}", self.finished.stdout)


class CommandLineTest(absltest.TestCase):
    def test_a_bad_flag_is_one_clear_error(self):
        finished = binary.run("point_navigation", "--method=all,reptile")
        self.assertEqual(finished.code, 1)
        [error] = finished.errors
        self.assertIn("reptile", error)

    def test_the_reward_of_the_text_and_the_goal_of_the_code_are_not_mixed(self):
        with tempfile.TemporaryDirectory() as folder:
            finished = binary.run("point_navigation", "--reward=squared", "--goal=square", f"--logdir={folder}/run")
            self.assertFalse(pathlib.Path(folder, "run").exists())
        self.assertEqual(finished.code, 1)
        self.assertIn("--reward=squared", finished.errors[0])

    def test_a_seed_that_the_evaluation_cannot_take_is_refused_before_the_training(self):
        with tempfile.TemporaryDirectory() as folder:
            finished = binary.run("point_navigation", f"--test_seed={2**32}", f"--logdir={folder}/run")
            self.assertFalse(pathlib.Path(folder, "run").exists())
        self.assertEqual(finished.code, 1)
        self.assertIn(f"test_seed={2**32}", finished.errors[0])


if __name__ == "__main__":
    absltest.main()
