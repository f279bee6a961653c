"""Tests of the proximal outer steps: Adam as it is, its state, and errors."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.rl.hessian_products import Problem
from maml_tf.rl.proximal import ProximalSteps

_SLOPE = np.array([1.0, -2.0, 0.5, 3.0])
_BLOCKS = tf.constant([0.5, 2.0], tf.float64)


def quadratic():
    return Problem(
        outputs=lambda params, block: params["x"],
        loss=lambda x, block: block * tf.reduce_sum(_SLOPE * x + x**2),
        divergence=lambda x, block: block * tf.reduce_sum(x**2),
        curvature=None,
    )


def start():
    return {"x": tf.zeros([4], tf.float64)}


class ProximalStepsTest(parameterized.TestCase):
    def test_takes_steps_of_adam_on_the_mean_over_blocks(self):
        step = ProximalSteps(quadratic(), start(), epochs=3, learning_rate=0.1)(start(), _BLOCKS)
        variable, adam = keras.Variable(np.zeros(4), dtype="float64"), keras.optimizers.Adam(0.1)
        for _ in range(3):
            adam.apply([tf.constant(1.25 * (_SLOPE + 2 * variable.numpy()))], [variable])
        np.testing.assert_allclose(step.params["x"], variable.numpy(), rtol=1e-6)
        measured = step.measurements()
        x = step.params["x"].numpy()
        self.assertEqual(measured["surrogate_before"], 0.0)
        self.assertAlmostEqual(measured["surrogate"], 1.25 * np.sum(_SLOPE * x + x**2))
        self.assertAlmostEqual(measured["kl"], 1.25 * np.sum(x**2))

    def test_moments_go_on_from_call_to_call(self):
        whole = ProximalSteps(quadratic(), start(), epochs=4, learning_rate=0.1)(start(), _BLOCKS)
        halves = ProximalSteps(quadratic(), start(), epochs=2, learning_rate=0.1)
        middle = halves(start(), _BLOCKS).params
        kept = [variable.numpy() for variable in halves.state["outer_optimizer"].variables]
        np.testing.assert_array_equal(halves(middle, _BLOCKS).params["x"], whole.params["x"])
        # As a checkpoint restores them; without them the steps are others.
        for restored in (True, False):
            other = ProximalSteps(quadratic(), start(), epochs=2, learning_rate=0.1)
            if restored:
                for variable, value in zip(other.state["outer_optimizer"].variables, kept, strict=True):
                    variable.assign(value)
            equal = np.array_equal(other(middle, _BLOCKS).params["x"], whole.params["x"])
            self.assertEqual(equal, restored)

    def test_is_traced_once(self):
        steps = ProximalSteps(quadratic(), start(), epochs=2)
        params = start()
        for _ in range(2):
            params = steps(params, _BLOCKS).params
        self.assertEqual(steps._compiled_epoch.experimental_get_tracing_count(), 1)

    def test_a_loss_that_is_not_finite_is_an_error(self):
        problem = quadratic()._replace(loss=lambda x, block: tf.reduce_sum(tf.math.log(1.0 - x) * block))
        with self.assertRaisesRegex(ValueError, "finite loss after 1 outer .* step size 2.0. Received: nan"):
            ProximalSteps(problem, start(), epochs=1, learning_rate=2.0)(start(), _BLOCKS)

    @parameterized.parameters(({"epochs": 0}, "epochs=0"), ({"learning_rate": 0.0}, "learning_rate=0.0"))
    def test_bad_numbers_are_refused(self, options, message):
        with self.assertRaisesRegex(ValueError, f"Received: {message}"):
            ProximalSteps(quadratic(), start(), **options)


if __name__ == "__main__":
    absltest.main()
