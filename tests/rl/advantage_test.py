"""Tests of returns, advantages and the baseline against slow versions written from their equations."""

import numpy as np
from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.rl import rollouts as advantage
from tests.rl import examples


def rows_of(rollouts):
    """Yields the indices of each rollout's steps: (task, row, times)."""
    for task, row in np.ndindex(*rollouts.valid.shape[:2]):
        times = []
        for time in range(rollouts.valid.shape[2]):
            if not rollouts.valid[task, row, time]:
                break
            if rollouts.elapsed[task, row, time] == 0 and times:
                yield task, row, times
                times = []
            times.append(time)
        yield task, row, times


def two_rollouts_a_row(seed=0):
    example = examples.rollouts(seed, time=7)
    elapsed = np.tile(np.array([0, 1, 2, 0, 1, 2, 3], np.int32), (2, 3, 1))
    return example._replace(elapsed=elapsed)


def naive_returns(rollouts, discount):
    """Sums each step's discounted rewards to the end of its rollout."""
    returns = np.zeros(rollouts.rewards.shape)
    for task, row, times in rows_of(rollouts):
        for i, time in enumerate(times):
            rewards = rollouts.rewards[task, row, times[i:]].astype(np.float64)
            returns[task, row, time] = sum(discount**later * reward for later, reward in enumerate(rewards))
    return returns


