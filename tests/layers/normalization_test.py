"""The normalization layers: Keras' values, first derivatives, statistics and serialisation."""

import os
import warnings

import hypothesis
import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized
from hypothesis import strategies

from maml_tf.layers import BatchNormalization, GroupNormalization, LayerNormalization, closed_form

PAIRS = (
    ("batch_2d", BatchNormalization, {}, (6, 4)),
    ("batch_3d", BatchNormalization, {"epsilon": 1e-5, "momentum": 0.7}, (3, 5, 4)),
    ("batch_4d", BatchNormalization, {"scale": False}, (3, 5, 4, 2)),
    ("batch_channels_first", BatchNormalization, {"axis": 1}, (3, 4, 5, 2)),
    ("batch_5d", BatchNormalization, {"center": False}, (3, 2, 2, 2, 4)),
    ("batch_one_channel", BatchNormalization, {}, (6, 1)),
    ("layer_last", LayerNormalization, {}, (3, 5, 4)),
    ("layer_middle", LayerNormalization, {"axis": 1}, (3, 5, 4)),
    ("layer_two_axes", LayerNormalization, {"axis": [1, 2], "epsilon": 1e-2}, (3, 5, 4, 2)),
    ("layer_unscaled", LayerNormalization, {"scale": False}, (3, 4)),
    ("layer_uncentered", LayerNormalization, {"center": False}, (3, 4)),
    ("group_last", GroupNormalization, {"groups": 2}, (3, 5, 4)),
    ("group_first", GroupNormalization, {"groups": 2, "axis": 1, "epsilon": 1e-2}, (3, 4, 5, 2)),
    ("group_middle", GroupNormalization, {"groups": 2, "axis": -2}, (3, 5, 4, 2)),
    ("group_each", GroupNormalization, {"groups": -1, "scale": False}, (3, 5, 4)),
    ("group_one_uncentered", GroupNormalization, {"groups": 1, "center": False}, (3, 4)),
)


def stock(layer_class):
    return getattr(keras.layers, layer_class.__name__)


def random_twins(layer_class, options, shape, dtype="float64"):
    """Our layer and Keras', with the same random weights."""
    random = np.random.default_rng(0)
    twins = layer_class(dtype=dtype, **options), stock(layer_class)(dtype=dtype, **options)
    for layer in twins:
        layer.build(shape)
    for weights in zip(*(layer.weights for layer in twins), strict=True):
        value = random.uniform(0.5, 1.5, weights[0].shape)
        for weight in weights:
            weight.assign(value)
    return twins


def modes(layer_class):
    return ({"training": True}, {"training": False}) if layer_class is BatchNormalization else ({},)


