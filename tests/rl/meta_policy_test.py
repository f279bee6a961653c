"""Tests of the meta-policy iteration on small 2D navigation."""

import re
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.models import mlp
from maml_tf.rl import sampling
from maml_tf.rl.adaptation import PolicyAdaptation
from maml_tf.rl.environments import PointNavigation
from maml_tf.rl.meta_policy import Estimation, MetaPolicyIteration, Sampler
from maml_tf.rl.objectives import experience
from maml_tf.rl.policy import GaussianPolicy, PurePolicy, gaussian_mlp_policy
from maml_tf.rl.rollouts import estimate_advantages, mean_returns
from maml_tf.rl.sampling import ACTIONS, STATES, TASKS, collect
from maml_tf.rl.trust_region import Step, TrustRegion


def make(inner_steps=1, oracle=False, tasks=4, rollouts=5, seed=3):
    keras.utils.set_random_seed(0)
    environment = PointNavigation(tasks * rollouts, horizon=20, task_in_observation=oracle)
    pure = PurePolicy(gaussian_mlp_policy(4 if oracle else 2, 2, hidden=(16,)))
    adaptation = PolicyAdaptation(pure, 0.1)
    sampler = Sampler(environment, adaptation, Estimation())
    outer = TrustRegion(adaptation.problem(), 0.02)
    return pure, MetaPolicyIteration(sampler, outer, tasks=tasks, inner_steps=inner_steps, seed=seed)


def no_step():
    """An outer step that changes nothing and remembers the blocks."""
    return mock.Mock(side_effect=lambda params, blocks: Step(params, *[tf.constant(0.0)] * 6))


class MetaPolicyIterationTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.pure, cls.iteration = make(tasks=8, rollouts=10)  # One compilation for all tests.
        cls.start = cls.pure.parameters()

    def test_meta_training_improves_the_adapted_policy(self):
        params, returns = self.start, []
        for number in range(12):
            params, logs = self.iteration(params, number)
            returns.append(logs["return"])
        self.assertGreater(np.mean(returns[-3:]), np.mean(returns[:3]) + 1.0)

    def test_tasks_stay_within_an_iteration_and_are_fresh_in_the_next(self):
        seen = []
        environment = self.iteration.sampler.environment
        original = environment.set_tasks
        environment.set_tasks = lambda tasks: (seen.append(tasks), original(tasks))
        self.addCleanup(setattr, environment, "set_tasks", original)
        for number in range(2):
            self.iteration(self.start, number)
        self.assertLen(seen, 2)
        self.assertEqual(seen[0].shape, (8, 2))
        self.assertFalse(np.array_equal(*seen))

    def test_is_a_function_of_parameters_and_number(self):
        first, logs = self.iteration(self.start, 5)
        self.iteration(first, 6)
        again, logs_again = self.iteration(self.start, 5)
        for name, value in first.items():
            np.testing.assert_array_equal(value, again[name])
        self.assertEqual(logs["return"], logs_again["return"])

    def test_every_purpose_has_random_numbers_of_its_own(self):
        with mock.patch.object(np.random, "default_rng", wraps=np.random.default_rng) as made:
            MetaPolicyIteration(self.iteration.sampler, no_step(), tasks=8, seed=3)(self.start, 5)
        seeds = [call.args[0] for call in made.call_args_list]
        of_phases = [(3, 5, step, purpose) for step in range(2) for purpose in (STATES, ACTIONS)]
        self.assertEqual(seeds, [(3, 5, TASKS), *of_phases])

    def test_the_outer_loss_is_of_the_policy_adapted_to_one_phase_after_the_other(self):
        adaptation = PolicyAdaptation(self.pure, [0.1, 0.3])
        sampler, outer = Sampler(self.iteration.sampler.environment, adaptation, Estimation()), no_step()
        MetaPolicyIteration(sampler, outer, tasks=8, inner_steps=2)(self.start, 0)
        _, blocks = outer.call_args.args
        self.assertLen(blocks.inner, 2)
        for task in (0, 7):
            inner, last, *_ = tf.nest.map_structure(lambda leaf, task=task: leaf[task], tuple(blocks))
            for count, phase in enumerate((*inner, last)):
                adapted = self.pure(adaptation.adapt(self.start, inner[:count]), phase.observations)
                np.testing.assert_allclose(adapted.mean, phase.mean, rtol=1e-4, atol=1e-5)

    def test_a_sampler_estimates_as_it_is_told(self):
        sampler = Sampler(
            self.iteration.sampler.environment, self.iteration.sampler.adaptation, Estimation(0.9, 0.5, budget=True)
        )
        with mock.patch.object(sampling, "collect", wraps=collect) as collected:
            [phase], _ = sampler.adapt(self.start, sampler.environment.sample_tasks(8, 1), 0, (1,))
        self.assertTrue(collected.call_args.kwargs["budget"])
        expected = estimate_advantages(phase.rollouts, 0.9, 0.5)
        advantages = experience(phase.rollouts, expected.values).advantages
        np.testing.assert_array_equal(phase.batch.advantages, advantages)
        self.assertEqual(phase.baseline_error, expected.baseline_error.mean())

    def test_without_inner_steps_each_simulation_has_a_task_of_its_own(self):
        outer = no_step()
        MetaPolicyIteration(self.iteration.sampler, outer, tasks=8, inner_steps=0)(self.start, 0)
        self.assertLen(np.unique(self.iteration.sampler.environment.tasks, axis=0), 80)
        _, blocks = outer.call_args.args
        self.assertEmpty(blocks.inner)
        self.assertEqual(blocks.outer.weights.shape[0], 8)

    def test_measurements_are_those_of_the_phases(self):
        environment = self.iteration.sampler.environment
        self.enter_context(mock.patch.object(environment, "diverged", 5))
        phases = []
        keep = mock.Mock(side_effect=lambda *given, **options: phases.append(collect(*given, **options)) or phases[-1])
        with mock.patch.object(sampling, "collect", keep):
            _, logs = self.iteration(self.start, 0)
        for step, rollouts in enumerate(phases):
            self.assertEqual(logs[f"return_step_{step}"], mean_returns(rollouts).mean())
        self.assertEqual(logs["control_steps"], phases[0].steps + phases[1].steps)
        entropy = np.sum(phases[1].log_std + 0.5 * np.log(2 * np.pi * np.e), axis=1).mean()
        self.assertAlmostEqual(logs["entropy"], entropy, places=5)
        self.assertEqual(logs["episode_steps"], phases[1].steps / 80)
        self.assertEqual(logs["diverged"], 0)

    def test_the_outcome_of_a_task_is_its_mean_reward_beside_the_others(self):
        outer, phases = no_step(), []
        keep = mock.Mock(side_effect=lambda *given, **options: phases.append(collect(*given, **options)) or phases[-1])
        with mock.patch.object(sampling, "collect", keep):
            MetaPolicyIteration(self.iteration.sampler, outer, tasks=8)(self.start, 0)
        rewards = [task[valid > 0] for task, valid in zip(phases[1].rewards, phases[1].valid, strict=True)]
        means = np.array([task.mean() for task in rewards])
        expected = (means - means.mean()) / np.concatenate(rewards).std()
        self.assertGreater(np.abs(expected).max(), 0.1)
        np.testing.assert_allclose(outer.call_args.args[1].outcome, expected, rtol=1e-4, atol=1e-5)

    def test_what_the_outer_step_carries_is_the_iterations_state(self):
        self.assertEqual(self.iteration.state, {})
        outer = mock.Mock(state={"moments": 1})
        self.assertEqual(MetaPolicyIteration(self.iteration.sampler, outer, tasks=8).state, {"moments": 1})

    def test_measurements_are_there_and_finite(self):
        _, logs = self.iteration(self.start, 0)
        self.assertContainsSubset(
            {
                "return_step_0", "return_step_1", "return", "kl", "surrogate", "line_search_steps", "entropy",
                "baseline_error", "control_steps_per_second", "seconds_sampling", "seconds_update",
            },
            set(logs),
        )  # fmt: skip
        self.assertTrue(all(np.isfinite(value) for value in logs.values()), logs)
        self.assertEqual(logs["return"], logs["return_step_1"])
        self.assertLessEqual(logs["control_steps"], 2 * 80 * 20)
        self.assertLessEqual(logs["kl"], 0.02)
        self.assertLess(logs["surrogate"], logs["surrogate_before"])

    def test_several_inner_steps_sample_with_the_parameters_of_each_task(self):
        sampler = self.iteration.sampler
        tasks = sampler.environment.sample_tasks(8, 1)
        phases, path = sampler.adapt(self.start, tasks, 2, (1,))
        self.assertLen(phases, 3)
        self.assertLen(path, 2)
        for phase, params in zip(phases[1:], path, strict=True):
            for task in (0, 7):
                of_task = {name: value[task] for name, value in params.items()}
                expected = self.pure(of_task, phase.batch.observations[task])
                np.testing.assert_allclose(phase.batch.mean[task], expected.mean, rtol=1e-4, atol=1e-5)
                np.testing.assert_allclose(phase.batch.log_std[task], expected.log_std)

    def test_a_budget_of_steps_is_possible(self):
        sampler = Sampler(
            self.iteration.sampler.environment, self.iteration.sampler.adaptation, Estimation(budget=True)
        )
        _, logs = MetaPolicyIteration(sampler, self.iteration.outer, tasks=8)(self.start, 0)
        self.assertTrue(np.isfinite(logs["return"]))

    def test_a_policy_of_other_sizes_than_the_environments(self):
        # One action would be broadcast over both.
        for sizes in ((2, 1), (3, 2)):
            adaptation = PolicyAdaptation(PurePolicy(gaussian_mlp_policy(*sizes, hidden=(4,))), 0.1)
            with self.assertRaisesRegex(ValueError, re.escape(f"sizes (2, 2). Received: sizes {sizes}")):
                Sampler(PointNavigation(4, horizon=2), adaptation, Estimation())

    def test_no_inner_step_is_plain_policy_optimisation_that_improves(self):
        pure, iteration = make(inner_steps=0, oracle=True, tasks=4, rollouts=25)
        params, returns = pure.parameters(), []
        for number in range(12):
            params, logs = iteration(params, number)
            returns.append(logs["return"])
        self.assertGreater(np.mean(returns[-3:]), np.mean(returns[:3]) + 1.0)

    def test_a_policy_in_float64_trains(self):
        environment = PointNavigation(6, horizon=5)
        pure = PurePolicy(GaussianPolicy(mlp((2,), (4,), 2, dtype="float64")))
        adaptation = PolicyAdaptation(pure, 0.1)
        outer = TrustRegion(adaptation.problem(), 0.02)
        iteration = MetaPolicyIteration(Sampler(environment, adaptation, Estimation()), outer, tasks=2)
        params, logs = iteration(pure.parameters(), 0)
        self.assertEqual({value.dtype for value in params.values()}, {tf.float64})
        self.assertTrue(np.isfinite(logs["surrogate"]))

    def test_shares_are_between_0_and_1(self):
        for name, value in (("discount", 1.5), ("gae_lambda", -1.0)):
            with self.assertRaisesRegex(ValueError, f"Received: {name}={value}"):
                Estimation(**{name: value})

    def test_bad_numbers_are_refused(self):
        with self.assertRaisesRegex(ValueError, "tasks to divide the 80 simulations. Received: tasks=3"):
            MetaPolicyIteration(self.iteration.sampler, self.iteration.outer, tasks=3)
        with self.assertRaisesRegex(ValueError, "inner_steps=-1"):
            MetaPolicyIteration(self.iteration.sampler, self.iteration.outer, tasks=8, inner_steps=-1)


if __name__ == "__main__":
    absltest.main()
