"""Tests of the Gaussian policies."""

import pathlib
import tempfile

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.rl.policy import GaussianPolicy, PurePolicy, gaussian_mlp_policy
from tests.rl import examples
from tests.support.keras_warnings import ignore_array_copy


def network_of(*layers):
    return keras.Sequential([keras.Input((2,)), *layers], name="net")


class AddsLoss(keras.layers.Layer):
    def call(self, inputs):
        self.add_loss(keras.ops.sum(inputs**2))
        return inputs


class GaussianPolicyTest(parameterized.TestCase):
    def test_the_papers_policy(self):
        policy = gaussian_mlp_policy(20, 6)
        self.assertEqual(policy.count_params(), 20 * 100 + 100 + 100 * 100 + 100 + 100 * 6 + 6 + 6)
        np.testing.assert_array_equal(policy.distribution(tf.zeros((3, 20))).stddev(), np.ones((3, 6)))
        for layer in policy.network.layers:
            if isinstance(layer, keras.layers.Dense):
                kernel, bias = (np.asarray(weight) for weight in (layer.kernel, layer.bias))
                limit = np.sqrt(6 / sum(kernel.shape))
                self.assertLess(np.abs(kernel).max(), limit)
                self.assertGreater(np.abs(kernel).max(), 0.9 * limit)
                np.testing.assert_array_equal(bias, 0.0)

    def test_the_standard_deviation_has_a_floor(self):
        policy = gaussian_mlp_policy(2, 1)
        policy.log_std.assign([-100.0])
        np.testing.assert_allclose(policy.distribution(tf.zeros((1, 2))).stddev(), [[1e-6]], rtol=1e-5)

    def test_the_pure_function_equals_the_model_and_leaves_it_alone(self):
        pure = examples.policy()
        params = {name: value + 0.1 for name, value in pure.parameters().items()}
        observations = tf.constant(np.random.default_rng(0).normal(size=(4, 2)))
        before = pure.policy.get_weights()
        mean, log_std = pure(params, observations)
        for old, new in zip(before, pure.policy.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
        pure.assign(params)
        np.testing.assert_allclose(pure.policy(observations)[0], mean)
        np.testing.assert_allclose(pure.policy(observations)[1], log_std)

    def test_saves_and_loads_as_a_keras_model(self):
        ignore_array_copy()
        policy = gaussian_mlp_policy(3, 2)
        policy.log_std.assign([0.5, -0.5])
        with tempfile.TemporaryDirectory() as folder:
            policy.save(pathlib.Path(folder, "policy.keras"))
            loaded = keras.models.load_model(pathlib.Path(folder, "policy.keras"))
        observations = tf.ones((4, 3))
        for one, other in zip(policy(observations), loaded(observations), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_its_configuration_makes_it_again(self):
        policy = GaussianPolicy(gaussian_mlp_policy(2, 1).network, initial_log_std=-1.5, min_std=0.5, name="acting")
        again = GaussianPolicy.from_config(policy.get_config())
        self.assertEqual((again.min_std, again.name), (0.5, "acting"))
        np.testing.assert_array_equal(again.log_std, [-1.5])

    @parameterized.named_parameters(
        ("weights", lambda: network_of(keras.layers.Dense(1, kernel_regularizer="l2"))),
        ("outputs", lambda: network_of(keras.layers.Dense(1, activity_regularizer="l2"))),
        ("inside", lambda: network_of(network_of(keras.layers.Dense(1, bias_regularizer="l1")))),
        ("added", lambda: network_of(AddsLoss(), keras.layers.Dense(1))),
    )
    def test_losses_that_no_objective_would_count_are_refused(self, build):
        with self.assertRaisesRegex(ValueError, "losses.*Received: 'net'"):
            GaussianPolicy(build())

    @parameterized.parameters(
        ({"dtype": "bfloat16"}, {"dtype": "bfloat16"}, r"\['bfloat16'\]"),
        ({"dtype": "float32"}, {"dtype": "mixed_bfloat16"}, r"\['bfloat16', 'float32'\]"),
        ({"dtype": "float32"}, {"dtype": "float64"}, r"\['float32', 'float64'\]"),
    )
    def test_other_data_types_are_refused(self, hidden, head, received):
        network = network_of(keras.layers.Dense(3, **hidden), keras.layers.Dense(1, **head))
        with self.assertRaisesRegex(ValueError, f"all float32 or all float64. Received: {received}"):
            GaussianPolicy(network)

    def test_other_shapes_are_refused(self):
        one, other, sequence = keras.Input((2,)), keras.Input((2,)), keras.Input((5, 2))
        head = keras.layers.Dense(1)
        for network, received in (
            (keras.Model([one, other], head(one + other)), r"\(None, 2\), \(None, 2\)"),
            (keras.Model(one, [head(one), head(one)]), r"to .*\(None, 1\), \(None, 1\)"),
            (keras.Model(sequence, head(sequence)), r"from \(None, 5, 2\) to \(None, 5, 1\)"),
        ):
            with self.assertRaisesRegex(ValueError, rf"from observations \[.*Received: .*{received}"):
                GaussianPolicy(network)
        with self.assertRaisesRegex(ValueError, r"Received: a dict of \['mean'\]"):
            GaussianPolicy(keras.Model(one, {"mean": head(one)}))

    def test_a_network_without_variables_is_refused(self):
        with self.assertRaisesRegex(ValueError, "variables.*Received: 'net'"):
            GaussianPolicy(network_of(keras.layers.Activation("tanh")))

    def test_a_network_with_state_is_refused(self):
        network = keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization(), keras.layers.Dense(1)])
        with self.assertRaisesRegex(ValueError, "Expected a network whose variables are all trainable"):
            GaussianPolicy(network)

    def test_a_subclassed_network_is_refused(self):
        class Network(keras.Model):
            def __init__(self):
                super().__init__()
                self.dense = keras.layers.Dense(1)

            def call(self, inputs):
                return self.dense(inputs)

        network = Network()
        network(tf.ones((1, 2)))
        with self.assertRaisesRegex(ValueError, "Received: Network"):
            GaussianPolicy(network)
        inputs = keras.Input((2,))
        GaussianPolicy(keras.Model(inputs, network(inputs)))

    def test_a_bad_floor_is_refused(self):
        with self.assertRaisesRegex(ValueError, "Received: min_std=0"):
            GaussianPolicy(gaussian_mlp_policy(2, 1).network, min_std=0)

    def test_subclasses_that_no_objective_would_be_right_for_are_refused(self):
        class StateDependent(GaussianPolicy):
            def call(self, observations):
                mean, log_std = super().call(observations)
                return mean, log_std + 0.1 * mean

        class Penalised(GaussianPolicy):
            def call(self, observations):
                mean, log_std = super().call(observations)
                self.add_loss(keras.ops.sum(mean**2))
                return mean, log_std

        for kind, received in (
            (StateDependent, r"StateDependent with one of shape \(5, 1\)"),
            (Penalised, r"Penalised with one of shape \(1,\), which adds losses"),
        ):
            pure = PurePolicy(kind(network_of(keras.layers.Dense(1))))
            with self.assertRaisesRegex(ValueError, f"Received: {received}"):
                pure(pure.parameters(), tf.zeros((5, 2)))

    def test_parameters_include_the_standard_deviation(self):
        pure = PurePolicy(gaussian_mlp_policy(2, 1, hidden=()))
        self.assertEqual(list(pure.parameters()), ["policy/log_std", "head/kernel", "head/bias"])


if __name__ == "__main__":
    absltest.main()
