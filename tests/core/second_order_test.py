"""Tests of maml_tf.core.second_order."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf import layers
from maml_tf.core.second_order import check_second_order
from tests.conformance import registry


class Standardized(keras.layers.Layer):
    """A user's own normalization, on TensorFlow's moments."""

    def call(self, x):
        mean, variance = tf.nn.moments(x, axes=[0], keepdims=True)
        return (x - mean) / tf.sqrt(variance + 1e-3)


class Network(keras.Model):
    """A user's own model, with code between its layers."""

    def __init__(self, exact):
        super().__init__(name="network")
        self.dense, self.exact = keras.layers.Dense(3, name="dense"), exact

    def call(self, x):
        x = self.dense(x)
        mean, variance = tf.nn.moments(x, axes=[0], keepdims=True)
        if self.exact:
            variance = tf.reduce_mean((x - mean) ** 2, axis=0, keepdims=True)
        return (x - mean) / tf.sqrt(variance + 1e-3)


def sequential(*model_layers, shape=(4,)):
    return keras.Sequential([keras.Input(shape), *model_layers])


def sample(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


class CheckSecondOrderTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("batch", lambda: keras.layers.BatchNormalization(name="bad"), (6, 4)),
        ("layer", lambda: keras.layers.LayerNormalization(name="bad"), (6, 4)),
        ("group", lambda: keras.layers.GroupNormalization(2, name="bad"), (6, 4)),
        ("bilinear", lambda: keras.layers.UpSampling2D(interpolation="bilinear", name="bad"), (2, 3, 3, 1)),
        ("own", lambda: Standardized(name="bad"), (6, 4)),
    )
    def test_names_the_wrong_layer(self, make, shape):
        model = sequential(keras.layers.Dense(shape[-1], name="good"), make(), shape=shape[1:])
        (finding,) = check_second_order(model, sample(*shape))
        self.assertEqual(finding.layer, "bad")
        self.assertGreater(finding.relative_error, 1e-2)
        self.assertIn("differs from central differences", finding.reason)

    def test_missing_derivative_names_layer_and_operation(self):
        model = sequential(keras.layers.Dense(2), keras.layers.Dense(2, "softsign", name="bad"))
        (finding,) = check_second_order(model, sample(3, 4))
        self.assertEqual(finding.layer, "bad")
        self.assertIn("SoftsignGrad", finding.reason)
        self.assertTrue(np.isnan(finding.relative_error))

    def test_code_of_a_subclassed_model(self):
        for exact in (False, True):
            with self.subTest(exact=exact):
                model = Network(exact)
                model(sample(6, 4))
                found = [finding.layer for finding in check_second_order(model, sample(6, 4))]
                self.assertEqual(found, [] if exact else ["network"])

    def test_each_offender_once_in_order(self):
        model = sequential(
            keras.layers.LayerNormalization(name="one"),
            keras.layers.Dense(4),
            keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization(name="two")]),
        )
        self.assertEqual([finding.layer for finding in check_second_order(model, sample(6, 4))], ["one", "two"])

    def test_shared_layer_is_found_once(self):
        norm, inputs = keras.layers.LayerNormalization(name="shared"), keras.Input((4,))
        model = keras.Model(inputs, norm(keras.layers.Dense(4)(norm(inputs))))
        self.assertEqual([finding.layer for finding in check_second_order(model, sample(6, 4))], ["shared"])

    @parameterized.named_parameters(*((entry.name, entry) for entry in registry.MODELS))
    def test_shipped_models_pass(self, entry):
        self.assertEmpty(check_second_order(entry.build(), sample(6, *entry.input_shape)))

    @parameterized.named_parameters(
        ("convolution", lambda: keras.layers.Conv2D(2, 3, activation="gelu"), (2, 6, 6, 1)),
        ("pooling", lambda: keras.layers.MaxPooling2D(), (2, 6, 6, 1)),
        ("ours_batch", lambda: layers.BatchNormalization(), (6, 4)),
        ("ours_layer", lambda: layers.LayerNormalization(), (6, 4)),
        ("dropout", lambda: keras.layers.Dropout(0.5), (6, 4)),
        ("lstm", lambda: keras.layers.LSTM(3), (2, 3, 2)),
    )
    def test_sound_layers_pass(self, make, shape):
        self.assertEmpty(check_second_order(sequential(make(), shape=shape[1:]), sample(*shape)))

    def test_embedding_and_attention_pass(self):
        inputs = keras.Input((3,), dtype="int32")
        x = keras.layers.Embedding(5, 4)(inputs)
        x = keras.layers.MultiHeadAttention(2, 2)(x, x)
        model = keras.Model(inputs, keras.layers.Dense(1)(x))
        self.assertEmpty(check_second_order(model, np.array([[0, 1, 4], [2, 2, 3]])))

    def test_says_what_was_checked_and_in_which_precision(self):
        class Single(keras.layers.Layer):
            """Takes no dtype, so that it cannot be made again in float64."""

            def __init__(self):
                super().__init__(name="single")

            def call(self, x):
                return keras.ops.tanh(x)

        model = sequential(keras.layers.Dense(4, name="dense"), Single())
        self.assertEqual(check_second_order(model, sample(6, 4)).precisions, {"dense": "float64", "single": "float32"})

    def test_model_stays_as_it_is(self):
        model = sequential(keras.layers.Dense(4), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5))
        before = [variable.numpy() for variable in model.variables]
        x = sample(6, 4)
        outputs = np.array(model(x))
        check_second_order(model, x)
        for variable, value in zip(model.variables, before, strict=True):
            np.testing.assert_array_equal(variable, value)
        np.testing.assert_array_equal(model(x), outputs)
        self.assertNotIn("call", vars(model.layers[0]))

    def test_unbuilt_model(self):
        with self.assertRaisesRegex(ValueError, "Expected a built model"):
            check_second_order(keras.Sequential([keras.layers.Dense(1)]), sample(2, 2))


if __name__ == "__main__":
    absltest.main()
