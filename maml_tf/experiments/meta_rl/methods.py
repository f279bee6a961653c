"""The training of each method of meta-reinforcement learning, composed of the parts of `maml_tf.rl`."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from maml_tf.experiments.meta_rl import config as streams
from maml_tf.experiments.meta_rl.config import MetaRLConfig
from maml_tf.methods import methods
from maml_tf.rl.adaptation import Params, PolicyAdaptation
from maml_tf.rl.environments import NonFiniteActionsError, TaskEnvironment, environments
from maml_tf.rl.inner_objectives import inner_objective
from maml_tf.rl.meta_policy import Estimation, MetaPolicyIteration, Phase, Sampler
from maml_tf.rl.methods import build_environment, build_policy, composition
from maml_tf.rl.policy import PurePolicy
from maml_tf.rl.rollouts import mean_returns
from maml_tf.rl.sampling import ProcessCollector


def settled(method: str, config: MetaRLConfig) -> MetaRLConfig:
    """Returns the configuration with the settings of a method, such as those of first-order MAML."""
    return dataclasses.replace(config, **methods[method].settings["meta_rl"])


def build_adaptation(method: str, config: MetaRLConfig, policy: PurePolicy, step_sizes: Any) -> PolicyAdaptation:
    """Says how a method's policy adapts, with one inner step size or one for each step."""
    composed = composition(method, config)
    given = config.inner_objective
    return PolicyAdaptation(
        policy,
        step_sizes,
        objective=inner_objective(composed.inner_objective if given == "reinforce" else given),
        adapted=composed.adapted,
        first_order=config.first_order,
    )


def build_iteration(
    method: str, config: MetaRLConfig, environment: TaskEnvironment, policy: PurePolicy
) -> MetaPolicyIteration:
    """Composes the meta-iteration of a trained method, in `meta_batch_size * rollouts` simulations."""
    adaptation = build_adaptation(method, config, policy, config.inner_learning_rate)
    composed = composition(method, config)
    return MetaPolicyIteration(
        build_sampler(method, config, environment, adaptation),
        composed.outer(adaptation, config),
        tasks=config.meta_batch_size,
        inner_steps=config.inner_steps if composed.adapts_in_training else 0,
        seed=config.stream(streams.TRAINING),
    )


def build_sampler(
    method: str, config: MetaRLConfig, environment: TaskEnvironment, adaptation: PolicyAdaptation
) -> Sampler:
    """Composes the sampler of an adaptation's rollouts, which are collected in this process or by Ray's."""
    collector = None
    if config.sampler == "ray":
        from maml_tf.rl.ray_sampling import RayCollector

        collector = RayCollector(
            environment,
            adaptation.policy,
            functools.partial(build_collector, method, config.in_this_process()),
            budget=config.budget,
            workers=config.workers or min(os.cpu_count() or 1, config.meta_batch_size),
            address=config.ray_address,
        )
    return Sampler(environment, adaptation, Estimation(config.discount, config.gae_lambda, config.budget), collector)


def build_collector(method: str, config: MetaRLConfig, simulations: int) -> ProcessCollector:
    """Composes the collector of one of Ray's processes, with a policy that takes its parameters from each call."""
    environment = build_environment(method, config, simulations)
    return ProcessCollector(environment, PurePolicy(build_policy(method, config, environment)), config.budget)


def evaluation_sampler(
    method: str, config: MetaRLConfig, policy: PurePolicy, tasks: int, step_sizes: Sequence[float]
) -> Sampler:
    """Composes the sampler of an evaluation, in `tasks * evaluation_rollouts` simulations."""
    config = settled(method, config)
    environment = build_environment(method, config, tasks * config.evaluation_rollouts)
    return build_sampler(method, config, environment, build_adaptation(method, config, policy, tuple(step_sizes)))


def test_tasks(config: MetaRLConfig) -> Sequence[Any]:
    """Draws the test tasks, in the paper's environments those that its authors used."""
    return environments[config.environment].test_tasks(config.test_tasks, config.test_seed)


def adapted(
    method: str,
    config: MetaRLConfig,
    policy: PurePolicy,
    tasks: Sequence[Any],
    step_sizes: Sequence[float],
    steps: int,
    seed: int,
) -> tuple[list[Phase], list[Params]]:
    """Lets a policy adapt to tasks.

    Args:
        method: A name of `maml_tf.methods`.
        config: The experiment's configuration.
        policy: The initial policy.
        tasks: The tasks.
        step_sizes: Size of each gradient step; the last one serves all later steps.
        steps: Number of gradient steps.
        seed: Seed of initial states and actions.

    Returns:
        The rollouts before the first step and after each, `steps + 1` phases, and the parameters after each step with a
        leading [tasks] axis.
    """
    sampler = evaluation_sampler(method, config, policy, len(tasks), step_sizes)
    return sampler.adapt(policy.parameters(), tasks, steps, (seed, steps))


def mean_return(
    sampler: Sampler, params: Params, tasks: Sequence[Any], steps: int, seed: int, first_step: int = 0
) -> float:
    """Computes the mean return over tasks and gradient steps, before any step where there is none.

    It is minus infinity where the policy diverges.
    """
    try:
        phases, _ = sampler.adapt(params, tasks, steps, (seed, steps), first_step=first_step)
    except NonFiniteActionsError:
        return -np.inf
    return float(np.mean([np.nanmean(mean_returns(phase.rollouts)) for phase in phases[1:] or phases]))
