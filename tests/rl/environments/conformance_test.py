"""What every registered environment must do, whoever wrote it."""

import importlib.util

import numpy as np
from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401

# isort: split
from tf_agents.environments import utils

from maml_tf.rl.environments import environments, meta_world

# Meta-World has an environment of Python of its own, in which `python -m tests.meta_world` runs this file.
HERE = importlib.util.find_spec("metaworld") is not None
EVERY = parameterized.named_parameters((name, name) for name in environments if (name in meta_world.NAMES) == HERE)


def actions(environment, seed=0):
    shape = (environment.batch_size, *environment.action_spec().shape)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class ConformanceTest(parameterized.TestCase):
    @EVERY
    def test_is_an_environment_of_tf_agents(self, name):
        environment = environments[name].make(2)
        environment.horizon = 8
        utils.validate_py_environment(environment, episodes=4)

    @EVERY
    def test_its_tasks_are_those_of_its_spec(self, name):
        spec = environments[name]
        environment = spec.make(4)
        np.testing.assert_equal(environment.sample_tasks(4, (1, 2)), spec.tasks.sample(4, (1, 2)))
        tasks = spec.test_tasks(2, 1)
        environment.set_tasks(tasks)
        np.testing.assert_equal(environment.tasks, tasks)
        # A list of tasks serves as well.
        environment.set_tasks(list(tasks))
        np.testing.assert_equal(environment.tasks, tasks)

    @EVERY
    def test_the_task_can_be_told_and_is_told_to_nobody_else(self, name):
        spec = environments[name]
        self.assertGreater(spec.tasks.size, 0)
        told, untold = spec.make(4, task_in_observation=True), spec.make(4)
        tasks = spec.test_tasks(2, 1)
        for environment in (told, untold):
            environment.set_tasks(tasks)
            environment.seed(3)
        observations = told.reset_batch()
        np.testing.assert_array_equal(observations[:, : -spec.tasks.size], untold.reset_batch())
        np.testing.assert_array_equal(
            observations[:, -spec.tasks.size :], np.repeat(spec.tasks.features(tasks), 2, axis=0)
        )

    @EVERY
    def test_a_seed_gives_the_same_rollout_again(self, name):
        environment = environments[name].make(2)
        rollouts = []
        for _ in range(2):
            environment.seed(5)
            rollouts.append([environment.reset_batch()])
            for step in range(3):
                rollouts[-1] += environment.step_batch(actions(environment, step))
        for one, other in zip(*rollouts, strict=True):
            np.testing.assert_array_equal(one, other)

    @EVERY
    def test_some_simulations_can_start_anew_while_others_go_on(self, name):
        environment = environments[name].make(2)
        environment.reset_batch()
        before, _, _ = environment.step_batch(actions(environment))
        after = environment.reset_batch(np.array([True, False]))
        self.assertFalse(np.array_equal(before[0], after[0]))
        np.testing.assert_array_equal(before[1], after[1])


if __name__ == "__main__":
    absltest.main()
