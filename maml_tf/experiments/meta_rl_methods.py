"""The methods of meta-reinforcement learning: what each is composed of."""

from __future__ import annotations

import functools
from typing import Any

import keras

from maml_tf.core.selection import everything, matching
from maml_tf.experiments import meta_rl_config as streams
from maml_tf.experiments.meta_rl_config import MetaRLConfig, make_environment
from maml_tf.layers import ContextVector
from maml_tf.models import mlp
from maml_tf.rl.adaptation import PolicyAdaptation, thinned
from maml_tf.rl.environments import DrawableEnvironment, TaskEnvironment
from maml_tf.rl.meta_policy import Estimation, MetaPolicyIteration, Sampler
from maml_tf.rl.objectives import ClippedSurrogate, likelihood_ratio, reinforce
from maml_tf.rl.policy import GaussianPolicy, PurePolicy, gaussian_mlp_policy
from maml_tf.rl.trust_region import TrustRegion

_INNER = {"reinforce": reinforce, "likelihood_ratio": likelihood_ratio}
_OUTER = {"likelihood_ratio": likelihood_ratio, "clipped": ClippedSurrogate()}


def build_environment(method: str, config: MetaRLConfig, simulations: int) -> DrawableEnvironment:
    """Builds the environment that a method acts in.

    Args:
        method: One of `METHODS`.
        config: The experiment's configuration.
        simulations: How many run at once.

    Returns:
        The configuration's environment; for "oracle" its observations hold the task.
    """
    return make_environment(config.environment, simulations, task_in_observation=method == "oracle")


def build_policy(method: str, config: MetaRLConfig, environment: TaskEnvironment) -> GaussianPolicy:
    """Builds a method's policy with random weights.

    Args:
        method: One of `METHODS`.
        config: The experiment's configuration.
        environment: Whose observations and actions it is for.

    Returns:
        The paper's policy; for "context_vector" with as many free parameters at its input as an observation has
        numbers.
    """
    observation, action = environment.observation_spec().shape[0], environment.action_spec().shape[0]
    hidden = (config.hidden, config.hidden)
    if method != "context_vector":
        return gaussian_mlp_policy(observation, action, hidden)
    inputs = keras.Input((observation,))
    joined = ContextVector(observation, name="context_vector")(inputs)
    outputs = mlp((2 * observation,), hidden, action, name="network")(joined)
    return GaussianPolicy(keras.Model(inputs, outputs, name="context_network"), name="policy")


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
