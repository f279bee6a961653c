"""Tests of maml_tf.diagnostics.as_float64."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf.diagnostics.as_float64 import as_float64, cast_floating


class Single(keras.layers.Layer):
    """Computes in float32, whatever the policy."""

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(), dtype="float32", initializer="ones")

    def call(self, x):
        return keras.ops.cast(x, "float32") * self.scale


class Unmakeable(keras.layers.Dense):
    """Has a constructor that its configuration does not fit."""

    def get_config(self):
        return {"unknown": 1}


class Float64TwinTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.x = tf.constant(np.random.default_rng(0).normal(size=(5, 4)), tf.float32)

    def test_has_the_layers_values_in_variables_of_its_own(self):
        dense = keras.layers.Dense(3, activation="tanh")
        outputs = dense(self.x)
        twin = as_float64(dense, (self.x,), {})
        np.testing.assert_array_equal(twin.kernel, np.asarray(dense.kernel, np.float64))
        self.assertIsNot(twin.kernel, dense.kernel)
        self.assertEqual(dense.kernel.dtype, "float32")
        computed = twin(cast_floating(self.x, "float64"))
        self.assertEqual(computed.dtype, tf.float64)
        np.testing.assert_allclose(computed, outputs, rtol=1e-5)

    def test_sub_layers_and_their_configurations_are_in_float64_too(self):
        layer = keras.layers.Bidirectional(keras.layers.SimpleRNN(2, dtype="float32"))
        steps = self.x[tf.newaxis]
        layer(steps)
        twin = as_float64(layer, (steps,), {})
        self.assertEqual({variable.dtype for variable in twin.trainable_variables}, {"float64"})

    @parameterized.parameters(Single, lambda: Unmakeable(3))
    def test_none_where_there_is_no_twin(self, make):
        layer = make()
        layer(self.x)
        self.assertIsNone(as_float64(layer, (self.x,), {}))
        self.assertEqual(keras.config.dtype_policy().name, "float32")

    def test_an_operation_is_its_own(self):
        inputs = keras.Input((4,))
        operation = keras.Model(inputs, keras.ops.exp(inputs)).operations[-1]
        self.assertIs(as_float64(operation, (self.x,), {}), operation)

    def test_casts_floating_tensors_alone(self):
        nest = {"x": self.x, "labels": tf.constant([1, 2]), "axis": -1}
        cast = cast_floating(nest, "float64")
        self.assertEqual((cast["x"].dtype, cast["labels"].dtype, cast["axis"]), (tf.float64, tf.int32, -1))


if __name__ == "__main__":
    absltest.main()
