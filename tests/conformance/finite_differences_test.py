"""The exact meta-gradient is the derivative of the mean query loss; the first-order one is not."""

import numpy as np
from absl.testing import absltest, parameterized

import maml_tf
from maml_tf import models
from tests.conformance import registry
from tests.support.finite_differences import directional_difference, dot, mean_query_loss, unit_direction

# Every model with every rule; other numbers of steps where they could matter: every model once, and every rule once.
_CASES = [
    (f"{model.name}_{rule.name}_{steps}_steps", model, rule, steps)
    for model in registry.MODELS
    for rule in registry.RULES
    for steps in registry.STEPS
    if steps == 2 or model is registry.MODELS[0] or rule is registry.RULES[0]
]
_CASES += [
    (
        f"{registry.MINI_IMAGENET_FULL_SIZE.name}_{steps}_steps",
        registry.MINI_IMAGENET_FULL_SIZE,
        registry.RULES[0],
        steps,
    )
    for steps in registry.STEPS
]


class FiniteDifferencesTest(parameterized.TestCase):
    @parameterized.named_parameters(*_CASES)
    def test_exact_gradient_agrees(self, model, rule, steps):
        # The mean over tasks is the same code for every model: the networks on images, which take longest, do with one.
        data = registry.make_data(model, tasks=1 if len(model.input_shape) == 3 else registry.TASKS)
        learner = registry.make_learner(model, rule, steps)
        loss, gradients = learner.meta_gradients(data)
        direction = unit_direction(learner, seed=5)
        difference = directional_difference(learner, data, direction)
        self.assertAlmostEqual(float(loss), mean_query_loss(learner, data), delta=1e-12)
        self.assertLess(abs(dot(gradients, direction) / difference - 1), 1e-6)

    @parameterized.product(model=registry.MODELS, rule=registry.RULES)
    def test_first_order_gradient_does_not(self, model, rule):
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
