"""Tests of maml_tf.core.functional."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf.core.functional import FunctionalModel, bind, unique_names
from tests.support.small_models import sequential


class FunctionalModelTest(parameterized.TestCase):
    def test_agrees_with_the_model(self):
        model = sequential(keras.layers.Dense(4, "relu"), keras.layers.BatchNormalization(), keras.layers.Dense(2))
        pure = FunctionalModel(model)
        x = keras.random.normal((5, 3))
        before = [variable.numpy() for variable in model.variables]
        outputs, added, state = pure(pure.parameters(), pure.state(), x, training=True)
        for variable, value in zip(model.variables, before, strict=True):
            np.testing.assert_array_equal(variable, value)
        np.testing.assert_allclose(outputs, model(x, training=True), rtol=1e-6)
        self.assertIsNone(added)
        for value, variable in zip(state, model.non_trainable_variables, strict=True):
            np.testing.assert_allclose(value, variable, rtol=1e-6)

    def test_training_flag_reaches_the_layers(self):
        model = sequential(keras.layers.Dropout(0.5))
        pure = FunctionalModel(model)
        ones = tf.ones((4, 3))
        np.testing.assert_array_equal(pure({}, pure.state(), ones, training=False).outputs, ones)
        self.assertIn(0.0, pure({}, pure.state(), ones, training=True).outputs.numpy())

    def test_reads_what_is_passed(self):
        model = sequential(keras.layers.Dense(1, use_bias=False))
        pure = FunctionalModel(model)
        (name,) = pure.names
        outputs = pure({name: tf.fill((3, 1), 2.0)}, [], tf.ones((1, 3)), training=False).outputs
        self.assertEqual(float(outputs[0, 0]), 6.0)

    def test_added_losses_are_summed(self):
        dense = keras.layers.Dense(2, kernel_regularizer=keras.regularizers.L2(0.5))
        model = sequential(dense, keras.layers.ActivityRegularization(l1=1.0))
        pure = FunctionalModel(model)
        added = pure(pure.parameters(), pure.state(), tf.ones((1, 3)), training=True).added_loss
        expected = 0.5 * np.sum(dense.kernel.numpy() ** 2) + np.sum(np.abs(model(tf.ones((1, 3)))))
        self.assertAlmostEqual(float(added), expected, places=5)

    @parameterized.parameters(
        ("mixed_bfloat16", "bfloat16", "float32"),
        ("bfloat16", "bfloat16", "float32"),
        ("float32", "float64", "float64"),
        ("float64", "float64", "float64"),
    )
    def test_added_losses_of_different_types_are_summed(self, kernel_dtype, activity_dtype, expected):
        ones = {"kernel_initializer": "ones", "kernel_regularizer": keras.regularizers.L2(0.5)}
        model = sequential(
            keras.layers.Dense(2, dtype=kernel_dtype, **ones),
            keras.layers.ActivityRegularization(l1=1.0, dtype=activity_dtype),
        )
        pure = FunctionalModel(model)
        added = pure(pure.parameters(), pure.state(), tf.ones((1, 3)), training=True).added_loss
        self.assertEqual(added.dtype, expected)
        self.assertEqual(float(added), 0.5 * 6 + 2 * 3)

    def test_gradients_flow_to_the_parameters(self):
        pure = FunctionalModel(sequential(keras.layers.Dense(1)))
        params = pure.parameters()
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = tf.reduce_sum(pure(params, [], tf.ones((2, 3)), training=True).outputs)
        gradients = tape.gradient(loss, params)
        np.testing.assert_array_equal(gradients[pure.names[0]], 2 * np.ones((3, 1)))
        np.testing.assert_array_equal(gradients[pure.names[1]], [2.0])

    def test_seeds_differ_between_tasks_and_advance(self):
        model = sequential(keras.layers.Dropout(0.5, seed=3))
        pure = FunctionalModel(model)
        (seed,) = model.non_trainable_variables
        np.testing.assert_array_equal(pure.state()[0], seed)
        np.testing.assert_array_equal(pure.state(0)[0], seed)
        values = [tuple(pure.state(task)[0].numpy()) for task in range(50)]
        self.assertLen(set(values), 50)
        ones = tf.ones((2, 30))
        model = keras.Sequential([keras.Input((30,)), keras.layers.Dropout(0.5, seed=3)])
        pure = FunctionalModel(model)
        first = pure({}, pure.state(1), ones, training=True)
        again = pure({}, pure.state(1), ones, training=True)
        other = pure({}, pure.state(2), ones, training=True)
        following = pure({}, first.state, ones, training=True)
        np.testing.assert_array_equal(first.outputs, again.outputs)
        self.assertFalse(np.array_equal(first.outputs, other.outputs))
        self.assertFalse(np.array_equal(first.outputs, following.outputs))

    def test_task_leaves_other_state_alone(self):
        pure = FunctionalModel(sequential(keras.layers.BatchNormalization()))
        for value, other in zip(pure.state(), pure.state(tf.constant(7)), strict=True):
            np.testing.assert_array_equal(value, other)

    def test_assign_state(self):
        model = sequential(keras.layers.BatchNormalization())
        FunctionalModel(model).assign_state([tf.fill((3,), 2.0), tf.fill((3,), 5.0)])
        np.testing.assert_array_equal(model.layers[0].moving_mean, [2.0] * 3)
        with self.assertRaises(ValueError):
            FunctionalModel(model).assign_state([tf.zeros(3)])

    def test_not_a_model(self):
        with self.assertRaisesRegex(TypeError, "Expected a keras.Model. Received: <.*of type Dense"):
            FunctionalModel(keras.layers.Dense(1))

    def test_unbuilt(self):
        with self.assertRaisesRegex(ValueError, "Expected a built model.*Received: 'lazy', which has no weights"):
            FunctionalModel(keras.Sequential([keras.layers.Dense(1)], name="lazy"))

    def test_float16(self):
        model = sequential(keras.layers.Dense(1, dtype="mixed_float16", name="half"))
        with self.assertRaisesRegex(ValueError, "layer 'half' with policy 'mixed_float16'; use 'mixed_bfloat16'"):
            FunctionalModel(model)

    def test_frozen_weights_are_neither_parameters_nor_state(self):
        frozen = keras.layers.Dense(4, trainable=False)
        norm = keras.layers.BatchNormalization(trainable=False)
        pure = FunctionalModel(sequential(frozen, norm, keras.layers.Dense(1)))
        self.assertLen(pure.parameters(), 2)
        self.assertEqual(pure.state_variables(), [norm.moving_mean, norm.moving_variance])

    @parameterized.parameters(True, False)
    def test_a_weight_that_a_call_changes_is_state_while_it_is_frozen(self, trainable):
        layer = keras.layers.SpectralNormalization(keras.layers.Dense(4))
        layer.trainable = trainable
        pure = FunctionalModel(sequential(layer))
        before = pure.state()
        after = pure(pure.parameters(), before, tf.ones((1, 3)), training=True).state
        self.assertLen(after, 1 if trainable else 3)
        self.assertTrue(any(np.any(new != old) for new, old in zip(after, before, strict=True)))

    def test_another_frozen_weight_that_a_call_changes(self):
        class Growing(keras.layers.Dense):
            def call(self, x):
                self.kernel.assign(2 * self.kernel)
                return super().call(x)

        pure = FunctionalModel(sequential(Growing(2, trainable=False)))
        with self.assertRaisesRegex(ValueError, "no frozen weights.*changes 1 other"):
            pure(pure.parameters(), pure.state(), tf.ones((1, 3)), training=True)

    def test_random_numbers_that_no_layer_holds_the_seed_of(self):
        """Keras' own seed would stand still: the same noise for every task and step."""

        class Noise(keras.layers.Layer):
            def call(self, x):
                return x + keras.random.normal(keras.ops.shape(x))

        pure = FunctionalModel(sequential(Noise(name="noise"), keras.layers.Dense(1)))
        with self.assertRaisesRegex(ValueError, "seed=self.seed_generator. Received: 'seq.*changes 1 other variables"):
            pure(pure.parameters(), pure.state(), tf.ones((1, 3)), training=True)

    def test_a_metric_that_a_layer_keeps_is_the_models(self):
        class Watched(keras.layers.Layer):
            def __init__(self):
                super().__init__()
                self.mean = keras.metrics.Mean()

            def call(self, x):
                self.mean.update_state(x)
                return x

        layer = Watched()
        pure = FunctionalModel(sequential(layer))
        before = float(layer.mean.result())
        np.testing.assert_array_equal(pure({}, [], tf.ones((1, 3)), training=True).outputs, np.ones((1, 3)))
        self.assertEqual(float(layer.mean.result()), before)

    def test_losses_of_the_last_call_do_not_count_again(self):
        """Inside another model's call Keras leaves them."""

        class Outer(keras.Model):
            def call(self, x):
                return [pure(pure.parameters(), pure.state(), x, training=True).added_loss for _ in range(20)]

        penalized = [keras.layers.Dense(3, activity_regularizer=keras.regularizers.L2(1.0)) for _ in range(3)]
        pure = FunctionalModel(sequential(*penalized))
        losses = [float(loss) for loss in Outer()(tf.ones((2, 3)))]
        self.assertLen(set(losses), 1)
        self.assertEqual(losses[0], float(pure(pure.parameters(), pure.state(), tf.ones((2, 3)), True).added_loss))

    def test_stateful_recurrent_layers(self):
        model = keras.Sequential([keras.Input((4, 2), batch_size=3), keras.layers.GRU(2, stateful=True, name="gru")])
        with self.assertRaisesRegex(ValueError, "Received: layer 'gru' with stateful=True"):
            FunctionalModel(model)


