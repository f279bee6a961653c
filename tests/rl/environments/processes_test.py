"""Tests of maml_tf.rl.environments.processes: sub-environments in worker processes."""

import gc

import numpy as np
from absl.testing import absltest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.rl.environments import GymnasiumEnvironment, UniformTasks
from maml_tf.rl.environments.processes import ProcessVectorEnv
from tests.support.walk import Walk

COUNT = 5
ACTIONS = np.random.default_rng(0).uniform(-1, 1, (6, COUNT, 1)).astype(np.float32)


def assert_same(one, other):
    """Two results of a vector environment, with their infos."""
    for mine, its in zip(one, other, strict=True):
        np.testing.assert_equal(mine, its)


class ProcessVectorEnvTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.vector = ProcessVectorEnv(Walk, COUNT, processes=2)
        cls.addClassCleanup(cls.vector.close)

    def setUp(self):
        super().setUp()
        self.other = SyncVectorEnv([Walk] * COUNT, autoreset_mode=AutoresetMode.DISABLED)

    def test_results_and_infos_are_those_of_one_process(self):
        self.assertEqual(self.vector.single_observation_space, self.other.single_observation_space)
        self.assertEqual(self.vector.action_space, self.other.action_space)
        assert_same(self.vector.reset(seed=7), self.other.reset(seed=7))
        ended = np.zeros(COUNT, bool)
        for actions in ACTIONS:
            if ended.any():
                options = {"reset_mask": ended.copy()}, {"reset_mask": ended.copy()}
                assert_same(self.vector.reset(seed=3, options=options[0])[:1],
                            self.other.reset(seed=3, options=options[1])[:1])  # fmt: skip
            mine, its = self.vector.step(actions), self.other.step(actions)
            assert_same(mine[:4], its[:4])
            self.assertEqual(set(mine[4]), set(its[4]))
            for key, values in its[4].items():
                np.testing.assert_array_equal(mine[4][key], values)
            ended = mine[2]
        self.assertTrue(mine[4]["success"].any())

    def test_methods_are_called_in_the_order_of_the_sub_environments(self):
        observations, _ = self.vector.reset(seed=1)
        goals = [0.0, 1.0, 2.0, 3.0, 4.0]
        np.testing.assert_array_equal(self.vector.call_each("set_goal", goals), goals + observations[:, 0])
        np.testing.assert_array_equal(self.vector.step(np.zeros((COUNT, 1)))[0][:, 1], goals)
        self.assertEqual(self.vector.call_one(3, "set_goal", 9.0), 9.0 + observations[3, 0])
        np.testing.assert_array_equal(self.vector.step(np.zeros((COUNT, 1)))[0][:, 1], [0.0, 1.0, 2.0, 9.0, 4.0])
        np.testing.assert_array_equal(self.vector.call("set_goal", 0.0), observations[:, 0])

    def test_serves_as_a_batch_of_tasks(self):
        rollouts = []
        for vector in (self.vector, self.other):
            environment = GymnasiumEnvironment(vector, UniformTasks([0.0], [1.0]), lambda *_: None, horizon=6, seed=2)
            rollouts.append([environment.reset_batch()])
            for actions in ACTIONS:
                rollouts[-1] += [*environment.step_batch(actions), environment.succeeded]
        for one, other in zip(*rollouts, strict=True):
            np.testing.assert_array_equal(one, other)


class FailureTest(absltest.TestCase):
    def test_what_fails_in_a_worker_is_said_and_ends_it(self):
        vector = ProcessVectorEnv(Walk, 1)
        [worker] = vector._workers
        with self.assertRaisesRegex(RuntimeError, "Received from a worker:\n(.*\n)*ArithmeticError: odd"):
            vector.call("fail", "odd")
        self.assertFalse(worker.is_alive())
        with self.assertRaisesRegex(RuntimeError, "all worker processes to live"):
            vector.reset()

    def test_a_worker_that_ends_is_noticed(self):
        vector = ProcessVectorEnv(Walk, 1)
        with self.assertRaisesRegex(RuntimeError, r"all worker processes to live. Received: exit codes \[3\]"):
            vector.call("fail", "end")

    def test_workers_end_when_the_vector_environment_is_forgotten(self):
        vector = ProcessVectorEnv(Walk, 1)
        [worker] = vector._workers
        del vector
        gc.collect()
        self.assertFalse(worker.is_alive())

    def test_numbers_out_of_range_are_refused(self):
        for arguments, received in (((0,), "count=0"), ((2, -1), "processes=-1")):
            with self.assertRaisesRegex(ValueError, f"Received: {received}"):
                ProcessVectorEnv(Walk, *arguments)


if __name__ == "__main__":
    absltest.main()
