"""Tests of conjugate gradient."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.rl.trust_region import conjugate_gradient
from tests.rl.examples import positive_definite


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

    def test_a_zero_target_has_the_zero_solution(self):
        found = conjugate_gradient(lambda v: 2.0 * v, tf.zeros([3]))
        np.testing.assert_array_equal(found.solution, np.zeros(3))


if __name__ == "__main__":
    absltest.main()
