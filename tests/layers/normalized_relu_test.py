"""Batch normalization, ReLU and pooling as one layer."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf.layers import BatchNormalization, NormalizedReLU

SMALL, LARGE, ROWS = (3, 7, 6, 4), (3, 27, 26, 2), (6, 5)


class NormalizedReLUTest(parameterized.TestCase):
    @parameterized.product(shape=(SMALL, LARGE), pool=(False, True), center=(False, True))
    def test_equals_three_layers(self, shape, pool, center):
        layer = NormalizedReLU(pool, center=center, beta_initializer=keras.initializers.RandomNormal(seed=1))
        layers = [BatchNormalization.transductive(center=center), keras.layers.ReLU()]
        layers += [keras.layers.MaxPooling2D(2)] if pool else []
        x = np.random.default_rng(1).normal(1.0, 2.0, shape).astype("float32")
        outputs = layer(x)
        separate = keras.Sequential([keras.Input(shape[1:]), *layers])
        separate.set_weights(layer.get_weights())
        np.testing.assert_allclose(outputs, separate(x), rtol=1e-4, atol=1e-5)
        self.assertEqual(layer.compute_output_shape(shape), outputs.shape)

    def test_rows_without_an_offset_in_float64(self):
        x = np.random.default_rng(2).normal(size=ROWS)
        expected = np.maximum((x - x.mean(0)) / np.sqrt(x.var(0) + 1e-3), 0)
        np.testing.assert_allclose(NormalizedReLU(center=False, dtype="float64")(x), expected, rtol=1e-10)

    @parameterized.product(pool=(False, True), shape=((None, 5, 6, 2), (None, None, None, 2)))
    def test_unknown_sizes(self, pool, shape):
        layer = NormalizedReLU(pool, epsilon=0.5, beta_initializer=keras.initializers.RandomNormal(seed=1))
        images = np.random.default_rng(3).normal(size=(2, 5, 6, 2)).astype("float32")
        known = layer(images)
        unknown = tf.function(layer, input_signature=[tf.TensorSpec(shape)])
        np.testing.assert_allclose(unknown(images), known, rtol=1e-4, atol=1e-5)
        inputs = keras.Input((None, None, 2))
        self.assertEqual(layer(inputs).shape, (None, None, None, 2))

    def test_inference_uses_the_batch_too(self):
        x = np.random.default_rng(4).normal(size=SMALL).astype("float32")
        layer = NormalizedReLU()
        np.testing.assert_array_equal(layer(x, training=False), layer(x, training=True))

    def test_half_precision_keeps_statistics_in_float32(self):
        x = tf.constant(300.0 + np.random.default_rng(5).normal(size=SMALL), tf.bfloat16)
        outputs = NormalizedReLU(dtype="mixed_bfloat16")(x)
        self.assertEqual(outputs.dtype, tf.bfloat16)
        expected = NormalizedReLU()(tf.cast(x, tf.float32))
        np.testing.assert_allclose(tf.cast(outputs, tf.float32), expected, rtol=1e-2)

    def test_configuration_round_trip(self):
        layer = NormalizedReLU(pool=True, epsilon=0.5, center=False, name="norm")
        copy = NormalizedReLU.from_config(layer.get_config())
        self.assertEqual(copy.get_config(), layer.get_config())
        self.assertEqual((copy.pool, copy.epsilon, copy.center), (True, 0.5, False))

    @parameterized.named_parameters(
        ("settled", lambda: NormalizedReLU(scale=True), r"Received: \['scale'\]"),
        ("settled_axis", lambda: NormalizedReLU(axis=1), r"Received: \['axis'\]"),
        ("epsilon", lambda: NormalizedReLU(epsilon=0.0), "Received: epsilon=0.0"),
        ("rows_to_pool", lambda: NormalizedReLU(pool=True)(np.ones((4, 3))), "Expected feature maps"),
        ("too_small", lambda: NormalizedReLU(pool=True)(np.ones((4, 1, 3, 3))), "of at least 2 x 2 to pool"),
        ("too_narrow", lambda: NormalizedReLU(pool=True)(np.ones((4, 3, 1, 3))), "of at least 2 x 2 to pool"),
        ("mask", lambda: NormalizedReLU()(np.ones((2, 3)), mask=np.ones(2, bool)), "Expected no mask"),
    )
    def test_bad_arguments(self, make, message):
        with self.assertRaisesRegex(ValueError, message):
            make()


if __name__ == "__main__":
    absltest.main()
