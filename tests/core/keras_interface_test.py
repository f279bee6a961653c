"""Tests of maml_tf.core.keras_interface."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest

from maml_tf.core.keras_interface import is_layer_graph, masks_of, quiet_config, seed_variables, with_masks
from tests.support.small_learner import Subclassed
from tests.support.small_models import FixedResidual, sequential


class IsLayerGraphTest(absltest.TestCase):
    def test_models_with_code_of_their_own_are_none(self):
        inputs = keras.Input((3,))
        self.assertTrue(is_layer_graph(sequential()))
        self.assertTrue(is_layer_graph(keras.Model(inputs, keras.layers.Dense(1)(inputs))))

        class Functional(Subclassed):
            pass

        for layer in (Subclassed(), FixedResidual(), Functional(), keras.layers.Dense(1)):
            self.assertFalse(is_layer_graph(layer))


class MasksTest(absltest.TestCase):
    def test_each_output_gets_its_own_back(self):
        plain, masked = tf.ones((2, 3)), tf.zeros((2, 3))
        masked._keras_mask = tf.constant([[True, False, True], [True, True, False]])
        masks = masks_of({"a": plain, "b": [masked, plain]})
        self.assertEqual([len(mask) for mask in masks], [0, 1, 0])
        other = tf.zeros((2, 3))
        outputs = with_masks({"a": plain, "b": [other, plain]}, masks)
        np.testing.assert_array_equal(outputs["b"][0]._keras_mask, masked._keras_mask)
        for output in (outputs["a"], outputs["b"][1], plain, other):
            self.assertFalse(hasattr(output, "_keras_mask"))


class SeedVariablesTest(absltest.TestCase):
    def test_those_of_seed_generators_whatever_their_names(self):
        class Other(keras.layers.Layer):
            def build(self, input_shape):
                self.counter = self.add_weight(name="seed_generator_state", dtype="int64", trainable=False)

            def call(self, x):
                return x

        dropout = keras.layers.Dropout(0.5)
        model = sequential(Other(), keras.Sequential([keras.Input((3,)), dropout]))
        self.assertEqual([id(variable) for variable in seed_variables(model)], [id(dropout.seed_generator.state)])


class QuietConfigTest(absltest.TestCase):
    def test_is_the_configuration_where_there_is_no_lambda(self):
        for layer in (
            keras.layers.Dense(3, "relu", kernel_regularizer="l2"),
            keras.layers.Bidirectional(keras.layers.LSTM(3)),
            keras.layers.RNN([keras.layers.GRUCell(3), keras.layers.GRUCell(2)]),
            keras.layers.MultiHeadAttention(2, 3),
        ):
            self.assertEqual(quiet_config(layer), layer.get_config())

    def test_the_layer_keeps_its_lambda(self):
        activation = lambda x: 2.0 * x  # noqa: E731
        layer = keras.layers.TimeDistributed(keras.layers.Dense(1, activation=activation))
        quiet_config(layer)
        self.assertIs(layer.layer.activation, activation)


if __name__ == "__main__":
    absltest.main()
