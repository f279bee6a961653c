"""Tests of diagonal Gaussians against NumPy, TensorFlow Probability and automatic differentiation."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest

from tests.support import with_rl  # noqa: F401

# isort: split
import tensorflow_probability as tfp

from maml_tf.rl import policy as gaussians
from maml_tf.rl.policy import Gaussian


def example(seed, log_std_shape=(3,)):
    random = np.random.default_rng(seed)
    return Gaussian(tf.constant(random.normal(size=(4, 3))), tf.constant(random.normal(size=log_std_shape)))


def as_distribution(gaussian):
    return tfp.distributions.MultivariateNormalDiag(gaussian.mean, tf.exp(gaussian.log_std))


class GaussianTest(absltest.TestCase):
    def test_log_probability_equals_the_density(self):
        gaussian, actions = example(0), example(1).mean
        expected = np.zeros(4)
        for i in range(4):
            for mean, log_std, action in zip(gaussian.mean[i], gaussian.log_std, actions[i], strict=True):
                std = np.exp(log_std)
                density = np.exp(-((action - mean) ** 2) / (2 * std**2)) / np.sqrt(2 * np.pi) / std
                expected[i] += np.log(density)
        np.testing.assert_allclose(gaussians.log_probability(gaussian, actions), expected)
        np.testing.assert_allclose(as_distribution(gaussian).log_prob(actions), expected)

    def test_divergence_equals_the_integral(self):
        first, second = Gaussian(tf.constant([0.3]), tf.constant([-0.2])), Gaussian(tf.constant([-0.5]), tf.zeros([1]))
        x = np.linspace(-6, 6, 100_001)[:, None]
        p, q = (np.exp(gaussians.log_probability(g, tf.constant(x, tf.float32))) for g in (first, second))
        expected = np.sum(p * np.log(p / q)) * (x[1, 0] - x[0, 0])
        np.testing.assert_allclose(gaussians.kl_divergence(first, second), expected, rtol=1e-4)

    def test_divergence_and_entropy_equal_those_of_tensorflow_probability(self):
        first, second = example(0), example(1, (4, 3))
        np.testing.assert_allclose(
            gaussians.kl_divergence(first, second), as_distribution(first).kl_divergence(as_distribution(second))
        )
        np.testing.assert_allclose(gaussians.entropy(second), as_distribution(second).entropy())

    def test_divergence_is_zero_of_itself_alone(self):
        first, second = example(0), example(1)
        np.testing.assert_allclose(gaussians.kl_divergence(first, first), 0.0, atol=1e-15)
        self.assertGreater(np.min(gaussians.kl_divergence(first, second)), 0.0)

    def test_fisher_matrix_is_the_divergence_hessian(self):
        gaussian, tangent = example(0), example(1)
        with tf.GradientTape() as outer:
            outer.watch(gaussian)
            with tf.GradientTape() as inner:
                inner.watch(gaussian)
                fixed = tf.nest.map_structure(tf.stop_gradient, gaussian)
                divergence = tf.reduce_sum(gaussians.kl_divergence(fixed, gaussian))
            along = [
                tf.reduce_sum(g * t) for g, t in zip(inner.gradient(divergence, list(gaussian)), tangent, strict=True)
            ]
        expected_mean, expected_log_std = outer.gradient(along, list(gaussian))
        actual = gaussians.fisher(gaussian, tangent)
        np.testing.assert_allclose(actual.mean, expected_mean)
        # Four states share the standard deviation.
        np.testing.assert_allclose(4 * actual.log_std, expected_log_std)


if __name__ == "__main__":
    absltest.main()
