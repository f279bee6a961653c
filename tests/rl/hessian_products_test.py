"""Tests of the Hessian's products: exact ones against double backpropagation, finite differences against these."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.core.hessian import flatten, flattened
from maml_tf.rl.adaptation import PolicyAdaptation
from maml_tf.rl.hessian_products import FisherProducts, divergence_gradient, finite_difference_product
from maml_tf.rl.objectives import likelihood_ratio, reinforce
from tests.rl import examples


def double_backprop(problem, params, block, vector):
    """The Hessian of the divergence times a vector, through third derivatives of the inner loss."""
    with tf.GradientTape() as outer:
        outer.watch(params)
        with tf.GradientTape() as inner:
            inner.watch(params)
            divergence = problem.divergence(problem.outputs(params, block), block)
        gradient = inner.gradient(divergence, params)
        along = tf.add_n([tf.reduce_sum(gradient[name] * vector[name]) for name in params])
    return outer.gradient(along, params)


def fisher_product(problem, params, blocks, vector):
    """The exact product with the Hessian of the blocks' mean divergence."""
    return FisherProducts(problem, params, blocks).at(params, blocks).product(vector)


class HessianProductsTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.pure = examples.policy()
        self.params = self.pure.parameters()
        random = np.random.default_rng(1)
        self.vector = {name: tf.constant(random.normal(size=v.shape)) for name, v in self.params.items()}

    def blocks(self, **options):
        adaptation = PolicyAdaptation(self.pure, [0.4, 0.2], **options)
        self.problem = adaptation.problem()
        return adaptation

    @parameterized.product(inner_steps=[0, 1, 2], objective=[reinforce, likelihood_ratio])
    def test_fisher_products_equal_double_backpropagation(self, inner_steps, objective):
        adaptation = self.blocks(objective=objective)
        blocks = examples.tasks(adaptation, self.params, count=1, inner_steps=inner_steps)
        exact = double_backprop(self.problem, self.params, examples.task(blocks, 0), self.vector)
        actual = fisher_product(self.problem, self.params, blocks, self.vector)
        for name, value in exact.items():
            np.testing.assert_allclose(actual[name], value, rtol=1e-9, atol=1e-12)

    def test_weights_need_not_sum_to_one(self):
        # Those of a block of a task do not.
        adaptation = self.blocks()
        blocks = examples.tasks(adaptation, self.params, count=1)
        blocks = blocks._replace(outer=blocks.outer._replace(weights=3.0 * blocks.outer.weights))
        exact = double_backprop(self.problem, self.params, examples.task(blocks, 0), self.vector)
        actual = fisher_product(self.problem, self.params, blocks, self.vector)
        for name, value in exact.items():
            np.testing.assert_allclose(actual[name], value, rtol=1e-9, atol=1e-12)

    def test_the_inner_step_is_part_of_them(self):
        adaptation = self.blocks()
        blocks = examples.tasks(adaptation, self.params)
        through = flatten(fisher_product(self.problem, self.params, blocks, self.vector))
        first_order = PolicyAdaptation(self.pure, 0.4, first_order=True).problem()
        around = flatten(fisher_product(first_order, self.params, blocks, self.vector))
        self.assertGreater(float(tf.norm(through - around) / tf.norm(through)), 1e-2)

    def test_products_of_blocks_are_means_and_share_their_first_stage(self):
        adaptation = self.blocks()
        blocks = examples.tasks(adaptation, self.params, count=3)
        products = FisherProducts(self.problem, self.params, blocks)

        @tf.function(autograph=False)
        def twice(params, blocks, vector):
            product = products.at(params, blocks).product
            return product(vector), product({name: -2.0 * value for name, value in vector.items()})

        one, other = twice(self.params, blocks, self.vector)
        of_blocks = [
            double_backprop(self.problem, self.params, examples.task(blocks, number), self.vector)
            for number in range(3)
        ]
        for name in self.params:
            expected = np.mean([of_block[name] for of_block in of_blocks], axis=0)
            np.testing.assert_allclose(one[name], expected, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(other[name], -2.0 * expected, rtol=1e-9, atol=1e-12)

    def test_finite_differences_agree_with_exact_products(self):
        adaptation = self.blocks()
        blocks = examples.tasks(adaptation, self.params)
        flat, unflatten = flattened(self.params)
        product = finite_difference_product(
            lambda at: flatten(divergence_gradient(self.problem, unflatten(at), blocks)), flat, epsilon=1e-5
        )
        exact = flatten(fisher_product(self.problem, self.params, blocks, self.vector))
        np.testing.assert_allclose(product(flatten(self.vector)), exact, rtol=1e-5, atol=1e-8)

    def test_finite_differences_of_float32_are_within_a_few_percent(self):
        pure = examples.policy(hidden=(100, 100), activation="relu", dtype="float32")
        params = pure.parameters()
        adaptation = PolicyAdaptation(pure, 0.1)
        problem, blocks = adaptation.problem(), examples.tasks(adaptation, params, count=1, steps=200)
        flat, unflatten = flattened(params)
        product = finite_difference_product(
            lambda at: flatten(divergence_gradient(problem, unflatten(at), blocks)), flat
        )
        task = examples.task(blocks, 0)
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = problem.loss(problem.outputs(params, task), task)
        along = tape.gradient(loss, params)
        exact = flatten(fisher_product(problem, params, blocks, along))
        error = tf.norm(product(flatten(along)) - exact) / tf.norm(exact)
        self.assertLess(float(error), 0.06)

    def test_the_originals_finite_differences_step_by_the_parameters_inverse_norm(self):
        at, vector = tf.constant([3.0, 4.0]), tf.constant([1.0, -2.0])
        asked = []
        product = finite_difference_product(lambda theta: asked.append(theta) or theta**3, at)
        # Of theta^3: ((t + e v)^3 - (t - e v)^3) / (2 e) = 3 t^2 v + e^2 v^3.
        np.testing.assert_allclose(product(vector), 3 * at**2 * vector + 0.2**2 * vector**3, rtol=1e-5)
        np.testing.assert_allclose(asked, [at + 0.2 * vector, at - 0.2 * vector], rtol=1e-6)


if __name__ == "__main__":
    absltest.main()
