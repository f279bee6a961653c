"""MAML's gradient written out from the paper's equations, as slowly and plainly as possible: the ground truth.

Shares nothing with maml_tf: one tape around Python loops over tasks and steps, and rules and losses as formulas.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def mean_squared_error(targets: Any, outputs: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean((outputs - tf.constant(targets, outputs.dtype)) ** 2)


def cross_entropy(targets: Any, logits: tf.Tensor) -> tf.Tensor:
    chosen = tf.one_hot(targets, logits.shape[-1], dtype=logits.dtype)
    return -tf.reduce_mean(tf.reduce_sum(chosen * tf.nn.log_softmax(logits), axis=-1))


def keras_forward(model: keras.Model) -> Callable[[list[tf.Tensor], Any], tf.Tensor]:
    state = [variable.value for variable in model.non_trainable_variables]
    return lambda weights, x: model.stateless_call(weights, state, tf.constant(x), training=True)[0]


def step_sizes(rule: str, step: int, weights: list[tf.Tensor], rates: list[tf.Tensor]) -> list[Any]:
    """Returns a step size for each weight; layers hold kernel and bias, or as many weights as `rates` says."""
    if rule == "sgd":
        return [0.1] * len(weights)
    if rule == "sgd_rate_per_step":
        return [[0.2, 0.1, 0.05][min(step, 2)]] * len(weights)
    if rule in ("momentum", "adam"):
        return [0.1] * len(weights)
    if rule in ("clipped_by_value", "clipped_by_norm"):
        return [0.2] * len(weights)
    if rule == "learned_per_layer_and_step":
        return [rate[step] for rate in rates]
    return rates


def clipped(rule: str, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
    if rule == "clipped_by_value":
        return [tf.minimum(tf.maximum(gradient, -0.1), 0.1) for gradient in gradients]
    if rule == "clipped_by_norm":
        norm = tf.sqrt(sum(tf.reduce_sum(gradient**2) for gradient in gradients))
        return [gradient * (0.3 / norm) if norm > 0.3 else gradient for gradient in gradients]
    return gradients


def carried(rule: str, path: list[list[tf.Tensor]]) -> list[tf.Tensor]:
    """Returns the updates of rules that know of earlier steps, as sums over the gradients of all steps so far."""

    def decayed(share, power):
        """Adds up each weight's gradients, a step's worth `share` of the next one's."""
        return [
            sum(share ** (len(path) - 1 - step) * gradients[index] ** power for step, gradients in enumerate(path))
            for index in range(len(path[0]))
        ]

    if rule == "momentum":
        return decayed(0.5, 1)
    if rule == "adam":
        mean, square = (
            [(1 - share) * value / (1 - share ** len(path)) for value in decayed(share, power)]
            for share, power in ((0.9, 1), (0.999, 2))
        )
        return [m / tf.sqrt(v + 0.01) for m, v in zip(mean, square, strict=True)]
    return path[-1]


def meta_gradient(
    forward: Callable[[list[tf.Tensor], Any], tf.Tensor],
    loss: Callable[[Any, tf.Tensor], tf.Tensor],
    theta: list[tf.Tensor],
    rates: list[tf.Tensor],
    layer_of: list[int],
    rule: str,
    steps: int,
    data: Any,
    *,
    first_order: bool,
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Computes the mean query loss after adaptation and its gradient.

    Args:
        forward: `(weights, inputs) -> outputs`.
        loss: `(targets, outputs) -> scalar`.
        theta: The weights.
        rates: Learned step sizes, empty if the rule has none.
        layer_of: The number in `rates` of each weight's step size.
        rule: Name of the registry's rule.
        steps: Number of inner steps.
        data: `((support_x, support_y, query_x), query_y)` in NumPy.
        first_order: Whether the inner gradients become constants, through NumPy.

    Returns:
        The loss, and the gradient of theta followed by the rates'.
    """
    (support_x, support_y, query_x), query_y = data
    with tf.GradientTape() as outer:
        outer.watch([theta, rates])
        spread = [rates[index] for index in layer_of] if rates else []
        total = 0.0
        for task in range(len(query_y)):
            weights, path = list(theta), []
            for step in range(steps):
                with tf.GradientTape() as inner:
                    inner.watch(weights)
                    support_loss = loss(support_y[task], forward(weights, support_x[task]))
                gradients = inner.gradient(support_loss, weights)
                if first_order:
                    gradients = [tf.constant(np.array(gradient)) for gradient in gradients]
                sizes = step_sizes(rule, step, weights, spread)
                path.append(clipped(rule, gradients))
                updates = carried(rule, path)
                weights = [w - size * update for w, size, update in zip(weights, sizes, updates, strict=True)]
            total += loss(query_y[task], forward(weights, query_x[task]))
        mean = total / len(query_y)
    return mean, outer.gradient(mean, [*theta, *rates])
