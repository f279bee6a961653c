"""The recurrent networks."""

import keras
import numpy as np
from absl.testing import absltest, parameterized

from maml_tf.models import gru_regressor


class GruRegressorTest(parameterized.TestCase):
    def test_one_output_a_sequence_of_any_length(self):
        model = gru_regressor((None, 2), units=(8, 6), outputs=3)
        self.assertEqual([layer.name for layer in model.layers], ["input", "gru1", "gru2", "head"])
        for time in (1, 5):
            self.assertEqual(model(np.zeros((4, time, 2))).shape, (4, 3))
        # Three gates, each with a kernel, a recurrent kernel and the two biases of the reset-after form.
        gates = 3 * (2 * 8 + 8 * 8 + 2 * 8) + 3 * (8 * 6 + 6 * 6 + 2 * 6)
        self.assertEqual(model.count_params(), gates + 6 * 3 + 3)

    def test_output_depends_on_the_order_of_the_sequence(self):
        model = gru_regressor((5, 2), dtype="float64")
        x = np.random.default_rng(0).normal(size=(3, 5, 2))
        self.assertGreater(np.abs(model(x) - model(x[:, ::-1])).max(), 1e-3)

    def test_has_no_cudnn_kernel(self):
        self.assertIs(gru_regressor((5, 2)).get_layer("gru1").use_cudnn, False)

    def test_same_seed_same_weights(self):
        weights = []
        for seed in (1, 1, 2):
            keras.utils.set_random_seed(seed)
            weights.append(gru_regressor((5, 2)).get_weights())
        for first, again in zip(*weights[:2], strict=True):
            np.testing.assert_array_equal(first, again)
        self.assertGreater(np.abs(weights[0][0] - weights[2][0]).max(), 0)

    def test_head_initializer_zeros(self):
        model = gru_regressor((5, 2), head_initializer="zeros")
        np.testing.assert_array_equal(model(np.ones((2, 5, 2))), 0)

    @parameterized.parameters(
        ({"input_shape": (2,)}, r"Received: input_shape=\(2,\)"),
        ({"input_shape": (5, None)}, "Received: features=None"),
        ({"input_shape": (0, 2)}, "Received: time=0"),
        ({"units": 40}, "Expected units to be a tuple of sizes. Received: units=40"),
        ({"units": ()}, r"at least one recurrent layer. Received: units=\(\)"),
        ({"units": (8, 0)}, r"Received: units\[1\]=0"),
        ({"outputs": 0}, "Received: outputs=0"),
    )
    def test_bad_arguments(self, options, message):
        with self.assertRaisesRegex(ValueError, message):
            gru_regressor(**{"input_shape": (5, 2), **options})


if __name__ == "__main__":
    absltest.main()
