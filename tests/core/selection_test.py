"""Tests of maml_tf.core.selection."""

import keras
import tensorflow as tf
from absl.testing import absltest

from maml_tf.core.selection import body, everything, head, matching


def make_model():
    body = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4, name="one"), keras.layers.Dense(4, name="two")], name="body"
    )
    return keras.Sequential([keras.Input((3,)), body, keras.layers.Dense(1, name="out")], name="net")


def layers_of(names):
    return [tuple(name.split("/")[-2:]) for name in names]


class SelectionTest(absltest.TestCase):
    def test_everything(self):
        model = make_model()
        self.assertEqual(everything(model), [variable.path for variable in model.trainable_variables])

    def test_head_is_the_last_layer_with_variables(self):
        self.assertEqual(layers_of(head(make_model())), [("out", "kernel"), ("out", "bias")])
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="out"), keras.layers.ReLU()])
        self.assertEqual(layers_of(head(model)), [("out", "kernel"), ("out", "bias")])

    def test_head_inside_a_nested_model(self):
        tail = keras.Sequential(
            [keras.Input((4,)), keras.layers.Dense(4, name="three"), keras.layers.Dense(1, name="four")]
        )
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, name="one"), tail])
        self.assertEqual(layers_of(head(model)), [("four", "kernel"), ("four", "bias")])

    def test_head_takes_all_of_a_layer_that_holds_layers(self):
        gru = keras.layers.Bidirectional(keras.layers.GRU(2))
        model = keras.Sequential([keras.Input((4, 3)), keras.layers.Dense(3), gru])
        self.assertLen(head(model), 6)
        self.assertCountEqual(head(model), [variable.path for variable in gru.trainable_variables])

    def test_head_skips_frozen_layers(self):
        model = make_model()
        model.layers[-1].trainable = False
        self.assertEqual(layers_of(head(model)), [("two", "kernel"), ("two", "bias")])

    def test_head_of_a_frozen_model(self):
        model = make_model()
        model.trainable = False
        with self.assertRaisesRegex(ValueError, "Expected a trainable variable to adapt. Received: none in 'net'"):
            head(model)

    def test_body_is_the_rest(self):
        model = make_model()
        self.assertCountEqual([*body(model), *head(model)], everything(model))
        alone = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="out")])
        with self.assertRaisesRegex(ValueError, "variable before the head. Received: .*out/kernel"):
            body(alone)

    def test_matching(self):
        self.assertEqual(layers_of(matching("one|out/bias")(make_model()))[-1], ("out", "bias"))
        self.assertLen(matching("one|out/bias")(make_model()), 3)
        self.assertLen(matching("kernel$")(make_model()), 3)

    def test_matching_nothing(self):
        with self.assertRaisesRegex(
            ValueError, "Expected pattern 'conv' to match a trainable variable. Received:.*two"
        ):
            matching("conv")(make_model())

    def test_bad_pattern(self):
        with self.assertRaisesRegex(ValueError, r"Expected a regular expression. Received: '\('"):
            matching("(")
        with self.assertRaisesRegex(ValueError, "Received: 1.5"):
            matching(1.5)

    def test_survives_serialization(self):
        for selection in (everything, head):
            config = keras.saving.serialize_keras_object(selection)
            self.assertIs(keras.saving.deserialize_keras_object(config), selection)
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(matching("a|b")))
        self.assertEqual((type(copy), copy.pattern), (matching, "a|b"))

    def test_variables_without_gradient_do_not_count(self):
        model = keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization(name="norm")])
        model(tf.ones((2, 3)))
        self.assertEqual(layers_of(everything(model)), [("norm", "gamma"), ("norm", "beta")])


if __name__ == "__main__":
    absltest.main()
