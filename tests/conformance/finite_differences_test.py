"""The exact meta-gradient is the derivative of the mean query loss; the first-order one is not."""

import numpy as np
import pytest
from absl.testing import absltest, parameterized

import maml_tf
from maml_tf import models
from tests.conformance import registry
from tests.support.finite_differences import directional_difference, dot, mean_query_loss, unit_direction

_SGD = registry.RULES[0]
_CASES = [
    *((model, rule, 2) for model, rule in registry.PAIRS),
    *((registry.MODELS[0], _SGD, steps) for steps in registry.STEPS if steps != 2),
    (registry.MINI_IMAGENET_FULL_SIZE, _SGD, 2),
]
_OTHER_CASES = [
    *((model, rule, 2) for model, rule in registry.OTHER_PAIRS),
    *(
        (model, rule, steps)
        for model in (*registry.MODELS, registry.MINI_IMAGENET_FULL_SIZE)
        for rule in registry.RULES
        for steps in registry.STEPS
        if steps != 2 and (model is registry.MODELS[0]) != (rule is _SGD)
    ),
]


class FiniteDifferencesTest(parameterized.TestCase):
    @parameterized.named_parameters(*registry.named(_CASES))
    def test_exact_gradient_agrees(self, model, rule, steps):
        self.assert_exact(model, rule, steps)

    @parameterized.named_parameters(*registry.named(_OTHER_CASES))
    @pytest.mark.thorough
    def test_exact_gradient_of_every_pair_agrees(self, model, rule, steps):
        self.assert_exact(model, rule, steps)

    def assert_exact(self, model, rule, steps):
        # The mean over tasks is the same code for every model: the networks on images, which take longest, do with one.
        data = registry.make_data(model, tasks=1 if len(model.input_shape) == 3 else registry.TASKS)
        learner = registry.make_learner(model, rule, steps)
        loss, gradients = learner.meta_gradients(data)
        direction = unit_direction(learner, seed=5)
        difference = directional_difference(learner, data, direction)
        self.assertAlmostEqual(float(loss), mean_query_loss(learner, data), delta=1e-12)
        self.assertLess(abs(dot(gradients, direction) / difference - 1), 1e-6)

    @parameterized.parameters(*registry.PAIRS)
    def test_first_order_gradient_does_not(self, model, rule):
        self.assert_first_order_differs(model, rule)

    @parameterized.parameters(*registry.OTHER_PAIRS)
    @pytest.mark.thorough
    def test_first_order_gradient_of_every_pair_does_not(self, model, rule):
        self.assert_first_order_differs(model, rule)

    def assert_first_order_differs(self, model, rule):
        data = registry.make_data(model, tasks=1)
        exact, approximation = (
            registry.make_learner(model, rule, 1, first_order=first_order).meta_gradients(data)[1]
            for first_order in (False, True)
        )
        distance = np.sqrt(sum(np.sum((a - b) ** 2) for a, b in zip(exact, approximation, strict=True)))
        self.assertGreater(distance, 1e-3 * np.sqrt(sum(np.sum(gradient**2) for gradient in exact)))

    def test_registry_holds_every_shipped_model_and_rule(self):
        # The derivatives of residual networks are compared in tests/models/residual_gradients_test.py.
        shipped = {name for name in models.__all__ if name not in ("conv_net", "resnet12", "wide_resnet")}
        self.assertEqual({entry.name for entry in registry.SHIPPED_MODELS}, shipped)
        used = set()
        for entry in registry.RULES:
            learner = registry.make_learner(registry.MODELS[0], entry, 1)
            used |= {type(layer) for layer in learner.update_rule._flatten_layers()}
        # So are those of Meta-Curvature, in tests/core/meta_curvature_test.py.
        self.assertEqual(used | {maml_tf.MetaCurvature}, set(_last_subclasses(maml_tf.UpdateRule)))


def _last_subclasses(rule):
    below = rule.__subclasses__()
    return [last for one in below for last in _last_subclasses(one)] if below else [rule]


if __name__ == "__main__":
    absltest.main()
