"""The methods of meta-reinforcement learning: what each is composed of."""

from __future__ import annotations

import functools
from typing import Any

from maml_tf.core.selection import everything, matching
from maml_tf.experiments import meta_rl_config as streams
from maml_tf.experiments.meta_rl_config import MetaRLConfig
from maml_tf.rl import method_policies
from maml_tf.rl.adaptation import PolicyAdaptation, thinned
from maml_tf.rl.environments import DrawableEnvironment, TaskEnvironment
from maml_tf.rl.meta_policy import Estimation, MetaPolicyIteration, Sampler
from maml_tf.rl.objectives import ClippedSurrogate, likelihood_ratio, reinforce
from maml_tf.rl.policy import GaussianPolicy, PurePolicy
from maml_tf.rl.trust_region import TrustRegion

_INNER = {"reinforce": reinforce, "likelihood_ratio": likelihood_ratio}
_OUTER = {"likelihood_ratio": likelihood_ratio, "clipped": ClippedSurrogate()}


def build_environment(method: str, config: MetaRLConfig, simulations: int) -> DrawableEnvironment:
    """Makes the environment that a method acts in; see `maml_tf.rl.method_policies`."""
    return method_policies.build_environment(method, config.environment, simulations)


def build_policy(method: str, config: MetaRLConfig, environment: TaskEnvironment) -> GaussianPolicy:
    """Builds a method's policy with random weights; see `maml_tf.rl.method_policies`."""
    return method_policies.build_policy(method, environment, config.hidden)


def build_adaptation(method: str, config: MetaRLConfig, policy: PurePolicy, step_sizes: Any) -> PolicyAdaptation:
    """Says how a method's policy adapts.

    Args:
        method: One of `METHODS`.
        config: The experiment's configuration.
        policy: The policy.
        step_sizes: Inner step size, or one for each step.

    Returns:
        The adaptation: of the context alone for "context_vector", of everything otherwise.
    """
    return PolicyAdaptation(
        policy,
        step_sizes,
        objective=_INNER[config.inner_objective],
        adapted=matching("context_vector") if method == "context_vector" else everything,
        first_order=config.first_order,
    )


def build_iteration(
    method: str, config: MetaRLConfig, environment: TaskEnvironment, policy: PurePolicy
) -> MetaPolicyIteration:
    """Composes a method's meta-iteration.

    Args:
        method: One of `METHODS` but "random".
        config: The experiment's configuration.
        environment: Of `meta_batch_size * rollouts` simulations.
        policy: The policy.

    Returns:
        The iteration: without inner steps for "pretrained" and "oracle".
    """
    adaptation = build_adaptation(method, config, policy, config.inner_learning_rate)
    stride = config.curvature_stride
    outer = TrustRegion(
        adaptation.problem(_OUTER[config.outer_objective]),
        config.max_divergence,
        iterations=config.conjugate_gradient_iterations,
        damping=config.damping,
        products=config.products,
        thin=functools.partial(thinned, stride=stride) if stride > 1 else None,
    )
    return MetaPolicyIteration(
        build_sampler(config, environment, adaptation),
        outer,
        tasks=config.meta_batch_size,
        inner_steps=0 if method in ("pretrained", "oracle") else config.inner_steps,
        seed=config.stream(streams.TRAINING),
    )


def build_sampler(config: MetaRLConfig, environment: TaskEnvironment, adaptation: PolicyAdaptation) -> Sampler:
    """Composes the sampler of an adaptation's rollouts.

    Args:
        config: The experiment's configuration.
        environment: The environment.
        adaptation: The adaptation.

    Returns:
        The sampler.
    """
    return Sampler(environment, adaptation, Estimation(config.discount, config.gae_lambda, config.budget))
