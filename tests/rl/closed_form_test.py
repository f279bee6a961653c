"""Tests of the closed form: equal to automatic differentiation, and used for no network that it does not fit."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.layers import ContextVector
from maml_tf.models import mlp
from maml_tf.rl.adaptation import PolicyAdaptation, TaskExperience
from maml_tf.rl.closed_form import FoldedReluNetwork, ReluNetwork, Weights, has_closed_form, relu_network
from maml_tf.rl.hessian_products import linearized
from maml_tf.rl.objectives import dice, likelihood_ratio, reinforce
from maml_tf.rl.policy import GaussianPolicy, PurePolicy
from tests.rl import examples

_FEW, _MANY = {"size": 2, "actions": 2}, {"size": 6, "actions": 3}


def relu_policy(size, actions, hidden=(8, 8), **options):
    pure = examples.policy(size=size, actions=actions, hidden=hidden, activation="relu", **options)
    random = np.random.default_rng(0)
    for variable in pure.policy.trainable_variables:  # Biases that matter.
        variable.assign_add(random.normal(size=variable.shape) * 0.1)
    return pure


def relu():
    return keras.layers.Activation("relu")


def dense(**options):
    return keras.layers.Dense(3, **options)


def of_layers(*layers):
    return keras.Sequential([keras.Input((3,)), *layers])


class ClosedFormTest(parameterized.TestCase):
    def assert_equal_products(self, adaptation, params, task):
        problem = adaptation.problem()
        expected, actual = linearized(problem.outputs, params, task), problem.linearize(params, task)
        random = np.random.default_rng(1)
        vector = {name: tf.constant(random.normal(size=value.shape)) for name, value in params.items()}
        cotangent = tf.nest.map_structure(lambda leaf: tf.constant(random.normal(size=leaf.shape)), expected.outputs)
        for one, other in (
            (actual.outputs, expected.outputs),
            (actual.push(vector), expected.push(vector)),
            (actual.pull(cotangent), expected.pull(cotangent)),
        ):
            tf.nest.map_structure(self.assert_close, one, other)

    def assert_close(self, actual, expected):
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-11)

    @parameterized.product(inner_steps=[0, 1, 2], objective=[reinforce, likelihood_ratio], sizes=[_FEW, _MANY])
    def test_equals_automatic_differentiation(self, inner_steps, objective, sizes):
        pure = relu_policy(**sizes)
        params = pure.parameters()
        adaptation = PolicyAdaptation(pure, [0.4, 0.2], objective=objective)
        self.assert_equal_products(
            adaptation, params, examples.task(examples.tasks(adaptation, params, inner_steps=inner_steps), 1)
        )

    def test_a_loss_of_whole_rollouts(self):
        pure = relu_policy(**_FEW)
        params, adaptation = pure.parameters(), PolicyAdaptation(pure, 0.4, objective=dice)
        self.assert_equal_products(adaptation, params, examples.task(examples.tasks(adaptation, params), 1))

    @parameterized.product(hidden=[(8, 5), (5, 8)], sizes=[_FEW, _MANY])
    def test_hidden_layers_of_different_widths(self, hidden, sizes):
        pure = relu_policy(hidden=hidden, **sizes)
        params, adaptation = pure.parameters(), PolicyAdaptation(pure, 0.4)
        self.assert_equal_products(adaptation, params, examples.task(examples.tasks(adaptation, params), 1))

    @parameterized.parameters(_FEW, _MANY)
    def test_first_order_padding_and_the_floor_of_the_deviation(self, **sizes):
        pure = relu_policy(**sizes)
        params = pure.parameters()
        batches = [examples.batch(pure, params, seed=seed, padding=3) for seed in range(2)]
        task = TaskExperience((batches[0],), batches[1])
        self.assert_equal_products(PolicyAdaptation(pure, 0.3, first_order=True), params, task)
        pure.policy.min_std = float(np.exp(np.sort(params["policy/log_std"])[:2].mean()))  # One below, one above.
        self.assert_equal_products(PolicyAdaptation(pure, 0.3), params, task)

    def test_a_deviation_on_its_floor_has_an_effect(self):
        pure = relu_policy(**_FEW)
        pure.policy.min_std = 0.5
        pure.policy.log_std.assign([pure.policy.log_std_floor] * 2)
        params, adaptation = pure.parameters(), PolicyAdaptation(pure, 0.4)
        self.assert_equal_products(adaptation, params, examples.task(examples.tasks(adaptation, params), 1))

    @parameterized.parameters(_FEW, _MANY)
    def test_units_at_zero_rest(self, **sizes):
        # At the start of a training the biases are 0, and navigation begins at an observation of zeros.
        pure = examples.policy(hidden=(8, 8), activation="relu", **sizes)
        params, adaptation = pure.parameters(), PolicyAdaptation(pure, 0.4)
        task = examples.task(examples.tasks(adaptation, params), 0)
        zeros = task.inner[0]._replace(observations=tf.zeros_like(task.inner[0].observations))
        self.assert_equal_products(adaptation, params, TaskExperience((zeros,), task.outer))

    def test_both_forms_of_the_network_are_in_use(self):
        for inputs, expected in ((2, FoldedReluNetwork), (6, ReluNetwork)):
            weights = Weights(tf.zeros([inputs + 1, 8]), tf.zeros([9, 8]), tf.zeros([9, 2]))
            self.assertIs(type(relu_network(weights, tf.zeros([4, inputs]))), expected)


class HasClosedFormTest(absltest.TestCase):
    def policy(self, network):
        return PurePolicy(GaussianPolicy(network))

    def test_the_papers_policy_has_one(self):
        self.assertTrue(has_closed_form(self.policy(mlp((4,), (100, 100), 2))))

    def test_other_networks_have_none(self):
        inputs = keras.Input((3,))
        hidden = keras.layers.Dense(3, name="one")(inputs)
        hidden = keras.layers.Activation("relu", name="relu1")(hidden)
        second = keras.layers.Activation("relu", name="relu2")(keras.layers.Dense(3, name="two")(hidden))
        skipping = keras.Model(inputs, keras.layers.Dense(1, name="head")(hidden))
        around = keras.Model(inputs, keras.layers.Dense(1, name="head2")(keras.layers.Add()([second, hidden])))
        contextual = ContextVector(3)(inputs)
        again, activation = dense(), relu()
        looped = activation(again(activation(again(relu()(dense()(inputs))))))
        for network in (
            mlp((4,), (8,), 2),
            mlp((4,), (8, 8, 8), 2),
            mlp((4,), (8, 8), 2, activation="tanh"),
            mlp((4,), (8, 8), 2, use_bias=False),
            mlp((4,), (8, 8), 2, output_activation="tanh"),
            keras.Sequential([keras.Input((4,)), keras.layers.Flatten(), *mlp((4,), (8, 8), 2).layers[1:]]),
            skipping,
            around,
            keras.Model(inputs, dense()(looped)),
            of_layers(dense(), relu(), dense(dtype="mixed_bfloat16"), relu(), dense()),
            of_layers(dense(), dense(activation="relu"), dense(), dense(activation="relu"), dense()),
            of_layers(dense(activation="tanh"), relu(), dense(), relu(), dense()),
            keras.Model(inputs, mlp((6,), (8, 8), 2)(contextual)),
        ):
            self.assertFalse(has_closed_form(self.policy(network)), [layer.name for layer in network.layers])

    def test_subclasses_have_none(self):
        class Bounded(GaussianPolicy):
            pass

        class Squashed(keras.Sequential):
            pass

        network = mlp((2,), (3, 3), 1, activation="relu")
        self.assertTrue(has_closed_form(PurePolicy(GaussianPolicy(network))))
        self.assertFalse(has_closed_form(PurePolicy(Bounded(network))))
        layers = [keras.layers.Dense(3), keras.layers.Activation("relu")]
        layers += [keras.layers.Dense(3), keras.layers.Activation("relu"), keras.layers.Dense(1)]
        self.assertTrue(has_closed_form(PurePolicy(GaussianPolicy(keras.Sequential([keras.Input((2,)), *layers])))))
        self.assertFalse(has_closed_form(PurePolicy(GaussianPolicy(Squashed([keras.Input((2,)), *layers])))))

    def test_a_selection_of_parameters_is_left_to_automatic_differentiation(self):
        pure = relu_policy(**_FEW)
        self.assertIsNotNone(PolicyAdaptation(pure).problem().linearize)
        heads = PolicyAdaptation(pure, adapted=lambda model: ["head/kernel"])
        self.assertIsNone(heads.problem().linearize)


if __name__ == "__main__":
    absltest.main()