class AgainstKerasTest(parameterized.TestCase):
    @parameterized.named_parameters(*PAIRS)
    def test_values_and_first_derivatives_are_keras(self, layer_class, options, shape):
        random = np.random.default_rng(1)
        x, cotangent = (tf.constant(random.normal(size=shape)) for _ in range(2))
        for mode in modes(layer_class):
            results = []
            for layer in random_twins(layer_class, options, shape):
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    outputs = layer(x, **mode)
                    loss = tf.reduce_sum(tf.tanh(outputs) * cotangent)
                sources = [x, *(weight.value for weight in layer.trainable_weights)]
                results.append([outputs, *tape.gradient(loss, sources), *layer.non_trainable_weights])
            for ours, theirs in zip(*results, strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)

    @parameterized.named_parameters(*PAIRS)
    def test_unknown_batch_size_in_a_compiled_function(self, layer_class, options, shape):
        ours, theirs = random_twins(layer_class, options, shape)
        x = tf.constant(np.random.default_rng(1).normal(size=shape))
        signature = [tf.TensorSpec([None, *shape[1:]], tf.float64)]
        compiled = tf.function(ours, input_signature=signature)
        np.testing.assert_allclose(compiled(x), theirs(x), rtol=1e-10)
        self.assertEqual(compiled.get_concrete_function().structured_outputs.shape.as_list(), [None, *shape[1:]])

    @hypothesis.given(sizes=strategies.lists(strategies.integers(2, 4), min_size=2, max_size=5), data=strategies.data())
    @hypothesis.settings(max_examples=20, deadline=None)
    def test_any_rank_and_axis(self, sizes, data):
        axis = data.draw(strategies.integers(-len(sizes), len(sizes) - 1))
        ours, theirs = random_twins(BatchNormalization, {"axis": axis}, tuple(sizes))
        x = np.random.default_rng(2).normal(size=sizes)
        np.testing.assert_allclose(ours(x, training=True), theirs(x, training=True), rtol=1e-9, atol=1e-12)

    def test_mask_leaves_positions_out_of_the_statistics(self):
        ours, theirs = random_twins(BatchNormalization, {}, (3, 5, 4))
        random = np.random.default_rng(1)
        x, mask = random.normal(size=(3, 5, 4)), random.uniform(size=(3, 5)) < 0.6
        for training in (True, False):
            outputs = ours(x, training=training, mask=mask)
            np.testing.assert_allclose(outputs, theirs(x, training=training, mask=mask), rtol=1e-10)
        np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, rtol=1e-10)
        elsewhere = np.where(mask[..., np.newaxis], x, np.nan)
        always = BatchNormalization.transductive(dtype="float64")
        np.testing.assert_allclose(
            np.array(always(elsewhere, mask=mask))[mask], np.array(always(x, mask=mask))[mask], rtol=1e-10
        )

    def test_axes_counted_from_both_ends_are_the_same(self):
        """Keras sorts them as they are, and gamma's axes with them."""
        shape = (3, 5, 4, 2)
        expected, _ = random_twins(LayerNormalization, {"axis": [1, 2]}, shape)
        layer = LayerNormalization(axis=[1, -2], dtype="float64")
        layer.build(shape)
        layer.set_weights(expected.get_weights())
        x = np.random.default_rng(1).normal(size=shape)
        np.testing.assert_array_equal(layer(x), expected(x))

    @parameterized.named_parameters(
        ("batch", BatchNormalization, {}),
        ("layer", LayerNormalization, {}),
        ("group", GroupNormalization, {"groups": 2}),
    )
    def test_half_precision_inputs_have_float32_statistics(self, layer_class, options):
        x = tf.constant(np.random.default_rng(1).normal(300.0, 1.0, size=(64, 4)), tf.bfloat16)
        layer = layer_class(dtype="mixed_bfloat16", **options)
        outputs = layer(x, **modes(layer_class)[0])
        self.assertEqual(outputs.dtype, tf.bfloat16)
        self.assertEqual({weight.dtype for weight in layer.weights}, {"float32"})
        expected = stock(layer_class)(**options)(tf.cast(x, tf.float32), **modes(layer_class)[0])
        np.testing.assert_allclose(tf.cast(outputs, tf.float32), expected, rtol=1e-2, atol=1e-2)
        with_half_weights = layer_class(dtype="bfloat16", **options)
        np.testing.assert_array_equal(with_half_weights(x, **modes(layer_class)[0]), outputs)


class BatchStatisticsTest(parameterized.TestCase):
    def test_always_uses_the_batch_in_inference_and_keeps_no_averages(self):
        layer = BatchNormalization.transductive(dtype="float64")
        x = np.random.default_rng(1).normal(3.0, 5.0, size=(20, 2))
        expected = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-3)
        for training in (True, False, None):
            np.testing.assert_allclose(layer(x, training=training), expected, rtol=1e-10)
        layer.trainable = False
        np.testing.assert_allclose(layer(x, training=False), expected, rtol=1e-10)
        self.assertEqual([weight.name for weight in layer.weights], ["beta"])
        self.assertEqual(BatchNormalization.transductive(epsilon=0.5).epsilon, 0.5)

    def test_a_large_mean_costs_the_variance_no_precision(self):
        x = np.random.default_rng(1).normal(1e4, 1.0, size=(64, 2)).astype("float32")
        exact = x.astype("float64")
        expected = (exact - exact.mean(0)) / np.sqrt(exact.var(0) + 1e-3)
        np.testing.assert_allclose(BatchNormalization.transductive()(x), expected, rtol=0, atol=5e-3)

    def test_always_takes_keras_other_arguments(self):
        layer = BatchNormalization(
            batch_statistics="always",
            beta_initializer="ones",
            gamma_regularizer=keras.regularizers.L2(0.5),
            beta_constraint=keras.constraints.NonNeg(),
        )
        layer.build((2, 3))
        np.testing.assert_array_equal(layer.beta, np.ones(3))
        self.assertEqual([float(loss) for loss in layer.losses], [0.5 * 3])
        self.assertIs(layer.beta.constraint, layer.beta_constraint)

    def test_training_differs_from_inference_by_default(self):
        layer = BatchNormalization(dtype="float64")
        x = np.random.default_rng(1).normal(3.0, 5.0, size=(20, 2))
        self.assertGreater(np.abs(layer(x, training=True) - layer(x, training=False)).max(), 1.0)

    def test_averages_are_threaded_through_stateless_call(self):
        layer = BatchNormalization(momentum=0.75, dtype="float64")
        x = np.random.default_rng(1).normal(size=(20, 2))
        layer.build(x.shape)
        before = [weight.numpy() for weight in layer.non_trainable_weights]
        _, state = layer.stateless_call(layer.trainable_variables, layer.non_trainable_variables, x, training=True)
        np.testing.assert_allclose(state[0], 0.25 * x.mean(0))
        np.testing.assert_allclose(state[1], 0.75 + 0.25 * x.var(0))
        for weight, value in zip(layer.non_trainable_weights, before, strict=True):
            np.testing.assert_array_equal(weight, value)

    def test_momentum_from_the_last_batch_alone_to_the_initial_averages(self):
        x = np.random.default_rng(1).normal(size=(20, 2))
        for momentum, expected in ((0.0, (x.mean(0), x.var(0))), (1.0, (np.zeros(2), np.ones(2)))):
            layer = BatchNormalization(momentum=momentum, dtype="float64")
            layer(x, training=True)
            for average, value in zip((layer.moving_mean, layer.moving_variance), expected, strict=True):
                np.testing.assert_allclose(average, value, rtol=1e-12)

    def test_frozen_layer_infers(self):
        layer = BatchNormalization(trainable=False)
        x = np.ones((4, 2), "float32")
        np.testing.assert_allclose(layer(x, training=True), x / np.sqrt(1 + 1e-3), rtol=1e-6)


