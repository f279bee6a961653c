"""Tests of the collection of rollouts."""

import re
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.distribute import bounds
from maml_tf.rl.environments import PointNavigation, TaskEnvironment, UniformTasks
from maml_tf.rl.environments.locomotion import HalfCheetah
from maml_tf.rl.policy import PurePolicy, gaussian_mlp_policy
from maml_tf.rl.rollouts import mean_returns, success_rates
from maml_tf.rl.sampling import Actor, ProcessCollector, collect, joined


class Countdown(TaskEnvironment):
    """Simulation i ends after `lengths[i]` steps; observes its steps; its reward is 1, its task the action's scale."""

    def __init__(self, lengths, horizon=6):
        self.lengths, self.count = np.array(lengths), np.zeros(len(lengths))
        super().__init__(len(lengths), UniformTasks([0.0], [1.0]), observation_size=1, action_size=1, horizon=horizon)

    def _start(self, simulations):
        self.count[simulations] = 0

    def _advance(self, actions, running):
        self.count += running
        return np.ones(len(self.count)), self.count >= self.lengths

    def _observe(self):
        return self.count[:, None]


class Succeeding(Countdown):
    """Simulation i succeeds in step i + 1 of a rollout, and in no other."""

    def _advance(self, actions, running):
        result = super()._advance(actions, running)
        self._succeed(running & (self.count == self.share[0] + np.arange(len(self.count)) + 1))
        return result


def zero(observations):
    return np.zeros((len(observations), 1), np.float32)


class CollectTest(parameterized.TestCase):
    def collect(self, lengths, tasks=2, budget=False, seed=0, act=zero, log_std=None):
        environment = Countdown(lengths)
        environment.set_tasks(np.ones((tasks, 1)))
        log_std = np.zeros((tasks, 1), np.float32) if log_std is None else log_std
        return collect(environment, act, log_std, np.random.default_rng(seed), budget=budget)

    def test_rollouts_that_end_are_padded(self):
        rollouts = self.collect([2, 6, 9, 1])
        np.testing.assert_array_equal(rollouts.valid.sum(2), [[2, 6], [6, 1]])
        np.testing.assert_array_equal(rollouts.rewards * (1 - rollouts.valid), np.zeros((2, 2, 6)))
        np.testing.assert_array_equal(rollouts.observations[0, 1, :, 0], np.arange(6))
        np.testing.assert_array_equal(rollouts.elapsed[0, 1], np.arange(6))
        np.testing.assert_array_equal(mean_returns(rollouts), [4.0, 3.5])

    @parameterized.parameters((1, 1), (2, 2), (2,))
    def test_deviations_of_another_shape_are_an_error(self, *shape):
        received = re.escape(str(shape))
        with self.assertRaisesRegex(ValueError, rf"log_std of each .* of shape \(2, 1\). Received: {received}"):
            self.collect([2, 6, 9, 1], log_std=np.zeros(shape, np.float32))

    @parameterized.parameters((4,), (1, 1), (4, 2))
    def test_means_of_another_shape_are_an_error(self, *shape):
        received = re.escape(str(shape))
        with self.assertRaisesRegex(ValueError, rf"means of all .* of shape \(4, 1\). Received: {received}"):
            self.collect([2, 6, 9, 1], act=lambda observations: np.zeros(shape, np.float32))

    def test_all_ended_stops_early(self):
        act = mock.Mock(side_effect=zero)
        rollouts = self.collect([1, 2], tasks=1, act=act)
        self.assertEqual(act.call_count, 2)
        np.testing.assert_array_equal(rollouts.valid[0], [[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]])

    def test_a_budget_of_steps_restarts_and_drops_what_it_cuts_short(self):
        rollouts = self.collect([2, 4, 6, 9], budget=True)
        np.testing.assert_array_equal(rollouts.elapsed[0], [[0, 1, 0, 1, 0, 1], [0, 1, 2, 3, 0, 1]])
        np.testing.assert_array_equal(rollouts.valid[0], [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])
        # Those that reach the horizon are done.
        np.testing.assert_array_equal(rollouts.valid[1], np.ones((2, 6)))
        np.testing.assert_array_equal(rollouts.observations[0, 0, :, 0], [0, 1, 0, 1, 0, 1])
        np.testing.assert_array_equal(mean_returns(rollouts), [10 / 4, 6])

    @parameterized.parameters(
        # A rollout that succeeds in its step 3 does not in 2, nor after its end.
        (False, [[1, 1], [1, 0]], [1.0, 0.5]),
        # Rollouts of 2 steps: all three succeed; one of 4, cut short thereafter; one of 6; those of 3 never do.
        (True, [[1, 1], [1, 0]], [1.0, 1 / 3]),
    )
    def test_success_is_of_the_rollout_so_far(self, budget, any_step, rates):
        environment = Succeeding([2, 4, 6, 3])
        environment.set_tasks(np.ones((2, 1)))
        rollouts = collect(environment, zero, np.zeros((2, 1), np.float32), np.random.default_rng(0), budget=budget)
        np.testing.assert_array_equal((rollouts.success & (rollouts.valid > 0)).any(2), any_step)
        np.testing.assert_array_equal(rollouts.success[1, 0], [False, False, True, True, True, True])
        if budget:
            np.testing.assert_array_equal(rollouts.success[0, 1], [0, 1, 1, 1, 0, 1])
        np.testing.assert_allclose(success_rates(rollouts), rates)
        self.assertIsNone(self.collect([2, 4, 6, 9]).success)

    def test_actions_are_drawn_around_the_mean_with_the_tasks_deviation(self):
        log_std = np.log(np.array([[0.5], [2.0]], np.float32))
        rollouts = self.collect([6] * 800, act=lambda o: o + 1, log_std=log_std)
        np.testing.assert_array_equal(rollouts.mean, rollouts.observations + 1)
        noise = (rollouts.actions - rollouts.mean).reshape(2, -1)
        np.testing.assert_allclose(noise.mean(1), 0.0, atol=0.15)
        np.testing.assert_allclose(noise.std(1), [0.5, 2.0], rtol=0.05)
        np.testing.assert_array_equal(rollouts.log_std, log_std)

    def test_the_environment_gets_the_actions_that_were_drawn(self):
        environment = Countdown([6] * 4)
        environment.set_tasks(np.ones((2, 1)))
        with mock.patch.object(environment, "step_batch", wraps=environment.step_batch) as step:
            rollouts = collect(environment, zero, np.zeros((2, 1), np.float32), np.random.default_rng(0))
        given = np.stack([call.args[0] for call in step.call_args_list], axis=1)
        np.testing.assert_array_equal(rollouts.actions, given.reshape(2, 2, 6, 1))
        self.assertGreater(np.abs(given).max(), 1.0)

    def test_is_a_function_of_the_random_numbers(self):
        one, same, other = (self.collect([3, 6], tasks=1, seed=seed).actions for seed in (1, 1, 2))
        np.testing.assert_array_equal(one, same)
        self.assertFalse(np.array_equal(one, other))


