"""Tests of the trust region: the line search and its promises."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.core.hessian import flatten, flattened
from maml_tf.rl.adaptation import PolicyAdaptation, thinned
from maml_tf.rl.hessian_products import Problem
from maml_tf.rl.trust_region import TrustRegion
from tests.rl import examples

# loss: b'x; divergence: x'Ax / 2 around the point 0; the minimum under the bound is known.
_MATRIX, _SLOPE = examples.positive_definite(4), np.array([1.0, -2.0, 0.5, 3.0])


def quadratic():
    return Problem(
        outputs=lambda params, block: params["x"],
        loss=lambda x, block: block * tf.reduce_sum(_SLOPE * x),
        divergence=lambda x, block: tf.reduce_sum(x * tf.linalg.matvec(_MATRIX, x)) / 2,
        curvature=lambda x, tangent, block: tf.linalg.matvec(_MATRIX, tangent),
    )


class QuadraticTest(parameterized.TestCase):
    @parameterized.parameters("fisher", "finite_differences")
    def test_finds_the_minimum_on_the_boundary(self, products):
        # Just inside the boundary, on which rounding decides.
        step = TrustRegion(quadratic(), 0.01, damping=0.0, products=products, shrink=0.9999)(
            {"x": tf.zeros([4], tf.float64)}, tf.constant([0.5, 1.5], tf.float64)
        )
        direction = -np.linalg.solve(_MATRIX, _SLOPE)
        expected = direction * np.sqrt(0.02 / (direction @ _MATRIX @ direction))
        np.testing.assert_allclose(step.params["x"], expected, rtol=1e-3)
        np.testing.assert_allclose(step.divergence, 0.01, rtol=1e-3)
        self.assertLessEqual(float(step.divergence), 0.01)
        self.assertTrue(step.accepted)

    def test_the_line_search_shrinks_until_the_bound_holds(self):
        problem = quadratic()._replace(curvature=lambda x, tangent, block: tf.linalg.matvec(_MATRIX, tangent) / 4)
        step = TrustRegion(problem, 0.01)({"x": tf.zeros([4], tf.float64)}, tf.ones([1], tf.float64))
        # A step twice too long: 0.8^4 is the first power below a half.
        self.assertEqual(int(step.searches), 5)
        np.testing.assert_allclose(step.divergence, 0.01 * (2 * 0.8**4) ** 2, rtol=1e-3)

    def test_where_the_loss_cannot_fall_parameters_stay(self):
        problem = quadratic()._replace(loss=lambda x, block: -tf.reduce_sum(_SLOPE * x) + 1e3 * tf.norm(x - 1.0) ** 4)
        params = {"x": tf.ones([4], tf.float64)}
        far = problem._replace(divergence=lambda x, block: 1e6 * tf.reduce_sum((x - 1.0) ** 2))
        step = TrustRegion(far, 0.01, searches=3)(params, tf.ones([1], tf.float64))
        self.assertFalse(step.accepted)
        self.assertEqual(int(step.searches), 3)
        np.testing.assert_array_equal(step.params["x"], params["x"])
        self.assertEqual(float(step.loss), float(step.loss_before))
        self.assertEqual(float(step.divergence), 0.0)

    def test_a_step_with_which_the_loss_does_not_fall_is_not_accepted(self):
        params = {"x": tf.zeros([4], tf.float64)}
        rising = quadratic()._replace(loss=lambda x, block: tf.reduce_sum(_SLOPE * x) + 1e6 * tf.reduce_sum(x**2))
        flat = quadratic()._replace(loss=lambda x, block: 0.0 * tf.reduce_sum(x))
        for problem in (rising, flat):
            step = TrustRegion(problem, 0.01, searches=3)(params, tf.ones([1], tf.float64))
            self.assertFalse(step.accepted)
            np.testing.assert_array_equal(step.params["x"], params["x"])

    def test_damping_is_added_to_the_diagonal(self):
        params = {"x": tf.zeros([4], tf.float64)}
        step = TrustRegion(quadratic(), 0.01, damping=5.0, shrink=0.9999)(params, tf.ones([1], tf.float64))
        direction = -np.linalg.solve(_MATRIX + 5.0 * np.eye(4), _SLOPE)
        expected = direction * np.sqrt(0.02 / (direction @ -_SLOPE))
        np.testing.assert_allclose(step.params["x"], expected, rtol=1e-3)

    def test_so_many_iterations_and_the_residual_that_they_leave(self):
        params = {"x": tf.zeros([4], tf.float64)}
        step = TrustRegion(quadratic(), 0.01, iterations=1, damping=0.0)(params, tf.ones([1], tf.float64))
        # One iteration goes along the gradient.
        along = step.params["x"] / -_SLOPE
        np.testing.assert_allclose(along, np.full(4, along[0]))
        size = _SLOPE @ _SLOPE / (_SLOPE @ _MATRIX @ _SLOPE)
        left = _SLOPE - size * _MATRIX @ _SLOPE
        np.testing.assert_allclose(step.residual, np.linalg.norm(left) / np.linalg.norm(_SLOPE))

    @parameterized.parameters("fisher", "finite_differences")
    def test_a_thinned_block_serves_the_curvature_alone(self, products):
        of_one = quadratic()
        problem = of_one._replace(
            loss=lambda x, block: tf.reduce_sum(block) * tf.reduce_sum(_SLOPE * x),
            divergence=lambda x, block: tf.reduce_sum(block) * of_one.divergence(x, block),
            curvature=lambda x, tangent, block: tf.reduce_sum(block) * of_one.curvature(x, tangent, block),
        )
        # The whole block's curvature would be negative, and the thinned one's loss would fall the other way.
        params, blocks = {"x": tf.zeros([4], tf.float64)}, tf.constant([[1.0, -3.0]], tf.float64)
        step = TrustRegion(problem, 0.01, products=products, thin=lambda block: block[:1])(params, blocks)
        self.assertTrue(step.accepted)
        along = step.params["x"] / np.linalg.solve(_MATRIX, _SLOPE)
        self.assertGreater(float(along[0]), 0.0)
        np.testing.assert_allclose(along, np.full(4, along[0]), rtol=1e-3)

    def test_the_loss_before_is_the_mean_over_blocks(self):
        problem = quadratic()._replace(loss=lambda x, block: block + tf.reduce_sum(_SLOPE * x))
        step = TrustRegion(problem)({"x": tf.zeros([4], tf.float64)}, tf.constant([1.0, 5.0], tf.float64))
        self.assertEqual(float(step.loss_before), 3.0)

    def test_not_a_number_is_never_accepted(self):
        problem = quadratic()._replace(
            divergence=lambda x, block: tf.where(tf.reduce_any(x != 0), np.float64(np.nan), np.float64(0))
        )
        step = TrustRegion(problem, 0.01, searches=2)({"x": tf.zeros([4], tf.float64)}, tf.ones([1], tf.float64))
        self.assertFalse(step.accepted)

    @parameterized.parameters(
        ({"products": "exact"}, "Expected products .* Received: products='exact'"),
        ({"bound": 0.0}, "Received: bound=0.0"),
        ({"shrink": 1.0}, "0 < shrink < 1.*shrink=1.0"),
        ({"damping": -1e-5}, "Expected damping .*damping=-1e-05"),
        ({"iterations": 0}, "at least 1.*iterations=0"),
    )
    def test_bad_arguments_are_refused(self, options, message):
        with self.assertRaisesRegex(ValueError, message):
            TrustRegion(quadratic(), **options)


class PolicyStepTest(parameterized.TestCase):
    @parameterized.parameters((0, "fisher"), (2, "fisher"), (1, "finite_differences"))
    def test_accepted_steps_keep_the_bound_and_are_better(self, inner_steps, products):
        pure = examples.policy(dtype="float32")
        params = pure.parameters()
        adaptation = PolicyAdaptation(pure, [0.1, 0.05])
        blocks = examples.tasks(adaptation, params, count=3, inner_steps=inner_steps, steps=40)
        problem = adaptation.problem()
        step = TrustRegion(problem, 0.01, products=products)(params, blocks)
        self.assertTrue(step.accepted)
        losses, divergences = [], []
        for number in range(3):
            task = examples.task(blocks, number)
            outputs = problem.outputs(step.params, task)
            losses.append(float(problem.loss(outputs, task)))
            divergences.append(float(problem.divergence(outputs, task)))
        self.assertLess(np.mean(losses), float(step.loss_before))
        self.assertLessEqual(np.mean(divergences), 0.01)
        self.assertGreater(np.mean(divergences), 0.002)
        np.testing.assert_allclose(step.loss, np.mean(losses), rtol=1e-5)
        np.testing.assert_allclose(step.divergence, np.mean(divergences), rtol=1e-4)

    def test_is_traced_once(self):
        pure = examples.policy(dtype="float32")
        adaptation = PolicyAdaptation(pure)
        region = TrustRegion(adaptation.problem())
        params = pure.parameters()
        for _ in range(3):
            step = region(params, examples.tasks(adaptation, params))
            params = step.params
        self.assertEqual(region._compiled.experimental_get_tracing_count(), 1)

    def test_a_thinned_curvature_gives_nearly_the_same_direction(self):
        pure = examples.policy(dtype="float32")
        params = pure.parameters()
        adaptation = PolicyAdaptation(pure)
        blocks = examples.tasks(adaptation, params, count=2, steps=400)
        moves = []
        for thin in (None, lambda block: thinned(block, 2)):
            step = TrustRegion(adaptation.problem(), thin=thin, iterations=5)(params, blocks)
            self.assertTrue(step.accepted)
            moves.append(flatten(step.params) - flatten(params))
        cosine = tf.reduce_sum(moves[0] * moves[1]) / tf.norm(moves[0]) / tf.norm(moves[1])
        self.assertGreater(float(cosine), 0.9)
        self.assertLess(float(cosine), 0.999999)


class FlattenTest(absltest.TestCase):
    def test_there_and_back(self):
        nest = {"b": tf.constant([[1.0, 2.0]]), "a": tf.constant(3.0)}
        flat, unflatten = flattened(nest)
        np.testing.assert_array_equal(flat, [3.0, 1.0, 2.0])
        back = unflatten(2 * flat)
        np.testing.assert_array_equal(back["b"], [[2.0, 4.0]])
        np.testing.assert_array_equal(back["a"], 6.0)


if __name__ == "__main__":
    absltest.main()
