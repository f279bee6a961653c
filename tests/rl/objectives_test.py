"""Tests of the policy-gradient objectives against loops over steps."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.core.hessian import derivatives, flatten
from maml_tf.rl import objectives
from maml_tf.rl.inner_objectives import inner_objective, inner_objectives
from maml_tf.rl.policy import Gaussian, kl_divergence, log_probability
from tests.rl import examples


def naive(batch, gaussian, value):
    """Averages `value(ratio, log probability, divergence, advantage)` over the steps that count."""
    total = 0.0
    for i in np.flatnonzero(batch.weights):
        new, old = Gaussian(gaussian.mean[i], gaussian.log_std), Gaussian(batch.mean[i], batch.log_std)
        probability, before = (float(log_probability(g, batch.actions[i])) for g in (new, old))
        divergence = float(kl_divergence(old, new))
        total += value(np.exp(probability - before), probability, divergence, float(batch.advantages[i]))
    return total / np.count_nonzero(batch.weights)


class ObjectivesTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.pure = examples.policy()
        self.params = self.pure.parameters()
        self.batch = examples.batch(self.pure, self.params, shift=0.3, padding=2)
        self.gaussian = self.pure(self.params, self.batch.observations)

    @parameterized.named_parameters(
        ("reinforce", objectives.reinforce, lambda rho, log_p, kl, a: -log_p * a),
        ("likelihood_ratio", objectives.likelihood_ratio, lambda rho, log_p, kl, a: -rho * a),
        (
            "clipped", objectives.ClippedSurrogate(0.1),
            lambda rho, log_p, kl, a: -min(rho * a, min(max(rho, 0.9), 1.1) * a),
        ),
        ("divergence", objectives.mean_divergence, lambda rho, log_p, kl, a: kl),
        ("low_variance_curvature", objectives.low_variance_curvature, lambda rho, log_p, kl, a: -a),
        ("dice", objectives.dice, lambda rho, log_p, kl, a: -a),
    )  # fmt: skip
    def test_equals_the_loop_over_steps(self, objective, value):
        expected = naive(self.batch, self.gaussian, value)
        self.assertNotAlmostEqual(expected, 0.0)
        np.testing.assert_allclose(objective(self.gaussian, self.batch), expected)

    # Under a sampling deviation that was larger, or smaller, the ratio of a far action is 0, or overflows.
    @parameterized.product(
        objective=[
            objectives.reinforce, objectives.likelihood_ratio, objectives.ClippedSurrogate(),
            objectives.mean_divergence, objectives.low_variance_curvature, objectives.dice,
        ],
        shift=[0.3, -0.3],
    )  # fmt: skip
    def test_padding_contributes_nothing(self, objective, shift):
        whole = examples.batch(self.pure, self.params, shift=shift, padding=2)
        padding = whole.weights == 0
        other = whole._replace(
            observations=tf.where(padding[:, None], 1e3, whole.observations),
            actions=tf.where(padding[:, None], 1e3, whole.actions),
            advantages=tf.where(padding, 1e3, whole.advantages),
        )
        values, gradients = [], []
        for batch in (whole, other):
            with tf.GradientTape() as tape:
                tape.watch(self.params)
                values.append(objective(self.pure(self.params, batch.observations), batch))
            gradients.append(tape.gradient(values[-1], self.params))
        np.testing.assert_array_equal(*values)
        for name in self.params:
            np.testing.assert_array_equal(gradients[0][name], gradients[1][name])

    def test_ratio_is_one_and_divergence_zero_at_the_sampling_parameters(self):
        batch = examples.batch(self.pure, self.params)
        gaussian = self.pure(self.params, batch.observations)
        np.testing.assert_array_equal(objectives.ratio(gaussian, batch), np.ones(8))
        self.assertEqual(float(objectives.mean_divergence(gaussian, batch)), 0.0)

    def test_all_losses_have_the_same_gradient_at_the_sampling_parameters(self):
        batch = examples.batch(self.pure, self.params)
        gradients = []
        inner = map(inner_objective, inner_objectives)
        for objective in (*inner, objectives.likelihood_ratio, objectives.ClippedSurrogate()):
            with tf.GradientTape() as tape:
                tape.watch(self.params)
                loss = objective(self.pure(self.params, batch.observations), batch)
            gradients.append(tape.gradient(loss, self.params))
        for other in gradients[1:]:
            for name, gradient in gradients[0].items():
                np.testing.assert_allclose(other[name], gradient, rtol=1e-12, atol=1e-15)

    def derivatives(self, objective, batch, direction):
        """The gradient in the parameters, and its derivative along a direction."""
        value, gradient, product = derivatives(
            lambda params: objective(self.pure(params, batch.observations), batch), self.params
        )
        del value
        return flatten(gradient), flatten(product(direction))

    @parameterized.parameters(
        (objectives.low_variance_curvature, objectives.likelihood_ratio),
        (objectives.dice, examples.products_of_ratios),
    )
    def test_derivatives_are_those_of_ratios_to_the_same_parameters(self, objective, of_ratios):
        # Away from the sampling parameters, which must not matter.
        batch = examples.batch(self.pure, self.params, shift=0.3, padding=1)
        gaussian = self.pure(self.params, batch.observations)
        random = np.random.default_rng(0)
        direction = {name: tf.constant(random.normal(size=value.shape)) for name, value in self.params.items()}
        actual = self.derivatives(objective, batch, direction)
        expected = self.derivatives(of_ratios, batch._replace(mean=gaussian.mean, log_std=gaussian.log_std), direction)
        of_reinforce = self.derivatives(objectives.reinforce, batch, direction)
        np.testing.assert_allclose(actual[0], of_reinforce[0], rtol=1e-9)
        np.testing.assert_allclose(actual[0], expected[0], rtol=1e-9)
        np.testing.assert_allclose(actual[1], expected[1], rtol=1e-9)
        self.assertGreater(np.abs(actual[1] - of_reinforce[1]).max(), 1e-2)

    def test_dice_is_low_variance_curvature_where_rollouts_have_one_step(self):
        direction = {name: tf.ones_like(value) for name, value in self.params.items()}
        for rollout, equal in ((1, True), (2, False)):
            batch = examples.batch(self.pure, self.params, rollout=rollout)
            of_dice, other = (
                self.derivatives(objective, batch, direction)[1]
                for objective in (objectives.dice, objectives.low_variance_curvature)
            )
            self.assertEqual(np.allclose(of_dice, other, rtol=1e-9), equal)

    def test_dice_needs_whole_rollouts(self):
        batch = examples.batch(self.pure, self.params)._replace(elapsed=())
        with self.assertRaisesRegex(ValueError, r"with elapsed.*Received: elapsed=\(\)"):
            objectives.dice(self.pure(self.params, batch.observations), batch)

    def test_a_bad_epsilon_is_refused(self):
        with self.assertRaisesRegex(ValueError, "Received: epsilon=-1"):
            objectives.ClippedSurrogate(-1)


class ExperienceTest(absltest.TestCase):
    def test_weights_make_means_over_the_valid_steps(self):
        rollouts = examples.rollouts()
        batch = objectives.experience(rollouts, rollouts.rewards)
        self.assertEqual(batch.observations.shape, (2, 12, 2))  # A multiple of 2, an eighth of 15 rounded up.
        for task in range(2):
            expected = rollouts.rewards[task][rollouts.valid[task] > 0].mean()
            np.testing.assert_allclose(np.sum(batch.weights[task] * batch.advantages[task]), expected, rtol=1e-5)

    def test_steps_that_do_not_count_are_left_out(self):
        rollouts = examples.rollouts(rows=4, time=20)
        counts = rollouts.valid.sum((1, 2))
        batch = objectives.experience(rollouts, rollouts.rewards)
        # Multiples of an eighth of the 80 steps.
        self.assertEqual(batch.weights.shape, (2, 10 * np.ceil(counts.max() / 10)))
        self.assertLess(batch.weights.shape[1], 80)
        for task in range(2):
            valid, count = rollouts.valid[task] > 0, int(counts[task])
            np.testing.assert_array_equal(batch.observations[task, :count], rollouts.observations[task][valid])
            np.testing.assert_array_equal(batch.actions[task, :count], rollouts.actions[task][valid])
            np.testing.assert_array_equal(batch.mean[task, :count], rollouts.mean[task][valid])
            np.testing.assert_array_equal(batch.advantages[task, :count], rollouts.rewards[task][valid])
            np.testing.assert_array_equal(batch.elapsed[task, :count], rollouts.elapsed[task][valid])
            np.testing.assert_allclose(
                batch.weights[task], np.where(np.arange(batch.weights.shape[1]) < count, 1 / count, 0)
            )

    def test_the_mean_over_blocks_is_the_mean_over_the_task(self):
        rollouts = examples.rollouts(tasks=1, rows=6)
        whole, parts = (objectives.experience(rollouts, rollouts.rewards, blocks) for blocks in (1, 3))
        self.assertEqual(parts.advantages.shape, (3, 10))
        self.assertEqual(parts.log_std.shape, (3, 2))
        np.testing.assert_allclose(
            np.mean(np.sum(parts.weights * parts.advantages, 1)), np.sum(whole.weights * whole.advantages), rtol=1e-5
        )

    def test_the_blocks_of_a_task_come_one_after_another(self):
        rollouts = examples.rollouts(rows=4, ends=False)
        batch = objectives.experience(rollouts, rollouts.rewards, 2)
        np.testing.assert_array_equal(batch.advantages, rollouts.rewards.reshape(4, 10))
        np.testing.assert_array_equal(batch.log_std, rollouts.log_std[[0, 0, 1, 1]])

    def test_bad_blocks_are_refused(self):
        rollouts = examples.rollouts()
        with self.assertRaisesRegex(ValueError, "Received: blocks="):
            objectives.experience(rollouts, rollouts.rewards, 2)

    def test_advantages_of_another_shape_are_refused(self):
        rollouts = examples.rollouts()
        with self.assertRaisesRegex(ValueError, r"of shape \(2, 3, 5\). Received: \(2, 3, 5, 1\)"):
            objectives.experience(rollouts, rollouts.rewards[..., np.newaxis])

    def test_a_task_without_steps_is_refused(self):
        rollouts = examples.rollouts()
        rollouts.valid[1] = 0
        with self.assertRaisesRegex(ValueError, r"Received: none in \[1\]"):
            objectives.experience(rollouts, rollouts.rewards)


if __name__ == "__main__":
    absltest.main()
