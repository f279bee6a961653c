"""The convolutional networks."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf.models import conv_net, gru_regressor, mini_imagenet_conv, mlp, omniglot_conv


def block_names(parts):
    return [f"{part}{number}" for number in (1, 2, 3, 4) for part in parts]


class PresetsTest(parameterized.TestCase):
    @parameterized.parameters(5, 20)
    def test_omniglot(self, ways):
        model = omniglot_conv(ways)
        self.assertEqual(
            [layer.name for layer in model.layers],
            ["input", *block_names(["conv", "norm"]), "mean", "head"],
        )
        self.assertEqual(model.input_shape, (None, 28, 28, 1))
        sizes = [model.get_layer(f"conv{number}").output.shape[1] for number in (1, 2, 3, 4)]
        self.assertEqual(sizes, [14, 7, 4, 2])
        self.assertEqual(model.count_params(), 9 * 64 + 3 * 9 * 64 * 64 + 4 * 64 + 64 * ways + ways)
        self.assertEqual(model(np.zeros((2, 28, 28, 1))).shape, (2, ways))

    def test_mini_imagenet(self):
        model = mini_imagenet_conv()
        self.assertEqual(
            [layer.name for layer in model.layers],
            ["input", *block_names(["conv", "norm"]), "flatten", "head"],
        )
        self.assertEqual(model.input_shape, (None, 84, 84, 3))
        sizes = [model.get_layer(f"norm{number}").output.shape[1] for number in (1, 2, 3, 4)]
        self.assertEqual(sizes, [42, 21, 10, 5])
        self.assertEqual(model.count_params(), 9 * 3 * 32 + 3 * 9 * 32 * 32 + 4 * 32 + 800 * 5 + 5)
        self.assertEqual(model(np.zeros((2, 84, 84, 3))).shape, (2, 5))

    def test_original_variables(self):
        model = omniglot_conv(use_bias=True, head_initializer=keras.initializers.RandomNormal(stddev=1.0))
        self.assertEqual(model.count_params(), 9 * 64 + 3 * 9 * 64 * 64 + 2 * 4 * 64 + 64 * 5 + 5)
        self.assertBetween(np.std(model.get_layer("head").kernel), 0.8, 1.2)


class ConvNetTest(parameterized.TestCase):
    def test_a_block_is_convolution_batch_norm_relu_and_pooling(self):
        model = conv_net((6, 6, 2), 3, filters=4, blocks=1, downsampling="pool", readout="flatten", dtype="float64")
        x = np.random.default_rng(0).normal(size=(3, 6, 6, 2))
        kernel, beta, head, bias = (weight.numpy() for weight in model.weights)
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        maps = sum(padded[:, i : i + 6, j : j + 6] @ kernel[i, j] for i in range(3) for j in range(3))
        maps = (maps - maps.mean((0, 1, 2))) / np.sqrt(maps.var((0, 1, 2)) + 1e-3) + beta
        pooled = np.maximum(maps, 0).reshape(3, 3, 2, 3, 2, 4).max((2, 4))
        np.testing.assert_allclose(model(x), pooled.reshape(3, -1) @ head + bias, rtol=1e-9, atol=1e-12)

    def test_logits_are_linear(self):
        self.assertIs(conv_net((8, 8, 1), blocks=1).get_layer("head").activation, keras.activations.linear)

    def test_bias_before_batch_norm_has_no_effect(self):
        model = conv_net((8, 8, 1), 2, filters=4, blocks=2, use_bias=True, dtype="float64")
        x = np.random.default_rng(0).normal(size=(3, 8, 8, 1))
        biases = [model.get_layer(name).bias.value for name in ("conv1", "conv2")]
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(model(x)))
        for gradient in tape.gradient(loss, biases):
            np.testing.assert_allclose(gradient, 0, atol=1e-12)

    def test_batch_statistics_option(self):
        x = np.random.default_rng(0).normal(size=(4, 8, 8, 1))
        always, training = (
            conv_net((8, 8, 1), filters=4, blocks=1, batch_statistics=option) for option in ("always", "training")
        )
        self.assertEmpty(always.non_trainable_weights)
        self.assertLen(training.non_trainable_weights, 2)
        np.testing.assert_array_equal(always(x, training=True), always(x, training=False))
        self.assertGreater(np.abs(training(x, training=True) - training(x, training=False)).max(), 1e-3)

    @parameterized.parameters((None, 0), ("batch", 2 * 4), ("layer", 2 * (4 * 4 * 4 + 2 * 2 * 4)))
    def test_normalization_option(self, normalization, parameters):
        model = conv_net((8, 8, 1), 2, filters=4, blocks=2, normalization=normalization)
        self.assertEqual(model.count_params(), 9 * 4 + 9 * 4 * 4 + parameters + 4 * 2 + 2)
        self.assertEqual(any(layer.name == "norm1" for layer in model.layers), normalization is not None)

    def test_head_initializer_zeros_gives_zero_logits(self):
        model = conv_net((8, 8, 1), blocks=1, head_initializer="zeros")
        np.testing.assert_array_equal(model(np.ones((2, 8, 8, 1))), 0)

    def test_mixed_precision_keeps_float32_logits(self):
        model = conv_net((8, 8, 1), blocks=1, dtype="mixed_bfloat16")
        self.assertEqual(model.get_layer("norm1").output.dtype, "bfloat16")
        self.assertEqual(model.output.dtype, "float32")

    @parameterized.parameters(
        (lambda: conv_net((8, 8, 1), blocks=1, normalization="layer"),),
        (lambda: mlp((8,), (3,)),),
        (lambda: gru_regressor((2, 8)),),
    )
    def test_the_default_data_type_is_keras_own(self, build):
        before = keras.config.dtype_policy()
        try:
            keras.config.set_dtype_policy("mixed_bfloat16")
            model = build()
            self.assertEqual({layer.compute_dtype for layer in model.layers[1:-1]}, {"bfloat16"})
            self.assertEqual(model.output.dtype, "float32")
            keras.config.set_dtype_policy("float64")
            self.assertEqual({weight.dtype for weight in build().weights}, {"float64"})
        finally:
            keras.config.set_dtype_policy(before)
        self.assertEqual({weight.dtype for weight in build().weights}, {"float32"})

    def test_numpy_integers_are_whole_numbers(self):
        self.assertEqual(conv_net((np.int64(8), 8, 1), ways=np.int32(3), blocks=1).output_shape, (None, 3))

    def test_same_seed_same_weights(self):
        weights = []
        for seed in (1, 1, 2):
            keras.utils.set_random_seed(seed)
            weights.append(conv_net((8, 8, 1), blocks=2, filters=4).get_weights())
        for first, again in zip(*weights[:2], strict=True):
            np.testing.assert_array_equal(first, again)
        self.assertGreater(np.abs(weights[0][0] - weights[2][0]).max(), 0)

    @parameterized.parameters(
        ({"input_shape": (8, 8)}, r"tuple of 3 sizes.* Received: input_shape=\(8, 8\)"),
        ({"input_shape": (8, None, 1)}, r"Received: input_shape\[1\]=None"),
        ({"ways": 0}, "Received: ways=0"),
        ({"filters": -1}, "Received: filters=-1"),
        ({"blocks": 1.5}, "Received: blocks=1.5"),
        ({"ways": "5"}, "Received: ways='5'"),
        ({"use_bias": "no"}, "Received: use_bias='no'"),
        ({"downsampling": "crop"}, "downsampling to be one of .* Received: downsampling='crop'"),
        ({"readout": "max"}, "readout to be one of .* Received: readout='max'"),
        ({"normalization": "group"}, "normalization to be one of .* Received: normalization='group'"),
        ({"batch_statistics": "no"}, "batch_statistics to be one of .* Received: .*'no'"),
        ({"downsampling": "pool"}, r"at least 16 x 16 .*Received: input_shape=\(8, 8, 1\)"),
    )
    def test_bad_arguments(self, options, message):
        with self.assertRaisesRegex(ValueError, message):
            conv_net(**{"input_shape": (8, 8, 1), **options})


if __name__ == "__main__":
    absltest.main()
