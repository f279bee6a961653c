"""Tests of maml_tf.diagnostics.second_order."""

import warnings

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf import layers
from maml_tf.diagnostics.second_order import check_second_order
from maml_tf.diagnostics.unsupported_layers import UnsupportedLayer
from tests.conformance import registry


def standardized(x, exact=False):
    mean, variance = tf.nn.moments(x, axes=[0], keepdims=True)
    if exact:
        variance = tf.reduce_mean((x - mean) ** 2, axis=0, keepdims=True)
    return (x - mean) / tf.sqrt(variance + 1e-3)


class Standardized(keras.layers.Layer):
    """A user's own normalization, on TensorFlow's moments."""

    def call(self, x):
        return standardized(x)


class Network(keras.Model):
    """A user's own model, with code between its layers."""

    def __init__(self, exact):
        super().__init__(name="network")
        self.dense, self.exact = keras.layers.Dense(3, name="dense"), exact

    def call(self, x):
        return standardized(self.dense(x), self.exact)


class Block(keras.layers.Layer):
    """A user's own layer of layers, which it makes without a data type."""

    def __init__(self, exact=True, dense_dtype=None, norm=False, **kwargs):
        super().__init__(**kwargs)
        self.exact, self.dense_dtype, self.norm = exact, dense_dtype, norm
        self.first = keras.layers.Dense(3, "tanh", dtype=dense_dtype)
        self.between = keras.layers.LayerNormalization(name="inner_norm") if norm else keras.layers.Identity()
        self.second = keras.layers.Dense(2)

    def build(self, shape):
        for layer in (self.first, self.between, self.second):
            layer.build(shape)
            shape = layer.compute_output_shape(shape)

    def call(self, x):
        return self.second(standardized(self.between(self.first(x)), self.exact))

    def get_config(self):
        own = {"exact": self.exact, "dense_dtype": self.dense_dtype, "norm": self.norm}
        return {**super().get_config(), **own}


class OwnSequential(keras.Sequential):
    """Layers in a row, and a normalization of its own after them."""

    def call(self, x, training=None, mask=None):
        return standardized(super().call(x, training=training, mask=mask))


