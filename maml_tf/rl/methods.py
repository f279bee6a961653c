"""The differences between the methods of meta-reinforcement learning, and their initial policies."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any

import keras

from maml_tf.core.selection import Selection, everything, matching
from maml_tf.layers import ContextVector
from maml_tf.methods import methods
from maml_tf.models import mlp
from maml_tf.rl.adaptation import PathLoss, PolicyAdaptation, thinned
from maml_tf.rl.config import PolicyConfig
from maml_tf.rl.environments import TaskEnvironment, environments
from maml_tf.rl.objectives import ClippedSurrogate, likelihood_ratio
from maml_tf.rl.policy import GaussianPolicy, gaussian_mlp_policy
from maml_tf.rl.trust_region import TrustRegion
from maml_tf.training import load_weights


def trust_region(adaptation: PolicyAdaptation, config: Any, of_path: PathLoss | None = None) -> TrustRegion:
    """Builds MAML's outer step, of the configuration of an experiment.

    Args:
        adaptation: The policy and its adaptation.
        config: The experiment's configuration.
        of_path: What is added to the outer loss; see `PolicyAdaptation.problem`.
    """
    clipped = config.outer_objective == "clipped"
    stride = config.curvature_stride
    return TrustRegion(
        adaptation.problem(ClippedSurrogate(config.clip or 0.2) if clipped else likelihood_ratio, of_path),
        config.max_divergence,
        iterations=config.conjugate_gradient_iterations,
        damping=config.damping,
        products=config.products,
        thin=functools.partial(thinned, stride=stride) if stride > 1 else None,
    )


@dataclasses.dataclass(frozen=True)
class PolicyMethod:
    """How a method differs from MAML; `build["meta_rl"]` of a `maml_tf.methods.Method` returns one.

    Attributes:
        trained: Whether the policy is trained.
        adapts_in_training: Whether the training takes inner steps. Otherwise it optimises one policy on rollouts of
            many tasks.
        adapts: Whether the policy takes gradient steps on test tasks.
        knows_task: Whether observations contain the task.
        tunes_step_size: Whether the evaluation may choose the step size.
        adapted: The parameters that gradient steps on a task change.
        policy: `policy(observation_size, action_size, hidden)` builds the policy, `hidden` a tuple of layer sizes.
        outer: `outer(adaptation, config)` builds the outer step of a `PolicyAdaptation`, of the experiment's
            configuration. A step with `state` has it checkpointed.
        inner_objective: Name of the inner loss where the configuration has the paper's, reinforce.
    """

    trained: bool = True
    adapts_in_training: bool = True
    adapts: bool = True
    knows_task: bool = False
    tunes_step_size: bool = False
    adapted: Selection = everything
    policy: Callable[[int, int, tuple[int, ...]], GaussianPolicy] = gaussian_mlp_policy
    outer: Callable[[PolicyAdaptation, Any], Any] = trust_region
    inner_objective: str = "reinforce"


def pretrained(name: str, config: PolicyConfig) -> PolicyMethod:
    """One policy trained on all tasks."""
    return PolicyMethod(adapts_in_training=False, tunes_step_size=True)


def random(name: str, config: PolicyConfig) -> PolicyMethod:
    """A policy with random weights."""
    return PolicyMethod(trained=False, tunes_step_size=True)


def oracle(name: str, config: PolicyConfig) -> PolicyMethod:
    """One policy trained on all tasks, with the task in the observation."""
    return PolicyMethod(adapts_in_training=False, adapts=False, knows_task=True)


def context_vector(name: str, config: PolicyConfig) -> PolicyMethod:
    """MAML whose inner steps change only free parameters at the policy's input."""
    return PolicyMethod(adapted=matching("context_vector"), policy=context_vector_policy)


def context_vector_policy(observation: int, action: int, hidden: tuple[int, ...]) -> GaussianPolicy:
    """Builds a policy with as many free parameters at its input as an observation has numbers."""
    inputs = keras.Input((observation,))
    joined = ContextVector(observation, name="context_vector")(inputs)
    outputs = mlp((2 * observation,), hidden, action, name="network")(joined)
    return GaussianPolicy(keras.Model(inputs, outputs, name="context_network"), name="policy")


def composition(method: str, config: PolicyConfig) -> PolicyMethod:
    """Returns how a method differs from MAML: in nothing, if it has no builder for meta-reinforcement learning.

    Args:
        method: A name of `maml_tf.methods`.
        config: The configuration that the builder is called with.
    """
    build = methods[method].builder("meta_rl")
    return PolicyMethod() if build is None else build(method, config)


def build_environment(method: str, config: PolicyConfig, simulations: int) -> TaskEnvironment:
    """Builds the environment that a method acts in, with `simulations` simulations."""
    knows_task = composition(method, config).knows_task
    return environments[config.environment].make(simulations, task_in_observation=knows_task)


def build_policy(method: str, config: PolicyConfig, environment: TaskEnvironment) -> GaussianPolicy:
    """Builds a method's policy with random weights, for the observations and actions of an environment."""
    observation, action = environment.observation_spec().shape[0], environment.action_spec().shape[0]
    return composition(method, config).policy(observation, action, (config.hidden, config.hidden))


def load_policy(method: str, config: PolicyConfig, weights: str | os.PathLike[str]) -> GaussianPolicy:
    """Builds a method's policy and reads its weights before adaptation.

    Args:
        method: A name of `maml_tf.methods`.
        config: The policy's configuration.
        weights: File that `save` or `save_weights` of the policy wrote.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file holds weights of another policy.
    """
    policy = build_policy(method, config, build_environment(method, config, 1))
    load_weights(policy, weights)
    return policy
