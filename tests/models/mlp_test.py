"""The fully connected networks."""

import keras
import numpy as np
from absl.testing import absltest, parameterized

from maml_tf.models import mlp, omniglot_dense


class MlpTest(parameterized.TestCase):
    def test_default_is_the_sinusoid_network(self):
        model = mlp()
        self.assertEqual(model.name, "mlp")
        self.assertEqual(
            [layer.name for layer in model.layers],
            ["input", "hidden1", "activation1", "hidden2", "activation2", "head"],
        )
        self.assertEqual(model.count_params(), (1 * 40 + 40) + (40 * 40 + 40) + (40 * 1 + 1))
        self.assertEqual(model(np.zeros((7, 1))).shape, (7, 1))

    def test_computes_the_composition_of_its_layers(self):
        model = mlp((3,), (5,), 2, activation="tanh", output_activation="softplus", dtype="float64")
        x = np.random.default_rng(0).normal(size=(4, 3))
        w1, b1, w2, b2 = (weight.numpy() for weight in model.weights)
        expected = np.log1p(np.exp(np.tanh(x @ w1 + b1) @ w2 + b2))
        np.testing.assert_allclose(model(x), expected, rtol=1e-10)

    def test_outputs_are_linear_by_default(self):
        self.assertIs(mlp().get_layer("head").activation, keras.activations.linear)

    def test_no_hidden_layer(self):
        model = mlp((3,), (), 2)
        self.assertEqual([layer.name for layer in model.layers], ["input", "head"])
        self.assertEqual(model.count_params(), 3 * 2 + 2)

    @parameterized.parameters(
        # A beta a unit; moving averages a unit; or a beta and a gamma a unit.
        ("batch", "always", 1, 0),
        ("batch", "training", 1, 2),
        ("layer", "always", 2, 0),
    )
    def test_normalization(self, normalization, batch_statistics, trainable, fixed):
        model = mlp((3,), (5, 5), normalization=normalization, batch_statistics=batch_statistics)
        self.assertEqual([layer.name for layer in model.layers][2:4], ["norm1", "activation1"])
        plain = (3 * 5 + 5) + (5 * 5 + 5) + (5 * 1 + 1)
        self.assertEqual(model.count_params(), plain + 10 * (trainable + fixed))
        self.assertEqual(sum(int(np.prod(w.shape)) for w in model.non_trainable_weights), 10 * fixed)

    def test_same_seed_same_weights_and_layers_differ(self):
        weights = []
        for seed in (1, 1, 2):
            keras.utils.set_random_seed(seed)
            weights.append(mlp((4,), (4, 4)).get_weights())
        for first, again, other in zip(*weights, strict=True):
            np.testing.assert_array_equal(first, again)
            if first.ndim == 2:
                self.assertGreater(np.abs(first - other).max(), 0)

    def test_one_initializer_object_draws_each_layer_anew(self):
        initializer = keras.initializers.TruncatedNormal(stddev=0.01)
        weights = mlp((4,), (4, 4), 4, kernel_initializer=initializer).get_weights()
        kernels = [weight for weight in weights if weight.ndim == 2]
        self.assertLess(max(np.abs(kernel).max() for kernel in kernels), 0.021)
        for i, j in ((0, 1), (1, 2), (0, 2)):
            self.assertGreater(np.abs(kernels[i] - kernels[j]).max(), 0)

    def test_head_initializer(self):
        model = mlp(head_initializer="zeros")
        np.testing.assert_array_equal(model(np.ones((3, 1))), 0)

    @parameterized.parameters(("float64", "float64", "float64"), ("mixed_bfloat16", "bfloat16", "float32"))
    def test_dtype(self, dtype, compute, outputs):
        model = mlp((3,), (5,), dtype=dtype, normalization="batch")
        self.assertEqual(model.get_layer("hidden1").output.dtype, compute)
        self.assertEqual(model.output.dtype, outputs)

    @parameterized.parameters(
        ({"input_shape": 3}, "Received: input_shape=3"),
        ({"input_shape": (0,)}, r"Received: input_shape\[0\]=0"),
        ({"hidden": 40}, "Expected hidden to be a tuple of sizes. Received: hidden=40"),
        ({"hidden": (40, -1)}, r"Received: hidden\[1\]=-1"),
        ({"outputs": 0}, "Received: outputs=0"),
        ({"outputs": True}, "Received: outputs=True"),
        ({"normalization": "group"}, "normalization to be one of .* Received: normalization='group'"),
        (
            {"normalization": "batch", "batch_statistics": "never"},
            "batch_statistics to be one of .* Received: .*'never'",
        ),
        ({"batch_statistics": "never"}, "batch_statistics to be one of .* Received: .*'never'"),
    )
    def test_bad_arguments(self, options, message):
        with self.assertRaisesRegex(ValueError, message):
            mlp(**options)


class OmniglotDenseTest(parameterized.TestCase):
    @parameterized.parameters(5, 20)
    def test_has_the_papers_layers(self, ways):
        model = omniglot_dense(ways)
        expected = ["input", "flatten"]
        for number in (1, 2, 3, 4):
            expected += [f"hidden{number}", f"norm{number}", f"activation{number}"]
        self.assertEqual([layer.name for layer in model.layers], [*expected, "head"])
        kernels = 784 * 256 + 256 * 128 + 128 * 64 + 64 * 64
        betas = 256 + 128 + 64 + 64
        self.assertEqual(model.count_params(), kernels + betas + 64 * ways + ways)
        self.assertEqual(model(np.zeros((3, 28, 28, 1))).shape, (3, ways))

    def test_bad_ways(self):
        with self.assertRaisesRegex(ValueError, "Received: ways=0"):
            omniglot_dense(0)


if __name__ == "__main__":
    absltest.main()
