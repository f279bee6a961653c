"""Tests of what the locomotion environments share, maml_tf.rl.environments.locomotion."""

import os

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401

# isort: split
from tf_agents.environments import tf_py_environment

from maml_tf.rl.environments.locomotion import Ant, HalfCheetah

BODIES = (HalfCheetah, Ant)


def actions(environment, steps, seed=0):
    shape = (steps, environment.batch_size, *environment.action_spec().shape)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def roll_out(environment, steps):
    results = [environment.reset_batch()]
    for action in actions(environment, steps):
        results += environment.step_batch(action)
    return results


class LocomotionTest(parameterized.TestCase):
    @parameterized.parameters(*BODIES)
    def test_runs_as_a_tensorflow_environment(self, make):
        plain = make(2, seed=3)
        wrapped = tf_py_environment.TFPyEnvironment(make(2, seed=3))
        np.testing.assert_array_equal(wrapped.reset().observation, plain.reset_batch())
        step = tf.function(wrapped.step)
        for action in actions(plain, 4):
            ours, theirs = plain.step_batch(action), step(action)
            np.testing.assert_array_equal(ours[0], theirs.observation)
            np.testing.assert_array_equal(ours[1], theirs.reward)

    @parameterized.product(make=BODIES, task=["velocity", "direction"])
    def test_the_task_cannot_be_told_from_the_observations(self, make, task):
        one, other = make(2, task, seed=1), make(2, task, seed=1)
        one.set_tasks([[1.0]])
        other.set_tasks([[-1.0]])
        rewards = []
        ours, theirs = roll_out(one, 20), roll_out(other, 20)
        for index, (first, second) in enumerate(zip(ours, theirs, strict=True)):
            if index % 3 == 2:
                rewards.append(np.any(first != second))
            else:
                np.testing.assert_array_equal(first, second)
        self.assertTrue(all(rewards), "the tasks differ in nothing")

    @parameterized.parameters(*BODIES)
    def test_a_snapshot_does_not_change_afterwards(self, make):
        environment = make(2)
        environment.reset_batch()
        snapshot = environment.snapshot(1)
        before = snapshot.copy()
        environment.step_batch(actions(environment, 1)[0])
        np.testing.assert_array_equal(snapshot, before)
        self.assertFalse(np.array_equal(environment.snapshot(1), before))

    @parameterized.parameters(*BODIES)
    def test_seeds_reproduce_whole_rollouts_on_any_number_of_threads(self, make):
        first = roll_out(make(3, seed=7, threads=1), 20)
        second = roll_out(make(3, seed=7, threads=2), 20)
        for one, other in zip(first, second, strict=True):
            np.testing.assert_array_equal(one, other)
        self.assertFalse(np.any(make(3, seed=8).reset_batch()[:, :8] == first[0][:, :8]))

    @parameterized.parameters(*BODIES)
    def test_initial_states_are_normal_around_the_start(self, make):
        environment = make(4000)
        environment.reset_batch()
        simulations = environment.simulations
        hinges = simulations.qpos[:, -6:] - environment.initial_qpos[-6:]
        # Five standard deviations of the mean and of the standard deviation of 4000 normals.
        for values, deviation in ((hinges, 0.01), (simulations.qvel, 0.1)):
            np.testing.assert_allclose(values.mean(axis=0), 0.0, atol=5 * deviation / 4000**0.5)
            np.testing.assert_allclose(values.std(axis=0), deviation, rtol=5 / 8000**0.5)

    @parameterized.product(make=BODIES, task=["velocity", "direction"])
    def test_a_diverging_simulation_is_masked_and_counted(self, make, task):
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.create_tempdir().full_path)  # MuJoCo writes its log there.
        environment = make(3, task)
        environment.reset_batch()
        action = actions(environment, 1)[0]
        environment.step_batch(action)
        environment.simulations.qvel[0, 2] = np.nan
        environment.simulations.qvel[1, 1] = 1e12
        for _ in range(3):
            observations, rewards, done = environment.step_batch(action)
            self.assertEqual(done.tolist(), [True, True, False])
            self.assertTrue(np.all(np.abs(observations) < 100))
            np.testing.assert_array_equal(rewards[:2], 0.0)
            self.assertNotEqual(rewards[2], 0.0)
        self.assertEqual(environment.diverged, 2)
        self.assertEqual(environment.reset_batch().shape[0], 3)
        self.assertFalse(np.any(environment.step_batch(action)[2]))

    @parameterized.product(make=BODIES, choice=[("task", "speed"), ("physics", "rllab")])
    def test_refuses_unknown_names(self, make, choice):
        name, value = choice
        with self.assertRaisesRegex(ValueError, f"Received: {name}='{value}'"):
            make(1, **{name: value})


if __name__ == "__main__":
    absltest.main()
