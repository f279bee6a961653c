"""Tests what needs Meta-World, in its environment: `python3 bin/bootstrap.py test_meta_world [ARGUMENT ...]`.

    python -m tests.meta_world [NAME ...]

Every kind of task is compared bit for bit with Meta-World's own environment. Takes some minutes.
"""

import json
import pathlib
import pickle
import re
import subprocess
import sys
import tempfile
from unittest import mock

import keras
import metaworld
import mujoco
import numpy as np
from absl.testing import absltest, parameterized
from metaworld.env_dict import ML10_V3
from metaworld.policies import ENV_POLICY_MAP

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.rl.environments import environments, meta_world
from maml_tf.rl.environments.meta_world.environment import MetaWorld
from maml_tf.rl.environments.meta_world.simulation import OFFSET, SCALE, MetaWorldSimulation
from maml_tf.rl.policy import GaussianPolicy
from tests.support import binary
from tests.support.source_tree import PROJECT

EVERY = parameterized.named_parameters((name, name) for name in meta_world.NAMES)
ONE_KIND = parameterized.parameters("ml1_reach", "ml1_push", "ml1_pick_place")


def actions(steps, batch, seed=0):
    return np.random.default_rng(seed).normal(size=(steps, batch, 4)).astype(np.float32)


def in_metres(observations):
    """Returns Meta-World's observations."""
    return observations / SCALE + OFFSET


def with_places(task, change):
    """Returns a task whose objects and goal are elsewhere."""
    data = pickle.loads(task.data)
    data["rand_vec"] = data["rand_vec"] + np.array(change)
    return task._replace(data=pickle.dumps(data))


class SpecTest(parameterized.TestCase):
    @EVERY
    def test_training_and_test_goals_are_apart_and_the_benchmarks_own(self, name):
        spec = environments[name]
        one = name != "ml10"
        training, test = spec.tasks.sample(50 if one else 500, 1), spec.test_tasks(50 if one else 250, 1)
        self.assertEmpty({task.data for task in training} & {task.data for task in test})
        benchmark = metaworld.ML1(spec.tasks.name, seed=1) if one else metaworld.ML10(seed=1)
        self.assertEqual({task.data for task in training}, {task.data for task in benchmark.train_tasks})
        self.assertEqual({task.data for task in test}, {task.data for task in benchmark.test_tasks})
        self.assertEqual(len(spec.tasks.kinds), 1 if one else 15)
        self.assertEqual(len(np.unique(spec.tasks.features([*training, *test]), axis=0)), len(training) + len(test))

    @EVERY
    def test_observations_have_zeros_for_the_goal(self, name):
        environment = environments[name].make(4)
        environment.set_tasks(environments[name].test_tasks(4, 1))
        seen = [environment.reset_batch(), *(environment.step_batch(of_step)[0] for of_step in actions(5, 4))]
        np.testing.assert_array_equal(np.stack(seen)[..., -3:], 0.0)

    @ONE_KIND
    def test_nothing_of_an_observation_depends_on_the_goal(self, name):
        environment = environments[name].make(2)
        [task] = environments[name].test_tasks(1, 1)
        environment.set_tasks([task, with_places(task, [0, 0, 0, 0.01, 0.02, 0.01])])
        seen = [environment.reset_batch()]
        rewards = []
        for of_step in actions(20, 1):
            observations, reward, _ = environment.step_batch(np.repeat(of_step, 2, axis=0))
            seen.append(observations)
            rewards.append(reward)
        np.testing.assert_array_equal(np.stack(seen)[:, 0], np.stack(seen)[:, 1])
        # The rewards of the other kinds know the goal when the object has moved.
        if name == "ml1_reach":
            self.assertGreater(np.abs(np.diff(rewards)).max(), 1e-2)

    @EVERY
    def test_rollouts_are_the_same_again_on_any_number_of_processes(self, name):
        spec, rollouts = environments[name], []
        for processes in (1, 2, 3):
            environment = spec.make(6, processes=processes)
            for _ in range(2):
                environment.set_tasks(spec.tasks.sample(3, 5))
                environment.seed(3)
                rollouts.append([environment.reset_batch()])
                for of_step in actions(10, 6):
                    rollouts[-1] += [*environment.step_batch(of_step), environment.succeeded]
            environment.close()
        for other in rollouts[1:]:
            for one, its in zip(rollouts[0], other, strict=True):
                np.testing.assert_array_equal(one, its)

    @ONE_KIND
    def test_meta_worlds_own_policy_succeeds_within_the_horizon(self, name):
        spec, count = environments[name], 10
        environment, tasks = spec.make(count), spec.test_tasks(count, 1)
        environment.set_tasks(tasks)
        policy, told = ENV_POLICY_MAP[spec.tasks.name](), spec.tasks.features(tasks)[:, 3:]
        observations, done, rewards = environment.reset_batch(), np.zeros(count, bool), []
        while not done.all():
            full = in_metres(observations)
            full[:, -3:] = told
            chosen = np.stack([policy.get_action(row) for row in full.astype(np.float64)])
            observations, reward, done = environment.step_batch(chosen)
            rewards.append(reward)
        self.assertLen(rewards, spec.details["steps"])
        self.assertGreaterEqual(environment.succeeded.sum(), 8)
        self.assertGreater(np.median(rewards[-1]), 8.0)
        idle = spec.make(count)
        idle.set_tasks(tasks)
        idle.reset_batch()
        for _ in range(20):
            idle.step_batch(np.zeros((count, 4)))
        self.assertEqual(idle.succeeded.sum(), 0)

    def test_a_horizon_beyond_meta_worlds_is_refused(self):
        for horizon in (0, 501, 9.5):
            with self.assertRaisesRegex(ValueError, f"from 1 to 500. Received: horizon={horizon}"):
                MetaWorld(1, environments["ml1_reach"].tasks, horizon=horizon)