class ClosedFormTest(parameterized.TestCase):
    @parameterized.parameters(
        ((5, 84, 84, 3), 3, True, True),
        ((None, 84, 84, 3), 3, True, False),
        ((5, 14, 14, 64), 3, True, False),
        ((5, None, 84, 3), 3, False, False),
        ((5, 84, 84, 84), 1, False, True),
    )
    def test_which_tensors_suit_and_which_are_compiled(self, shape, axis, suits, large):
        spec = tf.TensorSpec(shape)
        self.assertIs(closed_form.suits(spec, axis), suits)
        self.assertIs(closed_form.is_large(spec), large)

    def test_a_sequence_or_volume_does_not_suit(self):
        self.assertIs(closed_form.suits(tf.TensorSpec((5, 900, 3)), 2), False)
        self.assertIs(closed_form.suits(tf.TensorSpec((5, 9, 9, 3, 9)), 3), False)

    @parameterized.product(scale=(True, False), center=(True, False), batch_statistics=("training", "always"))
    def test_layer_equals_keras_on_large_images(self, scale, center, batch_statistics):
        shape = (3, 27, 26, 4)
        options = {"scale": scale, "center": center, "epsilon": 0.1}
        _, theirs = random_twins(BatchNormalization, options, shape)
        ours = BatchNormalization(batch_statistics=batch_statistics, dtype="float64", **options)
        ours.build(shape)
        ours.set_weights(theirs.get_weights()[: len(ours.weights)])
        x = np.random.default_rng(1).normal(2.0, 3.0, size=shape)
        np.testing.assert_allclose(ours(x, training=True), theirs(x, training=True), rtol=1e-10, atol=1e-10)
        for weight, expected in zip(ours.get_weights(), theirs.get_weights(), strict=False):
            np.testing.assert_allclose(weight, expected, rtol=1e-10)

    def test_channels_first_of_large_images(self):
        shape = (10, 20, 10, 4)
        self.assertTrue(closed_form.is_large(tf.TensorSpec(shape)))
        ours, theirs = random_twins(BatchNormalization, {"axis": 1}, shape)
        x = np.random.default_rng(1).normal(2.0, 3.0, size=shape)
        np.testing.assert_allclose(ours(x, training=True), theirs(x, training=True), rtol=1e-9, atol=1e-12)

    def test_a_mask_counts_on_large_images_too(self):
        shape = (3, 27, 26, 2)
        ours, theirs = random_twins(BatchNormalization, {}, shape)
        random = np.random.default_rng(1)
        x, mask = random.normal(size=shape), random.uniform(size=shape[:-1]) < 0.6
        outputs = ours(x, training=True, mask=mask)
        np.testing.assert_allclose(outputs, theirs(x, training=True, mask=mask), rtol=1e-9, atol=1e-12)


