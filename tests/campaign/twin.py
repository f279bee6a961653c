"""An independent program of MAML on dense networks: float64 NumPy, derivatives by hand, no TensorFlow."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Weights = list[np.ndarray]


class Task(NamedTuple):
    """A task's arrays: inputs [examples, width]; targets [examples, outputs], or labels [examples]."""

    support_x: Any
    support_y: Any
    query_x: Any
    query_y: Any


def forward(weights: Weights, x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Returns the outputs and the inputs of each dense layer; tanh between layers; weights are kernel, bias, ..."""
    inputs = [x]
    for kernel, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        inputs.append(np.tanh(inputs[-1] @ kernel + bias))
    return inputs[-1] @ weights[-2] + weights[-1], inputs


def loss(kind: str, outputs: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Returns the mean loss and its derivative by the outputs."""
    if kind == "mse":
        difference = outputs - y
        return float(np.mean(difference**2)), 2 * difference / difference.size
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    one_hot = np.eye(outputs.shape[1])[y]
    return float(-np.mean((one_hot * log_probability).sum(axis=1))), (np.exp(log_probability) - one_hot) / len(y)


def gradient(kind: str, weights: Weights, x: np.ndarray, y: np.ndarray) -> Weights:
    outputs, inputs = forward(weights, x)
    back = loss(kind, outputs, y)[1]
    found = []
    for layer in reversed(range(len(inputs))):
        found = [inputs[layer].T @ back, back.sum(axis=0), *found]
        if layer:
            back = (back @ weights[2 * layer].T) * (1 - inputs[layer] ** 2)
    return found


def adapted(kind: str, weights: Weights, task: Task, rate: float, steps: int) -> Weights:
    for _ in range(steps):
        slopes = gradient(kind, weights, task.support_x, task.support_y)
        weights = [value - rate * slope for value, slope in zip(weights, slopes, strict=True)]
    return weights


def query_loss(kind: str, weights: Weights, task: Task, rate: float, steps: int) -> float:
    return loss(kind, forward(adapted(kind, weights, task, rate, steps), task.query_x)[0], task.query_y)[0]


def mean_loss(kind: str, weights: Weights, tasks: list[Task], rate: float, steps: int) -> float:
    return float(np.mean([query_loss(kind, weights, task, rate, steps) for task in tasks]))


def meta_gradient(kind: str, weights: Weights, tasks: list[Task], rate: float, steps: int) -> Weights:
    """Returns the derivative of `mean_loss`, by central differences of fourth order."""
    step, found = 1e-3, []
    for number, value in enumerate(weights):
        slopes = np.empty(value.shape)
        for place in np.ndindex(*value.shape):

            def at(shift, number=number, place=place):
                moved = [other.copy() for other in weights]
                moved[number][place] += shift
                return mean_loss(kind, moved, tasks, rate, steps)

            near, far = at(step) - at(-step), at(2 * step) - at(-2 * step)
            slopes[place] = (8 * near - far) / (12 * step)
        found.append(slopes)
    return found