class SnapshotTest(absltest.TestCase):
    def test_shows_its_own_task_when_others_have_been_set(self):
        environment, tasks = environments["ml10"].make(2, processes=1), environments["ml10"].tasks
        self.addCleanup(environment.close)
        one, other = tasks.sample(2, 1)
        self.assertNotEqual(one.env_name, other.env_name)
        environment.set_tasks([one, other])
        environment.reset_batch()
        snapshots = [environment.snapshot(0)]
        for of_step in actions(3, 2):
            environment.step_batch(of_step)
            snapshots.append(environment.snapshot(0))
        drawn = [self.drawn(environment, snapshots)]
        environment.set_tasks([with_places(other, [0.01] * len(pickle.loads(other.data)["rand_vec"])), one])
        environment.reset_batch()
        drawn.append(self.drawn(environment, snapshots))
        for one, its in zip(*drawn, strict=True):
            np.testing.assert_array_equal(one, its)

    def drawn(self, environment, snapshots):
        """Returns where the sites and the joints of the pictures are."""
        seen = []

        def draw_states(save_model, qpos, width, height, camera):
            with tempfile.TemporaryDirectory() as folder:
                save_model(f"{folder}/model.mjb")
                model = mujoco.MjModel.from_binary_path(f"{folder}/model.mjb")
            self.assertEqual(qpos.shape, (len(snapshots), model.nq))
            seen.extend([model.body_pos.copy(), model.site_pos.copy(), qpos])
            return np.zeros((len(qpos), height, width, 3), np.uint8)

        with mock.patch(f"{MetaWorld.__module__}.draw_states", draw_states):
            self.assertEqual(environment.draw(np.stack(snapshots)).shape, (len(snapshots), 240, 320, 3))
        return seen


