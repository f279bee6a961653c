"""The methods of meta-reinforcement learning: how each comes by its initial policy."""

from __future__ import annotations

import functools
import pathlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from maml_tf.core.selection import everything, matching
from maml_tf.experiments import meta_rl_config as streams
from maml_tf.experiments.meta_rl_config import MetaRLConfig, make_environment
from maml_tf.layers import ContextVector
from maml_tf.models import mlp
from maml_tf.rl.adaptation import PolicyAdaptation, thinned
from maml_tf.rl.environments import TaskEnvironment
from maml_tf.rl.meta_policy import Estimation, MetaPolicyIteration, Sampler
from maml_tf.rl.objectives import ClippedSurrogate, likelihood_ratio, reinforce
from maml_tf.rl.policy import GaussianPolicy, PurePolicy, gaussian_mlp_policy
from maml_tf.rl.trust_region import TrustRegion
from maml_tf.training import AtomicCheckpoint, BestWeights, Progress

_INNER = {"reinforce": reinforce, "likelihood_ratio": likelihood_ratio}
_OUTER = {"likelihood_ratio": likelihood_ratio, "clipped": ClippedSurrogate()}
_SHOWN = ("return_step_0", "return", "kl", "control_steps_per_second")


def train(method: str, config: MetaRLConfig, directory: pathlib.Path, resume: bool) -> PurePolicy:
    """Trains a method's initial policy and returns the best one.

    The best is that with the greatest mean return, after adaptation where the method adapts in training, on the
    rollouts of its own meta-iteration and of those before it. The return of one meta-iteration depends so much on
    the tasks drawn that its greatest is an early model's by luck.

    Args:
        method: One of `maml_tf.experiments.meta_rl_config.METHODS`.
        config: The experiment's configuration.
        directory: For checkpoints and TensorBoard's events.
        resume: Whether to go on from the checkpoints in the directory.

    Returns:
        The policy.

    Raises:
        ValueError: If the directory holds checkpoints and `resume` is False, or those of another configuration.
    """
    keras.utils.set_random_seed(config.seed)
    environment = make_environment(
        config.environment, config.meta_batch_size * config.rollouts, task_in_observation=method == "oracle"
    )
    policy = PurePolicy(build_policy(method, config, environment))
    if method == "random":
        return policy
    iteration = build_iteration(method, config, environment, policy)
    best = BestWeights(policy.policy, "return", 1, mode="max")
    recent = tf.Variable(tf.fill([config.selection_iterations], np.float64(np.nan)))
    checkpoint = AtomicCheckpoint(
        directory / "checkpoints", 1, config.identity(method),
        every_seconds=config.checkpoint_seconds, model=policy.policy, best=best.state, recent=recent,
    )  # fmt: skip
    first = checkpoint.restore() if resume else 0
    callbacks = keras.callbacks.CallbackList(
        [checkpoint, Progress(config.iterations, 1, metrics=_SHOWN), _Scalars(directory)]
    )
    if first < config.iterations:
        callbacks.on_train_begin()
        for number in range(first, config.iterations):
            callbacks.on_epoch_begin(number)
            params, logs = iteration(policy.parameters(), number)
            # The return is that of the parameters before the outer step.
            recent.assign(tf.concat([recent[1:], [logs["return"]]], axis=0))
            best.offer(float(np.nanmean(recent)), number)
            policy.assign(params)
            callbacks.on_epoch_end(number, logs)
        callbacks.on_train_end()
    best.apply()
    logging.info("%s: best return %.2f after %d iterations", method, best.value, best.iteration)
    return policy


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


class _Scalars(keras.callbacks.Callback):
    """Writes each iteration's measurements for TensorBoard."""

    def __init__(self, directory: pathlib.Path):
        super().__init__()
        self._directory = directory
        self._writer: tf.summary.SummaryWriter | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self._directory / "train"))
        with self._writer.as_default(step=epoch):
            for name, value in (logs or {}).items():
                tf.summary.scalar(name, value)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._writer is not None:
            self._writer.close()
