"""The exact meta-gradient is the derivative of the mean query loss; the first-order one is not."""

import numpy as np
from absl.testing import absltest, parameterized

import maml_tf
from maml_tf import models
from tests.conformance import naive, registry

# Kinks of ReLU and of clipping within this distance would spoil a difference; truncation and rounding cost about 1e-9.
_EPSILON = 3e-6

_CASES = [
    (f"{model.name}_{rule.name}_{steps}_steps", model, rule, steps)
    for model in registry.MODELS
    for rule in registry.RULES
    for steps in registry.STEPS
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


def mean_query_loss(learner, data):
    """The loss of the learner's predictions: a forward pass alone, without the code that takes meta-gradients."""
    inputs, targets = data
    outputs = learner(inputs, training=True)
    loss = naive.mean_squared_error if outputs.shape[-1] == 1 else naive.cross_entropy
    return np.mean([loss(y, y_pred) for y, y_pred in zip(targets, outputs, strict=True)])


def directional_difference(learner, data, direction):
    """Central difference of the mean query loss along a direction in all trainable variables."""
    values = [variable.numpy() for variable in learner.trainable_variables]

    def loss_at(distance):
        for variable, value, component in zip(learner.trainable_variables, values, direction, strict=True):
            variable.assign(value + distance * component)
        return mean_query_loss(learner, data)

    difference = (loss_at(_EPSILON) - loss_at(-_EPSILON)) / (2 * _EPSILON)
    for variable, value in zip(learner.trainable_variables, values, strict=True):
        variable.assign(value)
    return difference


def unit_direction(learner, seed):
    generator = np.random.default_rng(seed)
    direction = [generator.standard_normal(variable.shape) for variable in learner.trainable_variables]
    norm = np.sqrt(sum(np.sum(component**2) for component in direction))
    return [component / norm for component in direction]


def dot(gradients, direction):
    return sum(np.sum(gradient * component) for gradient, component in zip(gradients, direction, strict=True))


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
        shipped = {name for name in models.__all__ if name != "conv_net"}
        self.assertEqual({entry.name for entry in registry.SHIPPED_MODELS}, shipped)
        used = set()
        for entry in registry.RULES:
            learner = registry.make_learner(registry.MODELS[0], entry, 1)
            used |= {type(layer) for layer in learner.update_rule._flatten_layers()}
        self.assertEqual(used, set(maml_tf.UpdateRule.__subclasses__()))


if __name__ == "__main__":
    absltest.main()
