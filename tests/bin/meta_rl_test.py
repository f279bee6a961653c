"""Tests of bin/meta_rl.py, run as a process, with an environment and a method that a file of the user adds."""

import json
import pathlib
import tempfile

from absl.testing import absltest

from tests.support import binary, with_rl  # noqa: F401

ADDED = '''
import gymnasium
import numpy as np

from maml_tf.methods import Method, methods
from maml_tf.rl.environments import EnvironmentSpec, GymnasiumEnvironment, TaskDistribution, environments


class Rod(gymnasium.Env):
    """A point on a rod that must find its place; ends outside the rod."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,))
    action_space = gymnasium.spaces.Box(-0.5, 0.5, (1,))

    def set_task(self, task):
        self.place = task["place"]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = self.np_random.uniform(-0.1, 0.1, 1)
        return self.position, {}

    def step(self, action):
        self.position = self.position + action
        return self.position, -abs(float(self.position[0]) - self.place), abs(self.position[0]) > 2, False, {}


class Places(TaskDistribution):
    """Tasks that are dictionaries, which an oracle may be told."""

    size = 1

    def sample(self, n, seed):
        return [{"place": float(place)} for place in np.random.default_rng(seed).uniform(-1, 1, n)]

    def features(self, tasks):
        return np.array([[task["place"]] for task in tasks], np.float32)


def make(batch_size, task_in_observation=False):
    rods = gymnasium.vector.SyncVectorEnv([Rod] * batch_size)
    return GymnasiumEnvironment(rods, Places(), "set_task", horizon=10, task_in_observation=task_in_observation)


environments.register("rod", EnvironmentSpec(make, Places(), preset={"meta_batch_size": 3, "iterations": 2}))
methods.register("bold", Method("bold MAML", {"meta_rl": {"inner_learning_rate": 0.4}}))
'''
SETTINGS = (
    "--environment=rod", "--rollouts=4", "--hidden=8", "--conjugate_gradient_iterations=2", "--evaluation_steps=2",
    "--evaluation_rollouts=3", "--test_tasks=2", "--validation_tasks=2",
)  # fmt: skip


class AddedTest(absltest.TestCase):
    def test_what_one_file_adds_is_trained_evaluated_and_drawn(self):
        with tempfile.TemporaryDirectory() as folder:
            added, logdir = pathlib.Path(folder, "rod.py"), pathlib.Path(folder, "run")
            added.write_text(ADDED)
            finished = binary.run(
                "meta_rl", f"--register={added}", "--method=maml,bold,oracle", f"--logdir={logdir}", *SETTINGS
            )
            self.assertEqual(finished.code, 0, finished.stderr)
            results = json.loads((logdir / "results.json").read_text())
            self.assertTrue(binary.is_png(logdir / "returns.png"))
            again = binary.run(
                "evaluate_policy", f"--register={added}", f"--logdir={logdir}", "--method=bold", "--videos=none"
            )
            self.assertEqual(again.code, 0, again.stderr)
            rows = json.loads((logdir / "evaluation" / "results.json").read_text())["rows"]
        self.assertEqual(results["experiment"], "rod")
        self.assertEqual((results["config"]["meta_batch_size"], results["config"]["iterations"]), (3, 2))
        self.assertEqual(
            [(row["method"], row["step"], row["tasks"], row["step_sizes"][0]) for row in results["rows"]],
            [("maml", step, 2, 0.1) for step in range(3)]
            + [("bold", step, 2, 0.4) for step in range(3)]
            + [("oracle", 0, 2, 0.1)],
        )
        self.assertEqual(rows, results["rows"][3:6])

    def test_an_unknown_environment_is_one_clear_error(self):
        finished = binary.run("meta_rl", "--environment=walker")
        self.assertEqual(finished.code, 1)
        [error] = finished.errors
        self.assertIn("'walker'", error)


if __name__ == "__main__":
    absltest.main()