class AdvantageTest(parameterized.TestCase):
    @parameterized.product(discount=[1.0, 0.9], gae_lambda=[0.0, 0.7, 1.0], several=[False, True])
    def test_equals_the_sum_of_the_equation(self, discount, gae_lambda, several):
        rollouts = two_rollouts_a_row() if several else examples.rollouts()
        baseline = np.random.default_rng(1).normal(size=rollouts.rewards.shape)
        expected = np.zeros(rollouts.rewards.shape)
        for task, row, times in rows_of(rollouts):
            values = [*baseline[task, row, times], 0.0]
            deltas = [
                rollouts.rewards[task, row, time] + discount * values[i + 1] - values[i] for i, time in enumerate(times)
            ]
            for i, time in enumerate(times):
                expected[task, row, time] = sum(
                    (discount * gae_lambda) ** later * deltas[i + later] for later in range(len(times) - i)
                )
        actual = advantage.generalized_advantages(rollouts, baseline, discount, gae_lambda)
        np.testing.assert_allclose(actual, expected, atol=1e-12)

    def test_with_lambda_one_it_is_the_return_minus_the_baseline(self):
        rollouts = two_rollouts_a_row()
        baseline = np.random.default_rng(1).normal(size=rollouts.rewards.shape)
        returns = naive_returns(rollouts, 0.9)
        expected = (returns - baseline) * rollouts.valid
        np.testing.assert_allclose(advantage.generalized_advantages(rollouts, baseline, 0.9), expected, atol=1e-12)

    def test_baseline_equals_least_squares(self):
        random = np.random.default_rng(1)
        x, y = random.normal(size=(60, 8)), random.normal(size=60)
        # The penalty as further rows of the least squares.
        x_more = np.vstack([x, np.sqrt(1e-5) * np.eye(8)])
        weights = np.linalg.lstsq(x_more, np.concatenate([y, np.zeros(8)]), rcond=None)[0]
        np.testing.assert_allclose(advantage.fit_baseline(x, y), x @ weights, atol=1e-9)

    def test_advantages_are_from_least_squares_over_the_valid_steps(self):
        rollouts = examples.rollouts(rows=20, time=6)
        actual = advantage.estimate_advantages(rollouts, discount=0.9).values
        returns = naive_returns(rollouts, 0.9)
        features = advantage.baseline_features(rollouts.observations, rollouts.elapsed)
        for task in range(2):
            valid = rollouts.valid[task] > 0
            x, y = features[task][valid], returns[task][valid]
            # The penalty as further rows of the least squares.
            x_more = np.vstack([x, np.sqrt(1e-5) * np.eye(x.shape[1])])
            weights = np.linalg.lstsq(x_more, np.concatenate([y, np.zeros(x.shape[1])]), rcond=None)[0]
            left = y - x @ weights
            np.testing.assert_allclose(actual[task][valid], (left - left.mean()) / left.std(), atol=1e-6)
            np.testing.assert_array_equal(actual[task][~valid], 0.0)

    def test_features_are_those_of_the_specification(self):
        rollouts = examples.rollouts(tasks=1, rows=1, time=3, size=2, ends=False)._replace(
            observations=np.array([[[[1, -20], [0.5, 2], [3, 4]]]], np.float32)
        )
        np.testing.assert_allclose(
            advantage.baseline_features(rollouts.observations, rollouts.elapsed)[0, 0, :2],
            [[1, -10, 1, 100, 0, 0, 0, 1], [0.5, 2, 0.25, 4, 0.01, 1e-4, 1e-6, 1]],
        )

    def test_a_singular_problem_is_solved_with_a_larger_ridge(self):
        predicted = advantage.fit_baseline(np.ones((4, 2)) * 1e6, np.full(4, 3.0))
        np.testing.assert_allclose(predicted, 3.0, rtol=1e-3)

    @parameterized.parameters((np.nan, 0.0), (1.0, np.nan))
    def test_numbers_that_are_not_finite_are_refused(self, feature, target):
        with self.assertRaisesRegex(ValueError, "Expected finite observations and returns"):
            advantage.fit_baseline(np.full((4, 2), feature), np.full(4, target))

    def test_standardised_has_mean_zero_and_deviation_one_in_each_task(self):
        rollouts = examples.rollouts()
        values = advantage.standardized(rollouts.rewards.astype(np.float64) * 7 + 3, rollouts.valid)
        for task in range(2):
            valid = values[task][rollouts.valid[task] > 0]
            self.assertAlmostEqual(valid.mean(), 0.0)
            self.assertAlmostEqual(valid.std(), 1.0, places=6)
        np.testing.assert_array_equal(values[rollouts.valid == 0], 0.0)

    def test_rewards_that_are_all_alike_and_a_task_without_steps_have_advantages_of_zero(self):
        rollouts = examples.rollouts()
        rollouts.rewards[0] = 0.0
        rollouts.valid[1] = 0.0
        estimated = advantage.estimate_advantages(rollouts)
        np.testing.assert_array_equal(estimated.values, np.zeros(rollouts.valid.shape))
        np.testing.assert_array_equal(estimated.baseline_error, [0.0, 0.0])

    def test_lambda_is_that_of_the_advantages_alone(self):
        rollouts = two_rollouts_a_row()
        one, other = (advantage.estimate_advantages(rollouts, 0.9, gae_lambda) for gae_lambda in (1.0, 0.3))
        self.assertGreater(np.abs(one.values - other.values).max(), 0.1)
        np.testing.assert_array_equal(one.baseline_error, other.baseline_error)

    def test_padding_contributes_nothing(self):
        rollouts = examples.rollouts()
        padding = rollouts.valid == 0
        self.assertTrue(padding.any())
        other = rollouts._replace(
            observations=np.where(padding[..., None], 9.0, rollouts.observations),
            rewards=np.where(padding, -50.0, rollouts.rewards),
        )
        first, second = (advantage.estimate_advantages(r) for r in (rollouts, other))
        np.testing.assert_allclose(first.values, second.values, atol=1e-12)
        np.testing.assert_allclose(first.baseline_error, second.baseline_error)

    def test_tasks_do_not_mix(self):
        rollouts = examples.rollouts()
        alone = type(rollouts)(*(None if leaf is None else leaf[1:] for leaf in rollouts))
        both, one = (advantage.estimate_advantages(r) for r in (rollouts, alone))
        np.testing.assert_allclose(both.values[1:], one.values, atol=1e-12)

    def test_baseline_error_is_the_share_of_variance_left(self):
        rollouts = examples.rollouts(ends=False)
        # Returns of 1, 0, 0, ... are a polynomial of the time to no useful degree, a constant reward's are one.
        constant = rollouts._replace(rewards=np.ones_like(rollouts.rewards))
        np.testing.assert_array_less(advantage.estimate_advantages(constant, discount=1.0).baseline_error, 1e-3)
        noise = advantage.estimate_advantages(rollouts, discount=0.0).baseline_error
        self.assertTrue(np.all((noise > 0.01) & (noise < 1.0)), noise)


if __name__ == "__main__":
    absltest.main()
