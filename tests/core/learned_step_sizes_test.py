"""Tests of maml_tf.core.update_rules."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf.core.update_rules import LearnedStepSizes
from tests.support.rule_use import applied, built, parameters


class LearnedStepSizesTest(parameterized.TestCase):
    @parameterized.parameters(
        ("weight", {"a.kernel": (2, 3), "a.bias": (3,), "b.kernel": (3, 1)}),
        ("layer", {"a": (), "b": ()}),
        ("layer_and_step", {"a": (4,), "b": (4,)}),
    )
    def test_variables(self, granularity, shapes):
        rule = built(LearnedStepSizes(0.25, granularity, steps=4))
        self.assertEqual({v.name: tuple(v.shape) for v in rule.trainable_variables}, shapes)
        for variable in rule.trainable_variables:
            np.testing.assert_array_equal(variable, np.full(variable.shape, 0.25))

    @parameterized.parameters("weight", "layer", "layer_and_step")
    def test_starts_as_gradient_descent(self, granularity):
        rule = built(LearnedStepSizes(0.25, granularity, steps=2))
        gradients = tf.nest.map_structure(lambda value: 3.0 * value, parameters())
        for step in (0, 5, tf.constant(1)):
            for value in applied(rule, gradients, step).values():
                np.testing.assert_array_equal(value, np.full(value.shape, 0.75))

    def test_last_step_serves_later_ones(self):
        rule = built(LearnedStepSizes(1.0, "layer_and_step", steps=2))
        rule.trainable_variables[0].assign([1.0, 5.0])
        for step, expected in ((0, 1.0), (1, 5.0), (7, 5.0)):
            for number in (step, tf.constant(step)):
                self.assertEqual(float(applied(rule, parameters(), number)["a/bias"][0]), expected)

    def test_takes_the_parameters_dtype(self):
        rule = LearnedStepSizes(0.1, "layer")
        rule.build({"a/kernel": tf.ones(2, tf.float64)})
        self.assertEqual(rule.trainable_variables[0].dtype, "float64")
        self.assertEqual(float(rule.trainable_variables[0]), 0.1)  # Not rounded to float32.

    def test_a_layer_is_the_whole_path_but_the_weights_name(self):
        rule = LearnedStepSizes(0.1, "layer")
        rule.build({f"net/{name}/kernel": tf.ones(2) for name in ("a", "b")})
        self.assertEqual([variable.name for variable in rule.trainable_variables], ["net.a", "net.b"])

    def test_building_twice_changes_nothing(self):
        rule = built(LearnedStepSizes(0.1))
        before = list(rule.trainable_variables)
        self.assertEqual([id(v) for v in built(rule).trainable_variables], [id(v) for v in before])

    @parameterized.parameters(
        ({"granularity": "neuron"}, "Expected granularity to be one of .* Received: 'neuron'"),
        ({"initial": -1.0}, "Received: initial=-1.0"),
        ({"initial": float("nan")}, "Received: initial=nan"),
        ({"steps": 0}, "Received: steps=0"),
    )
    def test_bad_arguments(self, arguments, message):
        with self.assertRaisesRegex(ValueError, message):
            LearnedStepSizes(**arguments)

    def test_unbuilt(self):
        with self.assertRaisesRegex(ValueError, "Received: an unbuilt LearnedStepSizes"):
            LearnedStepSizes()(parameters(), parameters())

    def test_a_second_model_needs_its_own(self):
        rule = LearnedStepSizes(0.1)
        rule.build({"a/kernel": tf.ones((2, 3))})
        for other in ({"b/kernel": tf.ones((2, 3))}, {"a/kernel": tf.ones((2, 4))}):
            with self.assertRaisesRegex(ValueError, r"LearnedStepSizes.*\['a/kernel'\]"):
                rule.build(other)

    def test_fewer_weights_of_its_model_may_adapt(self):
        rule = built(LearnedStepSizes(0.1))
        rule.build({"b/kernel": tf.ones((3, 1))})
        self.assertLen(rule.trainable_variables, 3)

    def test_needs_names(self):
        with self.assertRaisesRegex(ValueError, "Expected a dictionary from variable path to value. Received: list"):
            LearnedStepSizes().build([tf.ones(1)])


if __name__ == "__main__":
    absltest.main()
