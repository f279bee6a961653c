"""Products with Hessians, and conjugate gradient."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest

from maml_tf.core.hessian import conjugate_gradient, derivatives


def positive_definite(size):
    factor = np.random.default_rng(0).normal(size=(size, size))
    return factor @ factor.T + np.eye(size)


class DerivativesTest(absltest.TestCase):
    def test_products_are_the_hessians_columns(self):
        matrix = positive_definite(3)
        at = {"a": tf.constant([0.5, -1.0], tf.float64), "b": tf.constant([2.0], tf.float64)}

        def function(at):
            x = tf.concat([at["a"], at["b"]], axis=0)
            return tf.tensordot(x, tf.linalg.matvec(matrix, x), 1) / 2 + tf.reduce_sum(at["b"] ** 3)

        value, gradient, product = derivatives(function, at)
        x = np.array([0.5, -1.0, 2.0])
        np.testing.assert_allclose(value, x @ matrix @ x / 2 + 8)
        np.testing.assert_allclose(np.concatenate([gradient["a"], gradient["b"]]), matrix @ x + [0, 0, 12])
        for column in np.eye(3):
            found = product({"a": tf.constant(column[:2]), "b": tf.constant(column[2:])})
            expected = (matrix + np.diag([0, 0, 12])) @ column
            np.testing.assert_allclose(np.concatenate([found["a"], found["b"]]), expected)

    def test_what_has_no_second_derivative_is_named(self):
        *_, product = derivatives(lambda x: tf.reduce_sum(tf.math.softsign(x)), tf.ones([2]))
        with self.assertRaisesRegex(LookupError, "Expected every operation to have the derivatives.*SoftsignGrad"):
            product(tf.ones([2]))


class ConjugateGradientTest(absltest.TestCase):
    def test_solves_a_system_in_as_many_iterations_as_unknowns(self):
        matrix, target = positive_definite(6), np.arange(1.0, 7.0)
        found = conjugate_gradient(lambda v: tf.linalg.matvec(matrix, v), tf.constant(target), 6)
        np.testing.assert_allclose(found.solution, np.linalg.solve(matrix, target), rtol=1e-8)
        np.testing.assert_allclose(found.residual, np.zeros(6), atol=1e-6)

    def test_needs_one_iteration_for_each_distinct_eigenvalue(self):
        matrix = np.diag([2.0, 2.0, 2.0, 5.0, 5.0])
        target = np.arange(1.0, 6.0)
        product = lambda v: tf.linalg.matvec(matrix, v)  # noqa: E731
        two, one = (conjugate_gradient(product, tf.constant(target), count) for count in (2, 1))
        np.testing.assert_allclose(two.solution, target / np.diag(matrix))
        self.assertGreater(np.abs(one.residual).max(), 0.1)

    def test_the_residual_is_the_systems(self):
        matrix, target = positive_definite(9), np.ones(9)
        found = conjugate_gradient(lambda v: tf.linalg.matvec(matrix, v), tf.constant(target), 3)
        np.testing.assert_allclose(found.residual, target - matrix @ found.solution.numpy(), atol=1e-10)

    def test_stops_at_the_tolerance(self):
        found = conjugate_gradient(lambda v: tf.constant([1.0, 9.0]) * v, tf.ones([2]), tolerance=2.1)
        np.testing.assert_array_equal(found.solution, np.zeros(2))

    def test_a_system_that_is_solved_early_stays_so(self):
        matrix = np.diag([2.0, 2.0, 5.0])
        found = conjugate_gradient(lambda v: tf.linalg.matvec(matrix, v), tf.constant([1.0, 2.0, 3.0], tf.float64), 9,
                                   1e-20, ends_early=False)  # fmt: skip
        np.testing.assert_allclose(found.solution, [0.5, 1.0, 0.6], rtol=1e-12)
        found = conjugate_gradient(lambda v: 2.0 * v, tf.zeros([3]), 4, ends_early=False)
        np.testing.assert_array_equal(found.solution, np.zeros(3))

    def test_a_zero_target_has_the_zero_solution(self):
        found = conjugate_gradient(lambda v: 2.0 * v, tf.zeros([3]))
        np.testing.assert_array_equal(found.solution, np.zeros(3))


if __name__ == "__main__":
    absltest.main()