class Attention(keras.layers.Layer):
    """Attention of a sequence to itself."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.attention = keras.layers.MultiHeadAttention(2, 2)

    def call(self, x):
        return self.attention(x, x)


COMPOSITES = (
    ("time_distributed", lambda: keras.layers.TimeDistributed(keras.layers.Dense(2, "tanh"), name="composite")),
    ("bidirectional", lambda: keras.layers.Bidirectional(keras.layers.LSTM(2), name="composite")),
    ("cell", lambda: keras.layers.RNN(keras.layers.GRUCell(2), name="composite")),
    ("cells", lambda: keras.layers.RNN([keras.layers.GRUCell(2), keras.layers.LSTMCell(2)], name="composite")),
    (
        "nested_model",
        lambda: keras.layers.TimeDistributed(sequential(keras.layers.Dense(3, "tanh"), shape=(2,)), name="composite"),
    ),
    ("attention", lambda: Attention(name="composite")),
    ("own", lambda: Block(name="composite")),
)


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
        self.assertIn("central differences", finding.reason)

    @parameterized.named_parameters(
        (
            "wrapped",
            lambda: keras.layers.TimeDistributed(keras.layers.LayerNormalization(name="inner_norm")),
            "inner_norm",
        ),
        ("inside_own", lambda: Block(norm=True), "inner_norm"),
        ("own_code", lambda: Block(exact=False, name="block"), "block"),
        ("wrapped_own_code", lambda: keras.layers.TimeDistributed(Block(exact=False, name="block")), "block"),
        ("own_sequential", lambda: OwnSequential([keras.layers.Dense(3)], name="own"), "own"),
    )
    def test_names_the_wrong_part_of_a_composite(self, make, name):
        model = sequential(make(), keras.layers.Dense(2), shape=(3, 4))
        (finding,) = check_second_order(model, sample(3, 3, 4))
        self.assertEqual(finding.layer, name)
        self.assertGreater(finding.relative_error, 1e-2)

    @parameterized.parameters((None, "float64"), ("float32", "float32"))
    def test_a_composite_is_checked_in_the_precision_of_all_that_it_holds(self, dense_dtype, precision):
        model = sequential(Block(dense_dtype=dense_dtype, name="block"), shape=(3, 4))
        self.assertEqual(check_second_order(model, sample(3, 3, 4)).precisions["block"], precision)

    def test_missing_derivative_names_layer_and_operation(self):
        model = sequential(keras.layers.Dense(2), keras.layers.Dense(2, "softsign", name="bad"))
        (finding,) = check_second_order(model, sample(3, 4))
        self.assertEqual(finding.layer, "bad")
        self.assertIn("SoftsignGrad", finding.reason)
        self.assertTrue(np.isnan(finding.relative_error))

    def test_a_second_derivative_that_is_not_a_number(self):
        """That of relu(x)^1.5 is 0 times infinity below 0, where value and first derivative are 0."""

        class Power(keras.layers.Layer):
            def call(self, x):
                return tf.nn.relu(x) ** 1.5

        (finding,) = check_second_order(sequential(Power(name="bad")), sample(6, 4))
        self.assertEqual(finding.layer, "bad")
        self.assertTrue(np.isnan(finding.relative_error))

    def test_unsupported_layers_that_are_exact_here_are_named(self):
        """As of a layer that is wrong on a GPU alone."""
        known = [UnsupportedLayer("dense", "wrong on a GPU")]
        with absltest.mock.patch("maml_tf.diagnostics.second_order.unsupported_layers", return_value=known):
            (finding,) = check_second_order(sequential(keras.layers.Dense(2, name="dense")), sample(6, 4))
        self.assertEqual((finding.layer, finding.reason), ("dense", "wrong on a GPU"))
        self.assertTrue(np.isnan(finding.relative_error))

    def test_inputs_on_a_kink(self):
        """The maximum of equal values has no derivative there; beside it there is one."""
        model = sequential(keras.layers.MaxPooling2D(), shape=(6, 6, 1))
        self.assertEmpty(check_second_order(model, np.zeros((2, 6, 6, 1), np.float32)))

    def test_many_kinks_within_the_usual_step(self):
        # Images without any pattern, of which the check's own jitter alone tells the pixels apart.
        images = np.zeros([5, 84, 84, 32], np.float32)
        model = keras.Sequential([keras.Input(images.shape[1:]), layers.NormalizedReLU(True, name="norm")])
        self.assertEmpty(check_second_order(model, images))

    def test_the_seed_draws_the_directions(self):
        model = sequential(Standardized(name="bad"))
        errors = [check_second_order(model, sample(6, 4), seed=seed)[0].relative_error for seed in (0, 0, 5)]
        self.assertEqual(errors[0], errors[1])
        self.assertNotEqual(errors[0], errors[2])

    def test_code_of_a_subclassed_model(self):
        for exact in (False, True):
            with self.subTest(exact=exact):
                model = Network(exact)
                model(sample(6, 4))
                found = [finding.layer for finding in check_second_order(model, sample(6, 4))]
                self.assertEqual(found, [] if exact else ["network"])

    def test_the_training_flag_reaches_layers_that_a_subclassed_model_does_not_hand_it_to(self):
        """Keras does so by itself, where a model is called as `fit` and `MAML` call it."""

        class Norm(keras.layers.Layer):
            def call(self, x, training=False):
                return standardized(x, exact=not training)

        class Model(keras.Model):
            def __init__(self):
                super().__init__()
                self.norm = Norm(name="bad")

            def call(self, x, training=False):
                return self.norm(x)

        model = Model()
        model(sample(6, 4))
        self.assertEqual([finding.layer for finding in check_second_order(model, sample(6, 4))], ["bad"])

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

    def test_functions_that_keras_could_not_find_by_name_are_checked_in_float64(self):
        def halted(values):
            return values * tf.stop_gradient(values)

        good = keras.layers.Dense(3, activation=lambda values: values * tf.sigmoid(values), name="good")
        bad = keras.layers.TimeDistributed(keras.layers.Dense(3, activation=halted, name="bad"), name="around")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = check_second_order(sequential(good, bad, shape=(2, 3)), sample(4, 2, 3))
        self.assertEqual([finding.layer for finding in found], ["bad"])
        self.assertEqual(set(found.precisions.values()), {"float64"})

    @parameterized.named_parameters(*COMPOSITES)
    def test_layers_of_layers_pass_in_float64(self, make):
        found = check_second_order(sequential(make(), shape=(3, 2)), sample(5, 3, 2))
        self.assertEmpty(found)
        self.assertEqual(set(found.precisions.values()), {"float64"})
        self.assertIn("composite", found.precisions)

    @parameterized.named_parameters(*COMPOSITES)
    def test_layers_of_layers_pass_under_mixed_precision(self, make):
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            model = sequential(make(), shape=(3, 2))
            found = check_second_order(model, sample(5, 3, 2))
            self.assertEqual(keras.config.dtype_policy().name, "mixed_bfloat16")
        finally:
            keras.config.set_dtype_policy(policy)
        self.assertEmpty(found)
        self.assertEqual(found.precisions["composite"], "float64")

    def test_inner_layer_that_insists_on_float32(self):
        found = check_second_order(sequential(Block(dense_dtype="float32", name="own")), sample(6, 4))
        self.assertEmpty(found)
        self.assertEqual(found.precisions["own"], "float32")

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
