"""The inner loop: a few gradient steps on a task's own data, differentiable to second order.

This file holds the only inner `tf.GradientTape` of the package. Regression, classification and reinforcement
learning pass it different objectives and batches; the loop is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

# A nest (dict, list or tuple) of float tensors.
Params = Any
# (parameters, batch, step) -> scalar loss, or (parameters, batch, step, state) -> (scalar loss, state).
Objective = Callable[..., Any]
# (parameters, gradients, step) -> parameters.
Rule = Callable[[Params, Params, Any], Params]


class MissingGradientError(ValueError):
    """A loss does not depend on a parameter."""

    # AutoGraph keeps the type of errors with this constructor.
    __init__ = Exception.__init__


class InnerStep(NamedTuple):
    """One inner step's outcome.

    Attributes:
        params: The new parameters.
        loss: The loss before the step, a scalar.
        state: What the objective threaded through, or None.
    """

    params: Params
    loss: tf.Tensor
    state: Any


class Adaptation(NamedTuple):
    """An adaptation's outcome.

    Attributes:
        params: The adapted parameters, with the structure of the initial ones.
        path: The parameters before the first step and after each step: `len(batches) + 1` entries.
        losses: The loss before each step: `len(batches)` scalars.
        state: What the objective threaded through the steps (batch-norm statistics, dropout seeds), or None.
        states: The state before the first step and after each step, beside `path`.
    """

    params: Params
    path: tuple[Params, ...]
    losses: tuple[tf.Tensor, ...]
    state: Any
    states: tuple[Any, ...]


def inner_step(
    objective: Objective,
    params: Params,
    batch: Any,
    update_rule: Rule,
    *,
    step: int | tf.Tensor = 0,
    first_order: bool = False,
    state: Any = None,
) -> InnerStep:
    """Takes one gradient step on one batch.

    With stochastic gradient descent as the rule this is `theta' = theta - alpha * grad L(theta)`, Section 2.2.

    Args:
        objective: `(params, batch, step) -> loss`, a scalar tensor; with `state` given,
            `(params, batch, step, state) -> (loss, state)`.
        params: Nest of float tensors to differentiate and update.
        batch: Whatever the objective takes.
        update_rule: `(params, gradients, step) -> params`.
        step: Number of the step, from 0: a Python integer or a scalar integer tensor.
        first_order: Whether to stop the gradient through the inner gradient.
        state: Nest of tensors handed to the objective and replaced by what it returns, or None.

    Returns:
        An `InnerStep`.

    Raises:
        ValueError: If the loss is not a scalar, or does not depend on one of the parameters.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(params)
        if state is None:
            loss = objective(params, batch, step)
        else:
            loss, state = objective(params, batch, step, state)
    _require_scalar(loss)
    gradients = tape.gradient(loss, params)
    require_gradients(gradients, "inner gradient", "Select the variables to adapt, or let the loss use this one.")
    # Embeddings' gradients are sparse, and rules compute with tensors.
    gradients = tf.nest.map_structure(tf.convert_to_tensor, gradients)
    if first_order:
        gradients = tf.nest.map_structure(tf.stop_gradient, gradients)
    return InnerStep(update_rule(params, gradients, step), loss, state)


def adapt(
    objective: Objective,
    params: Params,
    batches: Sequence[Any],
    update_rule: Rule,
    *,
    first_order: bool = False,
    state: Any = None,
) -> Adaptation:
    """Adapts parameters to one task by one gradient step on each batch.

    `theta_0 = theta`, `theta_{i+1} = theta_i - alpha * grad L(theta_i)` (Section 2.2, Algorithms 1 to 3) when the
    rule is gradient descent. The result is a differentiable function of `params`: an outer tape yields the exact
    meta-gradient, or its first-order approximation (Section 5.2).

    Args:
        objective: `(params, batch, step) -> loss`, a scalar tensor; with `state` given,
            `(params, batch, step, state) -> (loss, state)`.
        params: Nest of float tensors, the initial parameters.
        batches: One batch for each step: `[support] * steps` in supervised learning, the rollouts of each step in
            reinforcement learning.
        update_rule: `(params, gradients, step) -> params`, such as `maml_tf.SGD(0.01)`.
        first_order: Whether to stop the gradient through the inner gradients.
        state: Nest of tensors threaded through the objective's calls, or None.

    Returns:
        An `Adaptation`; with no batch, one whose parameters are the initial ones.

    Raises:
        ValueError: If a loss is not a scalar, or does not depend on one of the parameters.

    Source: Finn, Abbeel and Levine (2017), Section 2.2.

    Example:
    >>> import tensorflow as tf
    >>> import maml_tf
    >>> loss = lambda params, batch, step: tf.reduce_sum((params["w"] - batch) ** 2)
    >>> adaptation = maml_tf.adapt(loss, {"w": tf.constant([0.0])}, [1.0, 1.0], maml_tf.SGD(0.25))
    >>> [float(params["w"][0]) for params in adaptation.path]
    [0.0, 0.5, 0.75]
    """
    path, losses, states = [params], [], [state]
    for step, batch in enumerate(batches):
        params, loss, state = inner_step(
            objective, params, batch, update_rule, step=step, first_order=first_order, state=state
        )
        path.append(params)
        losses.append(loss)
        states.append(state)
    return Adaptation(params, tuple(path), tuple(losses), state, tuple(states))


def require_gradients(gradients: Params, kind: str, remedy: str) -> None:
    """Raises where a gradient is missing, which TensorFlow would pass on as None.

    Args:
        gradients: Nest of tensors and Nones.
        kind: What the gradients are, for the message.
        remedy: What the caller can do about it, for the message.

    Raises:
        MissingGradientError: If a gradient is None; the message holds its path in the nest.
    """
    for path, gradient in _leaves_with_paths(gradients):
        if gradient is None:
            raise MissingGradientError(
                f"Expected the {kind} of every parameter to exist. Received: None for {path!r}. {remedy}"
            )


def _leaves_with_paths(nest: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(nest, dict):
        items = list(nest.items())
    elif isinstance(nest, (list, tuple)):
        items = list(enumerate(nest))
    else:
        return [(path, nest)]
    separator = "/" if path else ""
    return [leaf for key, value in items for leaf in _leaves_with_paths(value, f"{path}{separator}{key}")]


def _require_scalar(loss: tf.Tensor) -> None:
    if not tf.is_tensor(loss) or loss.shape.rank not in (0, None):
        raise ValueError(f"Expected the objective to return a scalar tensor. Received: {loss!r}")
