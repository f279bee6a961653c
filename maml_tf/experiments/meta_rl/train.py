"""Training of meta-reinforcement learning: how each method comes by its initial policy."""

from __future__ import annotations

import pathlib

import keras
import numpy as np
from absl import logging

from maml_tf.experiments.meta_rl import config as streams
from maml_tf.experiments.meta_rl.config import MetaRLConfig
from maml_tf.experiments.meta_rl.methods import build_iteration, evaluation_sampler, mean_return
from maml_tf.methods import label
from maml_tf.rl.adaptation import Params
from maml_tf.rl.methods import build_environment, build_policy, composition
from maml_tf.rl.policy import PurePolicy
from maml_tf.training import (
    AtomicCheckpoint,
    BestWeights,
    Iterations,
    Progress,
    Summaries,
    WallTime,
    finishing_steps,
    in_order,
    load_weights,
    row_tag,
    tag_of,
)

_VALIDATION = "validation_return"
_SHOWN = (
    "return_step_0", "return", "success_rate_step_0", "success_rate_step_1", "kl", "control_steps_per_second",
    _VALIDATION,
)  # fmt: skip


def train(method: str, config: MetaRLConfig, directory: pathlib.Path, resume: bool) -> PurePolicy:
    """Trains a method's initial policy and returns the best one.

    The best is that with the greatest return on the tasks of `Validation`, every `validate_every` meta-iterations and
    at the end. The returns of the meta-iterations themselves differ by the tasks drawn more than by the model.

    Args:
        method: A name of `maml_tf.methods`.
        config: The experiment's configuration.
        directory: For checkpoints, the wall time and TensorBoard's events.
        resume: Whether to go on from the checkpoints in the directory.

    Returns:
        The policy.

    Raises:
        FileNotFoundError: If there is no file of initial weights.
        ValueError: If the directory holds checkpoints and `resume` is False, or those of another configuration, the
            initial weights do not fit, or the policy diverges in every validation.
    """
    keras.utils.set_random_seed(config.seed)
    environment = build_environment(method, config, config.meta_batch_size * config.rollouts)
    policy = PurePolicy(build_policy(method, config, environment))
    if not composition(method, config).trained:
        return policy
    iteration = build_iteration(method, config, environment, policy)
    validation = Validation(method, config, policy)
    iterations = Iterations(config.iterations)
    best = BestWeights(policy.policy, _VALIDATION, iterations, mode="max")
    checkpoint = AtomicCheckpoint(
        directory / "checkpoints", iterations, config.identity(method=method),
        every_seconds=config.checkpoint_seconds, model=policy.policy, best=best.state, **iteration.state,
    )  # fmt: skip
    first = checkpoint.restore() if resume else 0
    if config.initial_weights and not first:
        load_weights(policy.policy, config.initial_weights)
    shown = Progress(iterations, metrics=_SHOWN)
    wall_time = WallTime(directory, iterations, resume=resume)
    summaries = _summaries(method, config, directory, iterations)
    callbacks = keras.callbacks.CallbackList(in_order([iterations, checkpoint, shown, wall_time]))
    if first < config.iterations:
        with finishing_steps():
            callbacks.on_train_begin()
            summaries.on_train_begin()
            for number in range(first, config.iterations):
                callbacks.on_epoch_begin(number)
                validated = {}
                if number and number % config.validate_every == 0:
                    validated[_VALIDATION] = validation(policy.parameters())
                    best.offer(validated[_VALIDATION], number)
                    # Over the iterations done, which are not those at the end of this one.
                    summaries.scalars({tag_of(_VALIDATION): validated[_VALIDATION]}, number)
                    summaries.outer_updates(policy.parameters(), number)
                callbacks.on_train_batch_begin(0)
                params, logs = iteration(policy.parameters(), number)
                policy.assign(params)
                callbacks.on_train_batch_end(0)
                summaries.on_epoch_end(number, logs)
                callbacks.on_epoch_end(number, logs | validated)
            callbacks.on_train_end()
    # Not in the checkpoint, so that a training that goes on equals one that was longer from the start.
    last = validation(policy.parameters())
    best.offer(last, config.iterations)
    summaries.scalars({tag_of(_VALIDATION): last}, config.iterations)
    summaries.outer_updates(policy.parameters(), config.iterations)
    summaries.writer.close()
    if best.iteration is None:
        raise ValueError(
            f"Expected a {method} policy that does not diverge on the validation tasks with step sizes "
            f"{config.step_sizes()}. Received: none in {config.iterations} meta-iterations"
        )
    best.apply()
    best.write(directory)
    logging.info("%s: best return on validation tasks %.2f, after %d iterations", method, best.value, best.iteration)
    return policy


def _summaries(method: str, config: MetaRLConfig, directory: pathlib.Path, iterations: Iterations) -> Summaries:
    steps = sorted({0, 1, config.evaluation_steps})
    return Summaries(
        directory,
        iterations,
        card={"experiment": "meta-reinforcement learning", "environment": config.environment, "method": label(method)},
        hparams={"method": method, **config.results_identity()},
        first=("method", "environment", "seed", "iterations", "inner_learning_rate"),
        metrics=[*(row_tag("return", step) for step in steps), tag_of(_VALIDATION), "training/return"],
    )


class Validation:
    """Measures parameters on tasks of its own, neither trained nor tested on, each time with the same noise.

    Args:
        method: A name of `maml_tf.methods`.
        config: The experiment's configuration.
        policy: The policy.
    """

    def __init__(self, method: str, config: MetaRLConfig, policy: PurePolicy):
        self._method, self._step_sizes = method, config.step_sizes()
        self._steps = config.evaluation_steps if composition(method, config).adapts_in_training else 0
        self._sampler = evaluation_sampler(method, config, policy, config.tuning_tasks, self._step_sizes)
        self._seed = config.stream(streams.TUNING)
        self._tasks = self._sampler.environment.sample_tasks(config.tuning_tasks, (self._seed, config.tuning_tasks))

    def __call__(self, params: Params) -> float:
        """Computes the mean return over tasks and over the evaluation's gradient steps.

        For a method that is trained without gradient steps it is the return before them. For a policy that diverges
        it is minus infinity, and a warning says so.
        """
        value = mean_return(self._sampler, params, self._tasks, self._steps, self._seed)
        if value == -np.inf:
            logging.warning(
                "%s: the policy diverges on the validation tasks in %d steps of sizes %s, and cannot be the best",
                self._method, self._steps, self._step_sizes,
            )  # fmt: skip
        return value
