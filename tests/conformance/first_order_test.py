"""The meta-gradients equal a naive implementation's, first order with inner gradients made constants."""

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import absltest, parameterized

from tests.conformance import naive, registry

_SGD = registry.RULES[0]
_CASES = [
    *((model, rule, 2) for model, rule in registry.PAIRS),
    *((registry.MODELS[0], _SGD, steps) for steps in registry.STEPS if steps != 2),
]
_OTHER_CASES = [
    *((model, rule, 2) for model, rule in registry.OTHER_PAIRS),
    *((model, _SGD, steps) for model in registry.MODELS[1:] for steps in registry.STEPS if steps != 2),
]


def naive_gradients(learner, model, rule, steps, data, *, forward=None, first_order):
    theta = [tf.constant(variable.numpy()) for variable in learner.model.trainable_variables]
    rates = [tf.constant(variable.numpy()) for variable in learner.update_rule.trainable_variables]
    paths = [variable.path for variable in learner.model.trainable_variables]
    per_weight = len(rates) == len(paths)
    layers = list(dict.fromkeys(path if per_weight else path.rpartition("/")[0] for path in paths))
    layer_of = [layers.index(path if per_weight else path.rpartition("/")[0]) for path in paths]
    return naive.meta_gradient(
        forward or naive.keras_forward(learner.model),
        naive.mean_squared_error if model.classes is None else naive.cross_entropy,
        theta,
        rates,
        layer_of,
        rule.name,
        steps,
        data,
        first_order=first_order,
    )


class FirstOrderTest(parameterized.TestCase):
    def assert_same(self, result, expected):
        np.testing.assert_allclose(result[0], expected[0], rtol=1e-12)
        scale = max(np.max(np.abs(gradient)) for gradient in expected[1])
        for gradient, other in zip(result[1], expected[1], strict=True):
            np.testing.assert_allclose(gradient, other, rtol=1e-10, atol=1e-11 * scale)

    @parameterized.named_parameters(*registry.named(_CASES))
    def test_first_order_equals_constant_inner_gradients(self, model, rule, steps):
        self.assert_naive(model, rule, steps)

    @parameterized.named_parameters(*registry.named(_OTHER_CASES))
    @pytest.mark.thorough
    def test_first_order_of_every_pair_equals_constant_inner_gradients(self, model, rule, steps):
        self.assert_naive(model, rule, steps)

    def assert_naive(self, model, rule, steps):
        data = registry.make_data(model, tasks=1)
        learner = registry.make_learner(model, rule, steps, first_order=True)
        expected = naive_gradients(learner, model, rule, steps, data, first_order=True)
        self.assert_same(learner.meta_gradients(data), expected)

    @parameterized.product(rule=registry.RULES, first_order=(False, True))
    def test_explicit_network(self, rule, first_order):
        def forward(weights, x):
            hidden = tf.constant(x)
            for kernel, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
                hidden = tf.nn.relu(tf.matmul(hidden, kernel) + bias)
            return tf.matmul(hidden, weights[-2]) + weights[-1]

        model = registry.MODELS[0]
        data = registry.make_data(model)
        learner = registry.make_learner(model, rule, 3, first_order=first_order)
        expected = naive_gradients(learner, model, rule, 3, data, forward=forward, first_order=first_order)
        self.assert_same(learner.meta_gradients(data), expected)


if __name__ == "__main__":
    absltest.main()
