"""Tests of maml_tf.core.adaptation."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from maml_tf.core.adaptation import adapt, inner_step, require_gradients
from maml_tf.core.update_rules import SGD


def quadratic(params, target, step):
    return tf.reduce_sum((params["w"] - target) ** 2)


class InnerStepTest(absltest.TestCase):
    def test_is_gradient_descent(self):
        params = {"w": tf.constant([1.0, 2.0], tf.float64)}
        step = inner_step(quadratic, params, 4.0, SGD(0.25))
        np.testing.assert_array_equal(step.params["w"], [2.5, 3.0])
        self.assertEqual(float(step.loss), 13.0)
        self.assertIsNone(step.state)

    def test_threads_the_state(self):
        def objective(params, batch, step, state):
            return quadratic(params, batch, step), {"calls": state["calls"] + 1}

        step = inner_step(objective, {"w": tf.constant(1.0)}, 0.0, SGD(0.1), state={"calls": 3})
        self.assertEqual(step.state, {"calls": 4})

    def test_first_order_stops_the_gradient_of_the_inner_gradient_alone(self):
        for first_order, expected in ((False, 0.5), (True, 1.0)):
            with self.subTest(first_order=first_order):
                with tf.GradientTape() as tape:
                    w = tf.constant(3.0)
                    tape.watch(w)
                    step = inner_step(quadratic, {"w": w}, 1.0, SGD(0.25), first_order=first_order)
                self.assertEqual(float(tape.gradient(step.params["w"], w)), expected)

    def test_takes_any_nest_and_a_tensor_step(self):
        def objective(params, batch, step):
            return tf.reduce_sum(params[0] ** 2) + params[1]["b"] ** 2

        params = [tf.constant([1.0]), {"b": tf.constant(2.0)}]
        step = inner_step(objective, params, None, SGD([0.0, 0.5]), step=tf.constant(1))
        np.testing.assert_array_equal(step.params[0], [0.0])
        self.assertEqual(float(step.params[1]["b"]), 0.0)


class AdaptTest(parameterized.TestCase):
    def test_path_and_losses(self):
        result = adapt(quadratic, {"w": tf.constant(0.0)}, [1.0, 1.0, 1.0], SGD(0.25))
        self.assertEqual([float(params["w"]) for params in result.path], [0.0, 0.5, 0.75, 0.875])
        self.assertEqual([float(loss) for loss in result.losses], [1.0, 0.25, 0.0625])
        self.assertIs(result.params, result.path[-1])

    @parameterized.parameters(True, False)
    def test_slices_of_the_path_are_lists_of_parameters(self, unroll):
        result = adapt(quadratic, {"w": tf.constant(0.0)}, 1.0, SGD(0.25), steps=3, unroll=unroll)
        self.assertEqual([float(params["w"]) for params in result.path[1:]], [0.5, 0.75, 0.875])
        self.assertEqual([float(params["w"]) for params in result.path[-2::-2]], [0.75, 0.0])

    def test_each_step_sees_its_batch_and_number(self):
        seen = []

        def objective(params, batch, step):
            seen.append((batch, step))
            return quadratic(params, batch, step)

        adapt(objective, {"w": tf.constant(0.0)}, [5.0, 6.0, 7.0], SGD(0.1))
        self.assertEqual(seen, [(5.0, 0), (6.0, 1), (7.0, 2)])

    def test_state_runs_through_the_steps(self):
        def objective(params, batch, step, state):
            return quadratic(params, batch, step), [*state, (batch, step)]

        result = adapt(objective, {"w": tf.constant(0.0)}, [1.0, 2.0], SGD(0.1), state=["start"])
        self.assertEqual(result.state, ["start", (1.0, 0), (2.0, 1)])

    def test_empty_state_is_still_a_state(self):
        result = adapt(
            lambda params, batch, step, state: (quadratic(params, batch, step), state),
            {"w": tf.constant(0.0)},
            [1.0],
            SGD(0.1),
            state=[],
        )
        self.assertEqual(result.state, [])

    @settings(max_examples=20, deadline=None)
    @given(
        rate=st.floats(0.0, 0.4),
        start=st.floats(-5, 5),
        steps=st.integers(0, 4),
    )
    def test_contracts_a_quadratic_as_derived(self, rate, start, steps):
        """w' - t = (1 - 2 alpha) (w - t), so that d w_k / d w = (1 - 2 alpha)^k."""
        w = tf.constant(start, tf.float64)
        with tf.GradientTape() as tape:
            tape.watch(w)
            result = adapt(quadratic, {"w": w}, [1.0] * steps, SGD(rate)).params["w"]
        factor = (1 - 2 * rate) ** steps
        np.testing.assert_allclose(result, 1 + factor * (start - 1), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(tape.gradient(result, w), factor, rtol=1e-12, atol=1e-15)

    def test_works_in_a_graph(self):
        @tf.function
        def adapted(w):
            return adapt(quadratic, {"w": w}, [1.0, 1.0], SGD(0.25)).params["w"]

        self.assertEqual(float(adapted(tf.constant(0.0))), 0.75)

    def test_a_loss_of_unknown_rank_may_be_a_scalar(self):
        @tf.function(input_signature=[tf.TensorSpec(None)])
        def adapted(target):
            return adapt(lambda p, b, s: (p["w"] - b) ** 2, {"w": tf.constant(0.0)}, [target], SGD(0.25)).params["w"]

        self.assertEqual(float(adapted(tf.constant(1.0))), 0.5)

    def test_loss_must_be_a_scalar(self):
        for objective in (lambda p, b, s: p["w"] * tf.ones(3), lambda p, b, s: 1.0):
            with self.assertRaisesRegex(ValueError, "Expected the objective to return a scalar tensor. Received:"):
                adapt(objective, {"w": tf.constant(0.0)}, [None], SGD(0.1))

    def test_unused_parameter_is_named(self):
        params = {"used": tf.constant(0.0), "dense/kernel": tf.constant(0.0)}
        with self.assertRaisesRegex(ValueError, "inner gradient.*None for 'dense/kernel'.*Select the variables"):
            adapt(lambda p, b, s: p["used"] ** 2, params, [None], SGD(0.1))


class RequireGradientsTest(absltest.TestCase):
    def test_path_of_a_nested_leaf(self):
        for layers in (list, tuple):
            with self.assertRaisesRegex(ValueError, "the meta-gradient of every.*None for 'policy/1/bias'. Do this."):
                require_gradients({"policy": layers([1.0, {"bias": None}])}, "meta-gradient", "Do this.")

    def test_accepts_what_exists(self):
        self.assertIsNone(require_gradients({"a": [tf.constant(0.0)]}, "inner gradient", ""))


if __name__ == "__main__":
    absltest.main()
