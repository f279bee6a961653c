"""Tests of maml_tf.layers.context."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

import maml_tf
from maml_tf.layers import ContextVector


class ContextVectorTest(parameterized.TestCase):
    @parameterized.parameters(
        ((3,), False, (2,)),
        ((4, 5, 1), False, (1, 1, 2)),
        ((4, 5, 1), True, (4, 5, 2)),
    )
    def test_the_parameters_follow_the_inputs(self, shape, per_position, weights):
        layer = ContextVector(2, per_position, initializer="random_normal")
        inputs = np.random.default_rng(0).random((6, *shape), np.float32)
        outputs = layer(inputs)
        self.assertEqual(layer.context.shape, weights)
        self.assertEqual(outputs.shape, layer.compute_output_shape(inputs.shape))
        np.testing.assert_array_equal(outputs[..., : shape[-1]], inputs)
        expected = np.broadcast_to(np.asarray(layer.context), (6, *shape[:-1], 2))
        np.testing.assert_array_equal(outputs[..., shape[-1] :], expected)

    def test_half_precision(self):
        layer = ContextVector(2, initializer="ones", dtype="mixed_bfloat16")
        outputs = layer(tf.zeros([3, 1]))
        self.assertEqual((outputs.dtype, layer.context.dtype), (tf.bfloat16, "float32"))
        np.testing.assert_array_equal(tf.cast(outputs, tf.float32), [[0, 1, 1]] * 3)

    def test_whole_numbers_would_cut_the_parameters_and_are_an_error(self):
        with self.assertRaisesRegex((ValueError, tf.errors.InvalidArgumentError), "uint8"):
            ContextVector(2, initializer="ones")(tf.zeros([3, 1], tf.uint8))

    def test_adapting_the_context_alone_is_a_gradient_step_on_it(self):
        # The network is linear, y = w x + v z, and the loss (y - t)^2: dL/dz = 2 v (y - t).
        model = keras.Sequential([keras.Input((1,)), ContextVector(1, name="context_vector"), keras.layers.Dense(1)])
        model.set_weights([np.array([0.5]), np.array([[2.0], [3.0]]), np.array([0.0])])
        learner = maml_tf.MAML(model, "mse", 0.1, adapted=maml_tf.matching("context_vector"))
        adapted = learner.adapt(tf.constant([[1.0]]), tf.constant([[1.0]]), steps=1)
        context, kernel, bias = adapted.get_weights()
        np.testing.assert_allclose(context, [0.5 - 0.1 * 2 * 3 * (2 + 1.5 - 1)], rtol=1e-6)
        np.testing.assert_array_equal(kernel, [[2.0], [3.0]])
        np.testing.assert_array_equal(bias, [0.0])
        _, gradients = learner.meta_gradients(((tf.ones([1, 1, 1]),) * 3, tf.ones([1, 1, 1])))
        self.assertLen(gradients, 3)

    def test_it_is_saved_with_its_settings(self):
        layer = ContextVector(3, True, initializer="ones", name="z")
        again = ContextVector.from_config(layer.get_config())
        self.assertEqual((again.size, again.per_position, again.name), (3, True, "z"))
        np.testing.assert_array_equal(again(tf.zeros([1, 2, 2, 1]))[0, 0, 0], [0, 1, 1, 1])

    @parameterized.parameters(0, -1, True, 2.0)
    def test_a_size_that_is_none_is_an_error(self, size):
        with self.assertRaisesRegex(ValueError, f"Received: size={size}"):
            ContextVector(size)

    def test_positions_must_be_known(self):
        with self.assertRaisesRegex(ValueError, "Expected inputs of a known size for per_position=True"):
            ContextVector(1, per_position=True)(keras.Input((None, None, 1)))


if __name__ == "__main__":
    absltest.main()
