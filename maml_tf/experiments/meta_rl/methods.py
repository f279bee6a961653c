"""The training of each method of meta-reinforcement learning, composed of the parts of `maml_tf.rl`."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from maml_tf.experiments.meta_rl import config as streams
from maml_tf.experiments.meta_rl.config import MetaRLConfig
from maml_tf.methods import methods
from maml_tf.rl.adaptation import PolicyAdaptation, thinned
from maml_tf.rl.environments import TaskEnvironment
from maml_tf.rl.meta_policy import Estimation, MetaPolicyIteration, Sampler
from maml_tf.rl.methods import composition
from maml_tf.rl.objectives import ClippedSurrogate, likelihood_ratio, reinforce
from maml_tf.rl.policy import PurePolicy
from maml_tf.rl.trust_region import TrustRegion

_INNER = {"reinforce": reinforce, "likelihood_ratio": likelihood_ratio}
_OUTER = {"likelihood_ratio": likelihood_ratio, "clipped": ClippedSurrogate()}


def settled(method: str, config: MetaRLConfig) -> MetaRLConfig:
    """Returns the configuration with the settings of a method, such as those of first-order MAML."""
    return dataclasses.replace(config, **methods[method].settings["meta_rl"])


def build_adaptation(method: str, config: MetaRLConfig, policy: PurePolicy, step_sizes: Any) -> PolicyAdaptation:
    """Says how a method's policy adapts, with one inner step size or one for each step."""
    return PolicyAdaptation(
        policy,
        step_sizes,
        objective=_INNER[config.inner_objective],
        adapted=composition(method, config).adapted,
        first_order=config.first_order,
    )


def build_iteration(
    method: str, config: MetaRLConfig, environment: TaskEnvironment, policy: PurePolicy
) -> MetaPolicyIteration:
    """Composes the meta-iteration of a trained method, in `meta_batch_size * rollouts` simulations."""
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
        inner_steps=config.inner_steps if composition(method, config).adapts_in_training else 0,
        seed=config.stream(streams.TRAINING),
    )


def build_sampler(config: MetaRLConfig, environment: TaskEnvironment, adaptation: PolicyAdaptation) -> Sampler:
    """Composes the sampler of an adaptation's rollouts."""
    return Sampler(environment, adaptation, Estimation(config.discount, config.gae_lambda, config.budget))
