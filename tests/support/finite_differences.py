"""Central differences of a learner's mean query loss, the ground truth of its meta-gradient."""

import numpy as np

from tests.conformance import naive

# Kinks of ReLU and of clipping within this distance would spoil a difference; truncation and rounding cost about 1e-9.
_EPSILON = 3e-6


def mean_query_loss(learner, data):
    """The loss of the learner's predictions: a forward pass alone, without the code that takes meta-gradients."""
    inputs, targets = data
    outputs = learner(inputs, training=True)
    loss = naive.mean_squared_error if outputs.shape[-1] == 1 else naive.cross_entropy
    return np.mean([loss(y, y_pred) for y, y_pred in zip(targets, outputs, strict=True)])


def directional_difference(learner, data, direction, epsilon=_EPSILON):
    """Central difference of the mean query loss along a direction in all trainable variables."""
    values = [variable.numpy() for variable in learner.trainable_variables]

    def loss_at(distance):
        for variable, value, component in zip(learner.trainable_variables, values, direction, strict=True):
            variable.assign(value + distance * component)
        return mean_query_loss(learner, data)

    difference = (loss_at(epsilon) - loss_at(-epsilon)) / (2 * epsilon)
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