class UniqueNamesTest(absltest.TestCase):
    def test_the_number_is_the_layers(self):
        """What goes by layer or by the end of the path, such as step sizes and `matching`, tells them apart."""
        inner = [keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, use_bias=bias, name="d")], name="s")
                 for bias in (False, True)]  # fmt: skip
        outer = TwoSame(inner)
        outer(tf.ones((1, 2)))
        pure = FunctionalModel(outer)
        self.assertEqual(pure.names, ["s/d/kernel", "s/d#2/kernel", "s/d#2/bias"])
        self.assertEqual(list(pure.parameters()), pure.names)

    def test_weights_of_one_name_in_a_layer(self):
        class TwoWeights(keras.layers.Layer):
            def build(self, input_shape):
                self.weights_of_one_name = [self.add_weight(shape=(), name="w") for _ in range(2)]

            def call(self, x):
                return x * self.weights_of_one_name[0] + self.weights_of_one_name[1]

        names = unique_names(sequential(TwoWeights(name="own")))
        self.assertEqual([name.partition("/")[2] for name in names], ["own/w", "own/w#2"])


class TwoSame(keras.Model):
    def __init__(self, parts):
        super().__init__()
        self.parts = parts

    def call(self, x):
        return self.parts[1](self.parts[0](x))


class BindTest(absltest.TestCase):
    def test_reads_the_value_inside_alone(self):
        variable = keras.Variable(1.0)
        with bind([variable], [tf.constant(5.0)]):
            self.assertEqual(float(tf.convert_to_tensor(variable)), 5.0)
        self.assertEqual(float(variable), 1.0)

    def test_counts_must_agree(self):
        with self.assertRaises(ValueError):
            bind([keras.Variable(1.0)], [])


if __name__ == "__main__":
    absltest.main()
