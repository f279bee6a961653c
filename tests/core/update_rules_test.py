"""Tests of maml_tf.core.update_rules."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from maml_tf.core.update_rules import (
    SGD,
    Chain,
    ClipByGlobalNorm,
    ClipByValue,
    LearnedStepSizes,
    UpdateRule,
    as_update_rule,
)
from tests.support.rule_use import applied, built, parameters

_FLOATS = st.lists(st.floats(-100, 100, allow_subnormal=False), min_size=1, max_size=5)


class SGDTest(parameterized.TestCase):
    @parameterized.parameters((0, 0.5), (1, 0.25), (2, 0.25), (9, 0.25))
    def test_rate_of_each_step(self, step, rate):
        rule = SGD([0.5, 0.25])
        for number in (step, tf.constant(step)):
            np.testing.assert_array_equal(applied(rule, tf.constant([2.0, -4.0]), number), [2 * rate, -4 * rate])

    def test_keeps_dtype_and_nest(self):
        gradients = {"a": [tf.constant(1.0, tf.float64)], "b": tf.constant([1.0], tf.bfloat16)}
        for step in (1, tf.constant(1)):
            result = applied(SGD([0.5, 0.25]), gradients, step)
            self.assertEqual(result["a"][0].dtype, tf.float64)
            self.assertEqual(result["b"].dtype, tf.bfloat16)

    def test_float64_rate_is_not_rounded(self):
        result = applied(SGD([0.1, 0.3]), tf.constant(1.0, tf.float64), tf.constant(1))
        self.assertEqual(float(result), 0.3)

    @parameterized.parameters(-0.1, float("nan"), [[]], [[0.1, -1.0]])
    def test_bad_rates(self, *rates):
        with self.assertRaisesRegex(ValueError, "Received: learning_rate="):
            SGD(*rates)


class ClipTest(parameterized.TestCase):
    @settings(max_examples=25, deadline=None)
    @given(values=_FLOATS, limit=st.floats(0.1, 50))
    def test_by_value(self, values, limit):
        result = applied(ClipByValue(limit), tf.constant(values, tf.float64))
        np.testing.assert_allclose(result, np.clip(values, -limit, limit), rtol=1e-12)

    @settings(max_examples=25, deadline=None)
    @given(first=_FLOATS, second=_FLOATS, norm=st.floats(0.1, 500))
    def test_by_global_norm(self, first, second, norm):
        gradients = {"a": tf.constant(first, tf.float64), "b": tf.constant(second, tf.float64)}
        result = applied(ClipByGlobalNorm(norm), gradients)
        joint = np.sqrt(np.sum(np.square([*first, *second])))
        factor = min(1.0, norm / joint) if joint > 0 else 1.0
        np.testing.assert_allclose(result["a"], factor * np.asarray(first), rtol=1e-12, atol=1e-300)
        np.testing.assert_allclose(result["b"], factor * np.asarray(second), rtol=1e-12, atol=1e-300)

    def test_by_global_norm_of_different_types(self):
        gradients = {"a": tf.constant([3.0], tf.float32), "b": tf.constant([4.0], tf.float64)}
        clipped = ClipByGlobalNorm(1.0).updates(gradients, gradients, 0)
        self.assertEqual({name: value.dtype for name, value in clipped.items()}, {"a": tf.float32, "b": tf.float64})
        np.testing.assert_allclose([clipped["a"][0], clipped["b"][0]], [0.6, 0.8], rtol=1e-7)

    def test_norm_of_zero_gradients_is_differentiable(self):
        zeros = tf.zeros(3)
        with tf.GradientTape() as tape:
            tape.watch(zeros)
            total = tf.reduce_sum(applied(ClipByGlobalNorm(1.0), [zeros])[0])
        np.testing.assert_array_equal(tape.gradient(total, zeros), np.ones(3))

    @parameterized.product(rule=(ClipByValue, ClipByGlobalNorm), bound=(0.0, -1.0, float("nan")))
    def test_bad_bounds(self, rule, bound):
        with self.assertRaisesRegex(ValueError, f"Received: (limit|norm)={bound}"):
            rule(bound)


class ChainTest(absltest.TestCase):
    def test_order_matters(self):
        gradient = tf.constant([10.0])
        self.assertEqual(float(applied(Chain([ClipByValue(1.0), SGD(0.5)]), gradient)[0]), 0.5)
        self.assertEqual(float(applied(Chain([SGD(0.5), ClipByValue(1.0)]), gradient)[0]), 1.0)

    def test_owns_its_rules_variables(self):
        rule = built(Chain([ClipByValue(1.0), LearnedStepSizes(0.1, "layer")]))
        self.assertLen(rule.trainable_variables, 2)
        self.assertAlmostEqual(float(applied(rule, parameters())["a/bias"][0]), 0.1)

    def test_passes_the_step_on(self):
        self.assertEqual(float(applied(Chain([SGD([1.0, 3.0])]), tf.constant(1.0), 1)), 3.0)

    def test_bad_rules(self):
        for rules in ([], [0.1], [SGD(0.1), "sgd"]):
            with self.assertRaisesRegex(ValueError, "Expected at least one update rule. Received:"):
                Chain(rules)


class UpdateRuleTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("sgd", lambda: SGD(0.5)),
        ("sgd_steps", lambda: SGD([0.5, 0.25])),
        ("learned", lambda: LearnedStepSizes(0.5, "layer_and_step", steps=3)),
        ("value", lambda: ClipByValue(0.5)),
        ("norm", lambda: ClipByGlobalNorm(0.5)),
        ("chain", lambda: Chain([ClipByValue(2.0), LearnedStepSizes(0.5, "layer")])),
    )
    def test_survives_serialization(self, make):
        rule = make()
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(rule))
        self.assertIs(type(copy), type(rule))
        self.assertEqual(copy.get_config(), rule.get_config())
        for step in (0, 1):
            tf.nest.map_structure(
                np.testing.assert_array_equal,
                built(copy)(parameters(), parameters(), step),
                built(rule)(parameters(), parameters(), step),
            )
        self.assertEqual([v.shape for v in copy.trainable_variables], [v.shape for v in rule.trainable_variables])

    def test_subclass_defines_its_updates(self):
        class Sign(UpdateRule):
            def updates(self, gradients, params, step):
                return tf.nest.map_structure(lambda gradient: 0.1 * tf.sign(gradient), gradients)

        np.testing.assert_allclose(applied(Sign(), tf.constant([5.0, -3.0])), [0.1, -0.1])
        with self.assertRaisesRegex(TypeError, "Expected Empty to define updates"):
            type("Empty", (UpdateRule,), {})()([tf.constant(1.0)], [tf.constant(1.0)])


class AsUpdateRuleTest(parameterized.TestCase):
    @parameterized.parameters((0.5, (0.5,)), (1, (1.0,)), ([0.5, 0.1], (0.5, 0.1)), ((1,), (1.0,)))
    def test_numbers_are_sgd(self, given, rates):
        self.assertEqual(as_update_rule(given).learning_rates, rates)

    def test_numpy_number(self):
        self.assertEqual(as_update_rule(np.float64(0.5)).learning_rates, (0.5,))
        self.assertAlmostEqual(as_update_rule(np.float32(0.5)).learning_rates[0], 0.5)

    def test_rule_stays(self):
        rule = ClipByValue(1.0)
        self.assertIs(as_update_rule(rule), rule)

    @parameterized.parameters(("adam",), (True,), (None,), ([0.1, "x"],))
    def test_anything_else(self, given):
        with self.assertRaisesRegex(TypeError, "Expected inner_learning_rate to be a number.*Received:"):
            as_update_rule(given)


if __name__ == "__main__":
    absltest.main()