class ShareTest(parameterized.TestCase):
    """Shares of the tasks, each collected alone, against all of them together; what they have in common is the seed."""

    def assert_shares_equal(self, make, tasks, each, shares, policy, own=False, budget=False):
        whole = ProcessCollector(make(range(tasks * each)), policy, budget)
        drawn = whole.environment.sample_tasks(tasks, seed=5)
        whole.environment.set_tasks(drawn)
        params = policy.parameters()
        if own:
            random = np.random.default_rng(0)
            params = {
                name: value + 0.1 * random.normal(size=(tasks, *value.shape)).astype(np.float32)
                for name, value in params.items()
            }
        parts = []
        for number in range(shares):
            begin, end = bounds(tasks, (number, shares))
            collector = ProcessCollector(make(range(begin * each, end * each)), policy, budget)
            parts.append(collector.of_share(params, drawn, (number, shares), (1, 2), own=own))
        expected = whole(params, (1, 2), own=own)
        for name, leaf in joined(parts, budget)._asdict().items():
            np.testing.assert_array_equal(leaf, getattr(expected, name), name)
        return expected

    @parameterized.product(shares=(2, 3, 20), own=(False, True))
    def test_shares_of_the_papers_policy_equal_one_process(self, shares, own):
        # Without the rows of all, 10 of 20 tasks have other last bits than 20; 1 task with own parameters than 2.
        def make(simulations):
            return PointNavigation(len(simulations), horizon=4)

        self.assert_shares_equal(make, 20, 20, shares, PurePolicy(gaussian_mlp_policy(2, 2)), own)

    @parameterized.parameters(2, 3)
    def test_random_initial_states_are_those_among_all(self, shares):
        def make(simulations):
            return HalfCheetah(len(simulations), horizon=3, threads=1)

        rollouts = self.assert_shares_equal(make, 3, 2, shares, PurePolicy(gaussian_mlp_policy(20, 6, (4,))))
        self.assertLen(np.unique(rollouts.observations[..., 0, 0]), 6)

    def test_success_is_that_among_all(self):
        def make(simulations):
            return Succeeding([[4, 4, 2, 2][number] for number in simulations])

        rollouts = self.assert_shares_equal(make, 2, 2, 2, PurePolicy(gaussian_mlp_policy(1, 1, (4,))))
        self.assertTrue(rollouts.success.any())

    @parameterized.product(budget=(False, True))
    def test_a_share_whose_rollouts_end_early_is_padded_as_among_all(self, budget):
        lengths = [1, 2, 1, 1, 4, 3]  # The last share alone goes on after the second step, none after the fourth.

        def make(simulations):
            return Countdown([lengths[number] for number in simulations])

        policy = PurePolicy(gaussian_mlp_policy(1, 1, (4,)))
        rollouts = self.assert_shares_equal(make, 3, 2, 3, policy, budget=budget)
        if not budget:
            self.assertTrue(rollouts.mean[0, 0, 3].any())
            self.assertFalse(rollouts.mean[..., 4:, :].any())


class ActorTest(absltest.TestCase):
    def test_each_task_acts_with_its_own_parameters(self):
        pure = PurePolicy(gaussian_mlp_policy(3, 2, hidden=(5,)))
        random = np.random.default_rng(0)
        of_tasks = [
            {
                name: value + random.normal(size=value.shape).astype(np.float32)
                for name, value in pure.parameters().items()
            }
            for _ in range(2)
        ]
        stacked = tf.nest.map_structure(lambda *values: tf.stack(values), *of_tasks)
        observations = random.normal(size=(8, 3)).astype(np.float32)
        actor = Actor(pure)
        act, log_std = actor.own(stacked)
        means = act(observations)
        for task, params in enumerate(of_tasks):
            expected = pure(params, tf.constant(observations[4 * task : 4 * task + 4]))
            np.testing.assert_allclose(means[4 * task : 4 * task + 4], expected.mean, rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(log_std[task], expected.log_std)
            shared, log_std_of_all = actor.shared(params, 2)
            np.testing.assert_allclose(
                shared(observations)[4 * task : 4 * task + 4], expected.mean, rtol=1e-5, atol=1e-6
            )
            np.testing.assert_array_equal(log_std_of_all, np.stack([expected.log_std] * 2))


if __name__ == "__main__":
    absltest.main()
