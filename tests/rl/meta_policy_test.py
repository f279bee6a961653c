"""Tests of the meta-policy iteration on small 2D navigation."""

import keras
import numpy as np
from absl.testing import absltest

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.rl.adaptation import PolicyAdaptation
from maml_tf.rl.environments import PointNavigation
from maml_tf.rl.meta_policy import Estimation, MetaPolicyIteration, Sampler
from maml_tf.rl.policy import PurePolicy, gaussian_mlp_policy
from maml_tf.rl.trust_region import TrustRegion


def make(inner_steps=1, oracle=False, tasks=4, rollouts=5, seed=3, budget=False):
    keras.utils.set_random_seed(0)
    environment = PointNavigation(tasks * rollouts, horizon=20, task_in_observation=oracle)
    pure = PurePolicy(gaussian_mlp_policy(4 if oracle else 2, 2, hidden=(16,)))
    adaptation = PolicyAdaptation(pure, 0.1)
    sampler = Sampler(environment, adaptation, Estimation(budget=budget))
    outer = TrustRegion(adaptation.problem(), 0.02)
    return pure, MetaPolicyIteration(sampler, outer, tasks=tasks, inner_steps=inner_steps, seed=seed)


class MetaPolicyIterationTest(absltest.TestCase):
    def test_pre_and_post_update_rollouts_are_of_the_same_tasks_and_fresh_ones_each_iteration(self):
        pure, iteration = make()
        seen = []
        original = iteration.sampler.environment.set_tasks
        iteration.sampler.environment.set_tasks = lambda tasks: (seen.append(tasks), original(tasks))
        params = pure.parameters()
        for number in range(2):
            params, _ = iteration(params, number)
        self.assertLen(seen, 2)  # Once an iteration: before and after the update they stay.
        self.assertEqual(seen[0].shape, (4, 2))
        self.assertFalse(np.array_equal(*seen))

    def test_is_a_function_of_parameters_and_number(self):
        pure, iteration = make()
        params = pure.parameters()
        for number in range(3):
            before = params
            params, _ = iteration(params, number)
        _, again = make()
        repeated, _ = again(before, 2)
        for name, value in params.items():
            np.testing.assert_array_equal(value, repeated[name])

    def test_measurements_are_there_and_finite(self):
        pure, iteration = make(inner_steps=2)
        _, logs = iteration(pure.parameters(), 0)
        self.assertContainsSubset(
            {
                "return_step_0", "return_step_1", "return_step_2", "return", "kl", "surrogate", "line_search_steps",
                "entropy", "baseline_error", "control_steps_per_second", "seconds_sampling", "seconds_update",
            },
            set(logs),
        )  # fmt: skip
        self.assertTrue(all(np.isfinite(value) for value in logs.values()), logs)
        self.assertEqual(logs["return"], logs["return_step_2"])
        self.assertLessEqual(logs["control_steps"], 3 * 20 * 20)
        self.assertLessEqual(logs["kl"], 0.02)

    def test_no_inner_step_is_plain_policy_optimisation_that_improves(self):
        pure, iteration = make(inner_steps=0, oracle=True, tasks=4, rollouts=25)
        params, returns = pure.parameters(), []
        for number in range(12):
            params, logs = iteration(params, number)
            returns.append(logs["return"])
        self.assertGreater(np.mean(returns[-3:]), np.mean(returns[:3]) + 1.0)

    def test_meta_training_improves_the_adapted_policy(self):
        pure, iteration = make(tasks=8, rollouts=10)
        params, returns = pure.parameters(), []
        for number in range(12):
            params, logs = iteration(params, number)
            returns.append(logs["return"])
        self.assertGreater(np.mean(returns[-3:]), np.mean(returns[:3]) + 1.0)

    def test_a_budget_of_steps_is_possible(self):
        pure, iteration = make(budget=True)
        _, logs = iteration(pure.parameters(), 0)
        self.assertTrue(np.isfinite(logs["return"]))

    def test_bad_numbers_are_refused(self):
        _, iteration = make()
        with self.assertRaisesRegex(ValueError, "tasks to divide the 20 simulations. Received: tasks=3, inner_steps=1"):
            MetaPolicyIteration(iteration.sampler, iteration.outer, tasks=3)


if __name__ == "__main__":
    absltest.main()
