"""A policy's adaptation to a task by policy gradients: `maml_tf.adapt` with a batch of rollouts for each step."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from maml_tf.core.adaptation import InnerStep, adapt, inner_step
from maml_tf.core.over_tasks import over_tasks
from maml_tf.core.selection import everything
from maml_tf.core.update_rules import SGD
from maml_tf.diagnostics.unsupported_layers import warn_of_unsupported_layers
from maml_tf.rl.closed_form import AdaptedReluPolicy, has_closed_form
from maml_tf.rl.hessian_products import Linearization, Problem
from maml_tf.rl.objectives import Experience, PolicyObjective, likelihood_ratio, mean_divergence, reinforce
from maml_tf.rl.policy import Gaussian, PurePolicy, fisher

Params = dict[str, tf.Tensor]


class TaskExperience(NamedTuple):
    """The experience that the outer loss needs, of one task, or of several with a leading [tasks] axis.

    Attributes:
        inner: The experience of each inner step.
        outer: The experience of the adapted policy.
        outcome: How good the adapted policy is beside those of the other tasks, a scalar: the mean reward of a step,
            minus the mean over tasks, over the standard deviation of the rewards. `()` if no loss needs it.
    """

    inner: tuple[Experience, ...]
    outer: Experience
    outcome: tf.Tensor | tuple[()] = ()


# (the policies that acted before each inner step, on what they saw, task) -> scalar, a part of the outer loss.
PathLoss = Callable[[tuple[Gaussian, ...], TaskExperience], tf.Tensor]


class PolicyAdaptation:
    """A policy's adaptation to a task: which parameters change, by which objective, with which step sizes.

    Unless `first_order`, a warning names layers whose second derivatives are known to be wrong.

    Args:
        policy: The policy.
        step_sizes: Inner step size, or one for each step; later steps use the last one.
        objective: The inner loss, `reinforce` as in the paper or another of `maml_tf.rl.objectives`.
        adapted: Selection of the parameters that the inner steps change, such as `maml_tf.matching("context")`.
        first_order: Whether to drop second derivatives.

    Attributes:
        policy: The policy as a pure function.
        adapted: Names of the parameters that the inner steps change.

    Raises:
        ValueError: If there is no step size or one is negative, or `adapted` selects no parameter or an unknown one.
    """

    def __init__(
        self,
        policy: PurePolicy,
        step_sizes: float | Sequence[float] | np.ndarray = 0.1,
        *,
        objective: PolicyObjective = reinforce,
        adapted: Callable[[keras.Model], Sequence[str]] = everything,
        first_order: bool = False,
    ):
        self.policy = policy
        self.adapted = _checked(adapted(policy.policy), policy)
        if np.ndim(step_sizes) > 1:
            raise ValueError(f"Expected a step size, or one for each step. Received: step_sizes={step_sizes}")
        self._rule = SGD(np.atleast_1d(step_sizes).tolist())
        self._objective = objective
        self._first_order = first_order
        # Not the method itself: TensorFlow counts its traces over all objects, and would warn at the fifth.
        self._compiled_step = tf.function(functools.partial(self._step_of_tasks), autograph=False)
        if not first_order:
            warn_of_unsupported_layers(policy.policy)

    def adapt(self, params: Params, batches: Sequence[Experience]) -> Params:
        """Adapts parameters to one task, with one differentiable step on each batch.

        Args:
            params: The parameters.
            batches: The experience of each step, sampled with the parameters before it.

        Returns:
            All parameters; those that are not adapted are unchanged.
        """
        changing = {name: params[name] for name in self.adapted}
        loss = self._loss(params)
        adapted = adapt(loss, changing, batches, self._rule, first_order=self._first_order).params
        return {**params, **adapted}

    def step(self, params: Params, batches: Experience, step: int) -> Params:
        """Takes one inner step in each of several tasks; compiled.

        Args:
            params: The parameters, each with a leading [tasks] axis.
            batches: The experience of the step, with a leading [tasks] axis.
            step: Number of the inner step, from 0.

        Returns:
            The new parameters, each with a leading [tasks] axis.
        """
        return self._compiled_step(params, batches, tf.constant(step))

    def step_of_task(self, params: Params, batch: Experience, step: int | tf.Tensor) -> InnerStep:
        """Takes one inner step in one task.

        Args:
            params: The parameters.
            batch: The experience of the step, sampled with these parameters.
            step: Number of the inner step, from 0.

        Returns:
            All parameters, those that are not adapted unchanged, and the loss before the step.
        """
        changing = {name: params[name] for name in self.adapted}
        result = inner_step(self._loss(params), changing, batch, self._rule, step=step)
        return result._replace(params={**params, **result.params})

    def problem(self, outer: PolicyObjective = likelihood_ratio, of_path: PathLoss | None = None) -> Problem:
        """Defines the meta-optimisation of the policy: the loss after adaptation, and its trust region.

        `min_theta mean_i L(pi_theta_i')` under `mean_i KL(pi_sampling || pi_theta_i') <= delta`, Algorithm 3 (Section
        5.3). Blocks are `TaskExperience`. Without inner steps it is plain TRPO.

        Args:
            outer: The outer loss.
            of_path: What is added to it, a loss of the policies before each inner step. With it the problem's outputs
                are (the adapted policy's distributions, those of each policy before).

        Returns:
            A problem for `TrustRegion` or `ProximalSteps`.
        """

        def outputs(params: Params, task: TaskExperience) -> Gaussian:
            return self.policy(self.adapt(params, task.inner), task.outer.observations)

        def curvature(gaussian: Gaussian, tangent: Gaussian, task: TaskExperience) -> Gaussian:
            product = fisher(gaussian, tangent)
            weights = task.outer.weights
            # All steps share the standard deviation, so their weights add up.
            return Gaussian(weights[:, tf.newaxis] * product.mean, tf.reduce_sum(weights) * product.log_std)

        linearize = None
        if has_closed_form(self.policy) and len(self.adapted) == len(self.policy.parameters()):
            adapted = AdaptedReluPolicy(self.policy, self._objective, self._rule, self._first_order)

            def linearize(params, task):
                return adapted(params, task.inner, task.outer.observations)

        problem = Problem(
            outputs,
            lambda gaussian, task: outer(gaussian, task.outer),
            lambda gaussian, task: mean_divergence(gaussian, task.outer),
            curvature,
            linearize,
        )
        return problem if of_path is None else self._with_path(problem, of_path)

    def _with_path(self, problem: Problem, of_path: PathLoss) -> Problem:
        """Adds a loss of the policies before each inner step to a problem."""

        def up_to_each(function):
            """Calls a function of (params, task) for the adapted policy and for the one before each inner step."""

            def call(params, task):
                before = [TaskExperience(task.inner[:step], batch) for step, batch in enumerate(task.inner)]
                return function(params, task), tuple(function(params, one) for one in before)

            return call

        def linearize(params, task):
            adapted, before = up_to_each(problem.linearize)(params, task)

            def pull(cotangents):
                pulled = [adapted.pull(cotangents[0])]
                pulled += [one.pull(cotangent) for one, cotangent in zip(before, cotangents[1], strict=True)]
                return tf.nest.map_structure(lambda *leaves: tf.add_n(leaves), *pulled)

            return Linearization(
                (adapted.outputs, tuple(one.outputs for one in before)),
                lambda vector: (adapted.push(vector), tuple(one.push(vector) for one in before)),
                pull,
            )

        return Problem(
            up_to_each(problem.outputs),
            lambda outputs, task: problem.loss(outputs[0], task) + of_path(outputs[1], task),
            lambda outputs, task: problem.divergence(outputs[0], task),
            lambda outputs, tangent, task: (
                problem.curvature(outputs[0], tangent[0], task),
                tf.nest.map_structure(tf.zeros_like, outputs[1]),
            ),
            linearize if problem.linearize else None,
        )

    def _loss(self, params: Params) -> Callable[[Params, Experience, Any], tf.Tensor]:
        def loss(changing, batch, step):
            return self._objective(self.policy({**params, **changing}, batch.observations), batch)

        return loss

    def _step_of_tasks(self, params: Params, batches: Experience, step: tf.Tensor) -> Params:
        def of_task(task):
            return self.step_of_task(*task, step).params

        return over_tasks(of_task, (params, batches))


def _checked(names: Sequence[str], policy: PurePolicy) -> list[str]:
    known = list(policy.parameters())
    if not names or not set(names) <= set(known):
        raise ValueError(f"Expected names of parameters to adapt, some of {known}. Received: {list(names)}")
    return list(dict.fromkeys(names))


def thinned(task: TaskExperience, stride: int) -> TaskExperience:
    """Keeps every `stride`-th time step of a task's experience: a smaller sample for the curvature.

    Successive states of a rollout are nearly the same, so little is lost. The weights of the kept steps are scaled to
    the sum of all weights.
    """

    def thin(batch: Experience) -> Experience:
        *of_steps, log_std, _ = batch
        kept = Experience(*(values[::stride] for values in of_steps), log_std)  # Rollouts with gaps.
        total = tf.reduce_sum(batch.weights) / tf.maximum(tf.reduce_sum(kept.weights), 1e-12)
        return kept._replace(weights=kept.weights * total)

    return task._replace(inner=tuple(map(thin, task.inner)), outer=thin(task.outer))
