"""Evaluation of initial policies: returns after each number of gradient steps on new tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging

from maml_tf.core.task_values import Evaluation
from maml_tf.experiments import meta_rl_config as streams
from maml_tf.experiments.meta_rl_config import MetaRLConfig
from maml_tf.experiments.meta_rl_methods import build_adaptation, build_environment, build_sampler
from maml_tf.rl.adaptation import Params
from maml_tf.rl.environments import NonFiniteActionsError, environments
from maml_tf.rl.meta_policy import Phase, Sampler
from maml_tf.rl.policy import PurePolicy
from maml_tf.rl.rollouts import mean_returns

# First step sizes that the baselines choose from.
CANDIDATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


def evaluate(method: str, config: MetaRLConfig, policy: PurePolicy, step_sizes: Sequence[float]) -> Evaluation:
    """Measures a policy on the test tasks, those that the paper's authors used.

    Args:
        method: One of `METHODS`; an "oracle", which is told the task, takes no step.
        config: The experiment's configuration.
        policy: The initial policy.
        step_sizes: Of each gradient step; the last one serves all later steps.

    Returns:
        Metric "return", the mean over a task's rollouts.
    """
    tasks = test_tasks(config)
    steps = 0 if method == "oracle" else config.evaluation_steps
    phases = adapted_phases(method, config, policy, tasks, step_sizes, steps, config.stream(streams.TEST))
    return Evaluation({"return": np.stack([mean_returns(phase.rollouts) for phase in phases])})


class Validation:
    """Measures parameters on tasks that are neither trained nor tested on, the same ones with the same noise each time.

    Args:
        method: One of `METHODS`.
        config: The experiment's configuration.
        policy: The policy.
    """

    def __init__(self, method: str, config: MetaRLConfig, policy: PurePolicy):
        adapts = method not in ("pretrained", "oracle")
        self._method, self._step_sizes = method, config.step_sizes()
        self._steps = config.evaluation_steps if adapts else 0
        self._sampler = _sampler(method, config, policy, config.tuning_tasks, self._step_sizes)
        self._seed = config.stream(streams.TUNING)
        self._tasks = self._sampler.environment.sample_tasks(config.tuning_tasks, (self._seed, config.tuning_tasks))

    def __call__(self, params: Params) -> float:
        """Computes the mean return over tasks and over the evaluation's gradient steps.

        For a method that is trained without gradient steps it is the return before them.

        Args:
            params: The initial parameters.

        Returns:
            The return; minus infinity if the policy diverges, of which a warning tells.
        """
        try:
            phases, _ = self._sampler.adapt(params, self._tasks, self._steps, (self._seed, self._steps))
        except NonFiniteActionsError:
            logging.warning(
                "%s: the policy diverges on the validation tasks in %d steps of sizes %s, and cannot be the best",
                self._method,
                self._steps,
                self._step_sizes,
            )
            return -np.inf
        return _mean_return(phases)


def tune_step_size(method: str, config: MetaRLConfig, policy: PurePolicy) -> float:
    """Chooses a policy's first step size: that with the best mean return over the gradient steps on tuning tasks.

    The best after the last step alone may come there by way of very bad policies. A step size with which the policy
    diverges is not chosen. One that the configuration gives is not tuned.

    Args:
        method: One of `METHODS`.
        config: The experiment's configuration.
        policy: The initial policy.

    Returns:
        The configuration's `evaluation_learning_rate`, or where it has none one of `CANDIDATES`.

    Raises:
        ValueError: If the policy diverges with all of them.
    """
    if config.evaluation_learning_rate is not None:
        return config.evaluation_learning_rate
    seed, steps = config.stream(streams.TUNING), config.evaluation_steps
    # One schedule of all candidates', so that one compiled step serves them.
    schedule = [config.step_sizes(candidate)[min(step, 1)] for candidate in CANDIDATES for step in range(steps)]
    sampler = _sampler(method, config, policy, config.tuning_tasks, schedule)
    tasks = sampler.environment.sample_tasks(config.tuning_tasks, (seed, config.tuning_tasks))
    returns = []
    for number in range(len(CANDIDATES)):
        try:
            phases, _ = sampler.adapt(policy.parameters(), tasks, steps, (seed, steps), first_step=number * steps)
        except NonFiniteActionsError:
            logging.info("%s: diverges with a step size of %g", method, CANDIDATES[number])
            returns.append(-np.inf)
            continue
        returns.append(_mean_return(phases))
    if not np.any(np.isfinite(returns)):
        raise ValueError(
            f"Expected a step size of {CANDIDATES} with which the {method} policy does not diverge. Received: none"
        )
    return CANDIDATES[int(np.nanargmax(returns))]


def adapted_phases(
    method: str,
    config: MetaRLConfig,
    policy: PurePolicy,
    tasks: Sequence[Any],
    step_sizes: Sequence[float],
    steps: int,
    seed: int,
) -> list[Phase]:
    """Lets a policy adapt to tasks.

    Args:
        method: One of `METHODS`.
        config: The experiment's configuration.
        policy: The initial policy.
        tasks: The tasks.
        step_sizes: Of each gradient step.
        steps: Number of gradient steps.
        seed: Of initial states and actions.

    Returns:
        The rollouts before the first step and after each: `steps + 1` phases.
    """
    sampler = _sampler(method, config, policy, len(tasks), step_sizes)
    phases, _ = sampler.adapt(policy.parameters(), tasks, steps, (seed, steps))
    return phases


def adapted_params(
    method: str,
    config: MetaRLConfig,
    policy: PurePolicy,
    tasks: Sequence[Any],
    step_sizes: Sequence[float],
    steps: int,
    seed: int,
) -> Params:
    """Adapts a policy's parameters to tasks.

    Args:
        method: One of `METHODS`.
        config: The experiment's configuration.
        policy: The initial policy.
        tasks: The tasks.
        step_sizes: Of each gradient step.
        steps: Number of gradient steps, at least 1.
        seed: Of initial states and actions.

    Returns:
        The parameters, each with a leading [tasks] axis.
    """
    sampler = _sampler(method, config, policy, len(tasks), step_sizes)
    _, path = sampler.adapt(policy.parameters(), tasks, steps, (seed, steps))
    return path[-1]


def test_tasks(config: MetaRLConfig) -> Sequence[Any]:
    """Draws the test tasks, in the paper's environments those that its authors used."""
    return environments[config.environment].test_tasks(config.test_tasks, config.test_seed)


def _sampler(method: str, config: MetaRLConfig, policy: PurePolicy, tasks: int, step_sizes: Sequence[float]) -> Sampler:
    environment = build_environment(method, config, tasks * config.evaluation_rollouts)
    return build_sampler(config, environment, build_adaptation(method, config, policy, tuple(step_sizes)))


def _mean_return(phases: Sequence[Phase]) -> float:
    """Computes the mean over tasks and gradient steps; before any step where there is none."""
    adapted = phases[1:] or phases
    return float(np.mean([np.nanmean(mean_returns(phase.rollouts)) for phase in adapted]))
