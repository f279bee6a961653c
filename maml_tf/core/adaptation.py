"""The inner loop: a few gradient steps on a task's own data, differentiable to second order.

This file holds the only inner `tf.GradientTape` of the package. Regression, classification and reinforcement
learning pass it different objectives and batches; the loop is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from maml_tf.checks import whole_number
from maml_tf.core.bias_gradients import apart_from_filters
from maml_tf.core.looped_steps import loop_of_steps

# A nest (dict, list or tuple) of float tensors.
Params = Any
# (parameters, batch, step) -> scalar loss, or (parameters, batch, step, state) -> (scalar loss, state).
Objective = Callable[..., Any]
# (parameters, gradients, step) -> parameters; a rule with `initial_state` also carries state, see `inner_step`.
Rule = Callable[..., Any]

# More steps than these on one batch run as a `tf.while_loop`. From about here on it saves memory and tracing time;
# fewer steps are faster without it. docs/guides/many_steps.md has the measurements.
UNROLLED_STEPS = 5


class MissingGradientError(ValueError):
    """A loss does not depend on a parameter."""

    # AutoGraph keeps the type of an error only if it has this constructor.
    __init__ = Exception.__init__


class InnerStep(NamedTuple):
    """The result of one inner step.

    Attributes:
        params: The new parameters.
        loss: The loss before the step, a scalar.
        state: The objective's state after the step, or None.
        rule_state: The rule's state for the next step; `()` for a rule without state.
    """

    params: Params
    loss: tf.Tensor
    state: Any
    rule_state: Any = ()


class Adaptation(NamedTuple):
    """The result of an adaptation.

    Attributes:
        params: The adapted parameters, with the structure of the initial ones.
        path: The parameters before the first step and after each step, a sequence of `steps + 1` nests.
        losses: The loss before each step, [steps].
        state: The objective's state after the last step (batch-norm statistics, dropout seeds), or None.
        states: The state before the first step and after each step, `steps + 1` items as in `path`.
    """

    params: Params
    path: Sequence[Params]
    losses: tf.Tensor
    state: Any
    states: Sequence[Any]


def inner_step(
    objective: Objective,
    params: Params,
    batch: Any,
    update_rule: Rule,
    *,
    step: int | tf.Tensor = 0,
    first_order: bool = False,
    state: Any = None,
    rule_state: Any = None,
) -> InnerStep:
    """Takes one gradient step on one batch.

    With stochastic gradient descent as the rule this is `theta' = theta - alpha * grad L(theta)`, Section 2.2.

    Args:
        objective: `(params, batch, step) -> loss`, a scalar tensor; with `state` given,
            `(params, batch, step, state) -> (loss, state)`.
        params: Nest of float tensors to differentiate and update.
        batch: Whatever the objective takes.
        update_rule: `(params, gradients, step) -> params`. A rule with a method `initial_state(params)`, such as
            momentum, is called as `(params, gradients, step, rule_state) -> (params, rule_state)`.
        step: Number of the step, from 0: a Python integer or a scalar integer tensor.
        first_order: Whether to stop the gradient through the inner gradient.
        state: Nest of tensors that is passed to the objective and replaced by what it returns, or None.
        rule_state: The rule's state, by default its initial state.

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
    # Gradients of embeddings are sparse, but rules need dense tensors.
    gradients = tf.nest.map_structure(tf.convert_to_tensor, gradients)
    gradients = tf.nest.map_structure(tf.stop_gradient if first_order else apart_from_filters, gradients)
    if not hasattr(update_rule, "initial_state"):
        return InnerStep(update_rule(params, gradients, step), loss, state)
    rule_state = update_rule.initial_state(params) if rule_state is None else rule_state
    params, rule_state = update_rule(params, gradients, step, rule_state)
    return InnerStep(params, loss, state, rule_state)


def adapt(
    objective: Objective,
    params: Params,
    batches: Any,
    update_rule: Rule,
    *,
    steps: int | tf.Tensor | None = None,
    unroll: bool | None = None,
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
        batches: A sequence with one batch for each step, such as the rollouts of each step in reinforcement learning.
            With `steps` it is a single batch for all steps, such as a support set.
        update_rule: `(params, gradients, step) -> params`, such as `maml_tf.SGD(0.01)`.
        steps: Number of steps on the one batch: an integer or, outside of XLA, a scalar integer tensor.
        unroll: True repeats the steps on one batch in the graph, which is faster for few steps. False runs them in a
            loop: more steps do not enlarge the graph, and each step adds only its parameters to memory. None unrolls
            up to 5 steps.
        first_order: Whether to stop the gradient through the inner gradients. It then stops at the losses and states
            too, which would otherwise be computed again in the backward pass.
        state: Nest of tensors threaded through the objective's calls, or None.

    Returns:
        An `Adaptation`. Without steps its parameters are the initial ones.

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
    >>> float(maml_tf.adapt(loss, {"w": tf.constant([0.0])}, 1.0, maml_tf.SGD(0.25), steps=100).params["w"][0])
    1.0
    """
    rule_state = update_rule.initial_state(params) if hasattr(update_rule, "initial_state") else ()
    # A loop carries only tensors: () stands for a state of None.
    threads = state is not None

    def one(carried, batch, step):
        params, state, rule_state = carried
        result = inner_step(
            objective, params, batch, update_rule, step=step, first_order=first_order, state=state if threads else None,
            rule_state=rule_state,
        )  # fmt: skip
        state, loss = result.state, result.loss
        if first_order:
            state, loss = tf.nest.map_structure(_constant, (state, loss))
        return (result.params, state if threads else (), result.rule_state), loss

    carried = params, state if threads else (), rule_state
    if _unrolled(steps, unroll):
        path, losses = [carried], []
        for step, batch in enumerate(batches if steps is None else [batches] * steps):
            carried, loss = one(carried, batch, step)
            path.append(carried)
            losses.append(loss)
        losses = tf.stack(losses) if losses else tf.zeros([0], tf.nest.flatten(params)[0].dtype)
    else:
        path, losses = loop_of_steps(lambda carried, step: one(carried, batches, step), carried, steps)
    params, state, _ = path[-1]
    return Adaptation(params, _Part(path, 0), losses, state if threads else None, _Part(path, 1))


def _unrolled(steps: int | tf.Tensor | None, unroll: bool | None) -> bool:
    """Checks `steps` and decides whether to unroll them."""
    known = steps is None or not tf.is_tensor(steps)
    if steps is None and unroll is False:
        raise ValueError("Expected steps and a single batch with unroll=False. Received: a batch for each step")
    if unroll and not known:
        raise ValueError("Expected steps to be a Python integer with unroll=True. Received: a tensor")
    if steps is not None and known:
        whole_number("steps", steps, minimum=0)
    return unroll if unroll is not None else known and (steps is None or steps <= UNROLLED_STEPS)


class _Part(Sequence):
    """The parameters, or the states, before the first step and after each step."""

    def __init__(self, path: Sequence[tuple], part: int):
        self._path, self._part = path, part

    def __len__(self) -> int:
        return len(self._path)

    def __getitem__(self, step: Any) -> Any:
        taken = self._path[step]
        return [each[self._part] for each in taken] if isinstance(step, slice) else taken[self._part]


def _constant(value: Any) -> Any:
    return tf.stop_gradient(value) if tf.is_tensor(value) and value.dtype.is_floating else value


def require_gradients(gradients: Params, kind: str, remedy: str) -> None:
    """Raises if a gradient is None, which TensorFlow returns for a parameter that the loss does not depend on.

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