class SerialisationTest(parameterized.TestCase):
    @parameterized.named_parameters(*PAIRS)
    def test_configuration_round_trip(self, layer_class, options, shape):
        layer = layer_class(name="norm", gamma_initializer="zeros", **options)
        layer.build(shape)
        copy = layer_class.from_config(layer.get_config())
        copy.build(shape)
        self.assertEqual(copy.get_config(), layer.get_config())
        self.assertEqual([w.name for w in copy.weights], [w.name for w in layer.weights])
        for weight in copy.weights:
            if weight.name == "gamma":
                np.testing.assert_array_equal(weight, 0)

    def test_saved_model_loads_without_being_told_the_classes(self):
        inputs = x = keras.Input((6, 6, 4))
        for layer in (
            BatchNormalization.transductive(),
            BatchNormalization(momentum=0.5),
            LayerNormalization(axis=[1, -1]),
            GroupNormalization(2),
        ):
            x = layer(x)
        model = keras.Model(inputs, x)
        batch = np.random.default_rng(1).normal(2.0, 3.0, size=(3, 6, 6, 4)).astype("float32")
        model(batch, training=True)
        path = os.path.join(self.create_tempdir().full_path, "model.keras")
        with warnings.catch_warnings():
            # Keras' variables do not know the copy argument of NumPy 2.
            warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
            model.save(path)
            loaded = keras.saving.load_model(path)
        np.testing.assert_array_equal(loaded(batch), model(batch))
        self.assertEqual([type(layer) for layer in loaded.layers], [type(layer) for layer in model.layers])
        self.assertEqual(loaded.layers[1].batch_statistics, "always")
        self.assertEqual(loaded.layers[2].batch_statistics, "training")


class ArgumentsTest(parameterized.TestCase):
    @parameterized.parameters(
        ({"batch_statistics": "never"}, "Received: batch_statistics='never'"),
        ({"synchronized": True}, "Received: synchronized=True"),
        ({"renorm": True}, "Received: renorm=True"),
        ({"axis": [1, 2]}, r"Received: axis=\[1, 2\]"),
        ({"axis": True}, "Received: axis=True"),
        ({"momentum": 1.5}, "Received: momentum=1.5"),
        ({"momentum": -0.5}, "Received: momentum=-0.5"),
        ({"epsilon": 0.0}, "Received: epsilon=0.0"),
    )
    def test_batch(self, options, message):
        with self.assertRaisesRegex(ValueError, message):
            BatchNormalization(**options)

    @parameterized.parameters(
        (LayerNormalization, {"epsilon": -1.0}, "Received: epsilon=-1.0"),
        (LayerNormalization, {"rms_scaling": True}, "Received: rms_scaling=True"),
        (GroupNormalization, {"epsilon": float("nan")}, "Received: epsilon=nan"),
        (GroupNormalization, {"groups": 0}, "Received: groups=0"),
        (GroupNormalization, {"groups": 1.5}, "Received: groups=1.5"),
        (LayerNormalization, {"axis": "2"}, "Received: axis='2'"),
        (LayerNormalization, {"center": "no"}, "Received: center='no'"),
    )
    def test_others(self, layer_class, options, message):
        with self.assertRaisesRegex(ValueError, message):
            layer_class(**options)

    @parameterized.parameters(
        (
            BatchNormalization,
            {"axis": 2},
            (3, 4),
            r"to exist .* shape \(3, 4\). Received: axis=2",
        ),
        (BatchNormalization, {}, (3, None), r"to have a known length. Received: input shape \(3, None\)"),
        (LayerNormalization, {"axis": -3}, (3, 4), "distinct axes .* Received: axis=-3"),
        (LayerNormalization, {"axis": [1, -1]}, (3, 4), r"distinct axes .* Received: axis=\[1, -1\]"),
        (LayerNormalization, {"axis": []}, (3, 4), r"distinct axes .* Received: axis=\[\]"),
        (LayerNormalization, {}, (3, None), r"to have known lengths. Received: input shape \(3, None\)"),
        (GroupNormalization, {"groups": 1, "axis": 0}, (3, 4), "not be the first. Received: axis=0"),
        (GroupNormalization, {"groups": 1, "axis": 5}, (3, 4), "not be the first. Received: axis=5"),
        (GroupNormalization, {"groups": 3}, (3, 4), "must be a multiple"),
    )
    def test_inputs(self, layer_class, options, shape, message):
        with self.assertRaisesRegex(ValueError, message):
            layer_class(**options).build(shape)

    @parameterized.parameters("training", "always")
    def test_another_number_of_channels_than_the_layer_was_built_for(self, batch_statistics):
        layer = BatchNormalization(batch_statistics=batch_statistics)
        layer.build((4, 1))
        with self.assertRaisesRegex(ValueError, "incompatible with the layer"):
            layer(tf.ones([4, 3]))

    def test_mask_of_a_wrong_rank(self):
        with self.assertRaisesRegex(ValueError, r"Received: mask of shape \(3, 4\)"):
            BatchNormalization()(tf.ones([3, 4]), mask=tf.ones([3, 4], tf.bool))


if __name__ == "__main__":
    absltest.main()