class SimulationTest(parameterized.TestCase):
    @parameterized.parameters(*(kind for split in ML10_V3.values() for kind in split))
    def test_is_meta_worlds_own_bit_for_bit(self, kind):
        of_kind = [task for task in environments["ml10"].tasks._tasks("train") if task.env_name == kind]
        of_kind += [task for task in environments["ml10"].tasks._tasks("test") if task.env_name == kind]
        tasks, own, ours = of_kind[:2], [], [MetaWorldSimulation("v2") for _ in range(2)]
        for task in tasks:
            own.append(metaworld.ALL_V3_ENVIRONMENTS[kind](reward_function_version="v2"))
            own[-1].set_task(task)
        for _ in range(2):  # The second time other tasks have been in the shared model.
            for task, theirs, its in zip(tasks, own, ours, strict=True):
                its.set_task(of_kind[5])
                its.reset()
                its.set_task(task)
                np.testing.assert_array_equal(scaled(theirs.reset()[0]), its.reset()[0])
            for of_step in actions(40, 1)[:, 0].clip(-1, 1):  # In turn, in one model.
                for theirs, its in zip(own, ours, strict=True):
                    observation, reward, _, _, info = theirs.step(of_step)
                    result = its.step(of_step)
                    np.testing.assert_array_equal(scaled(observation), result[0])
                    self.assertEqual((reward, bool(info["success"])), (result[1], result[4]["success"]))


def scaled(observation):
    return (observation - OFFSET) * SCALE


class ConformanceTest(absltest.TestCase):
    def test_every_spec_is_an_environment_of_the_project(self):
        path = PROJECT / "tests" / "rl" / "environments" / "conformance_test.py"
        done = subprocess.run([sys.executable, path], cwd=PROJECT, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        [ran] = re.findall(r"^Ran (\d+) tests", done.stderr, re.MULTILINE)
        self.assertGreaterEqual(int(ran), len(meta_world.NAMES))
        self.assertNotIn("skipped", done.stderr)


SETTINGS = (
    "--meta_batch_size=2", "--rollouts=2", "--hidden=8", "--conjugate_gradient_iterations=2", "--evaluation_steps=1",
    "--evaluation_rollouts=2", "--test_tasks=4", "--validation_tasks=2", "--checkpoint_seconds=0",
)  # fmt: skip


class BinaryTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.whole, cls.broken = pathlib.Path(folder.name, "whole"), pathlib.Path(folder.name, "broken")
        cls.finished = [
            binary.run("meta_world", *SETTINGS, f"--logdir={cls.whole}", "--iterations=2"),
            binary.run("meta_world", *SETTINGS, f"--logdir={cls.broken}", "--videos=none", "--iterations=1"),
            binary.run(
                "meta_world", *SETTINGS, f"--logdir={cls.broken}", "--videos=none", "--iterations=2", "--resume"
            ),
            binary.run("evaluate_policy", f"--logdir={cls.whole}", "--videos=none"),
        ]

    def test_a_resumed_training_equals_one_that_never_stopped(self):
        self.assertEqual([finished.code for finished in self.finished], [0] * 4, self.finished[-1].stderr)
        policies = [keras.saving.load_model(folder / "maml" / "policy.keras") for folder in (self.whole, self.broken)]
        self.assertIsInstance(policies[0], GaussianPolicy)
        for one, other in zip(*(policy.get_weights() for policy in policies), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_results_have_success_rates_and_name_the_rewards(self):
        results = json.loads((self.whole / "results.json").read_text())
        self.assertEqual(
            [(row["metric"], row["step"], row["tasks"]) for row in results["rows"]],
            [(metric, step, 4) for metric in ("return", "success_rate") for step in (0, 1)],
        )
        self.assertEqual(results["environment"]["maml"], dict(environments["ml1_reach"].details))
        self.assertEqual(results["versions"]["mujoco"], "3.3.0")
        self.assertIn("success_rate", self.finished[0].stdout)
        again = json.loads((self.whole / "evaluation" / "results.json").read_text())
        self.assertEqual(again["rows"], results["rows"])

    def test_figures_and_films(self):
        for name in ("returns", "success_rates"):
            self.assertTrue(binary.is_png(self.whole / f"{name}.png"))
        if "no video" in self.finished[0].stderr:
            self.skipTest("nothing here can draw without a display")
        self.assertLen(list((self.whole / "videos").glob("maml_task_*.gif")), 2)


if __name__ == "__main__":
    absltest.main()
