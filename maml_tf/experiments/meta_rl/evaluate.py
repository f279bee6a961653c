"""Evaluation of initial policies: returns after each number of gradient steps on new tasks."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging

from maml_tf import pretrained
from maml_tf.configuration import from_dict
from maml_tf.core.task_values import Evaluation
from maml_tf.experiments.meta_rl import config as streams
from maml_tf.experiments.meta_rl.config import MetaRLConfig
from maml_tf.experiments.meta_rl.methods import build_adaptation, build_sampler, settled
from maml_tf.results import POLICY, RESULTS
from maml_tf.rl.adaptation import Params
from maml_tf.rl.environments import NonFiniteActionsError, environments
from maml_tf.rl.meta_policy import Phase, Sampler
from maml_tf.rl.methods import build_environment, composition, load_policy
from maml_tf.rl.policy import GaussianPolicy, PurePolicy
from maml_tf.rl.rollouts import mean_returns
from maml_tf.training import read_json

# First step sizes that the baselines choose from.
CANDIDATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


@dataclasses.dataclass(frozen=True)
class TrainedPolicy:
    """A policy that was trained: its method, its configuration and its weights.

    Attributes:
        method: A name of `maml_tf.methods`.
        config: The training's configuration.
        weights: File of its weights before adaptation: what `save` or `save_weights` wrote.

    Example:
    >>> from maml_tf.experiments.meta_rl.evaluate import TrainedPolicy
    >>> trained = TrainedPolicy.of_entry("point_navigation")
    >>> trained.method, trained.config.environment, trained.load().count_params()
    ('maml', 'point_navigation', 10604)
    """

    method: str
    config: MetaRLConfig
    weights: pathlib.Path

    @classmethod
    def of_training(cls, logdir: str | os.PathLike[str], method: str) -> TrainedPolicy:
        """Finds the policy that a training kept; `load` finds out whether its file is there.

        Args:
            logdir: Directory of a training that was evaluated, with results.json.
            method: Method whose policy is meant.

        Raises:
            FileNotFoundError: If there is no evaluated training.
            ValueError: If its results are not those of meta-reinforcement learning.
        """
        logdir = pathlib.Path(logdir).expanduser()
        results = logdir / RESULTS
        if not results.is_file():
            raise FileNotFoundError(f"Expected a training that was evaluated. Received: no {str(results)!r}")
        content = read_json(results)
        if "environment" not in content.get("config", {}):
            raise ValueError(f"Expected results of meta-reinforcement learning. Received: others in {str(results)!r}")
        return cls(method, from_dict(MetaRLConfig, content["config"]), logdir / method / POLICY)

    @classmethod
    def of_entry(cls, name: str, folder: str | os.PathLike[str] | None = None) -> TrainedPolicy:
        """Finds a policy of `maml_tf.pretrained`.

        Args:
            name: One of `pretrained.available()`.
            folder: Folder of the entries, by default the package's.

        Raises:
            ValueError: If there is no such entry, or it learned from images.
        """
        content = pretrained.card(name, folder)
        if "environment" not in content["config"]:
            raise ValueError(
                f"Expected an entry of reinforcement learning. Received: {name!r}, of images: bin/evaluate.py"
            )
        config = from_dict(MetaRLConfig, content["config"])
        return cls(content["training"]["method"], config, pretrained.weights_path(name, folder))

    def load(self) -> GaussianPolicy:
        """Builds the policy and reads its weights before adaptation; see `load_policy`."""
        return load_policy(self.method, self.config, self.weights)


def evaluate(method: str, config: MetaRLConfig, policy: PurePolicy, step_sizes: Sequence[float]) -> Evaluation:
    """Measures a policy on the test tasks, those that the paper's authors used.

    Args:
        method: A name of `maml_tf.methods`; an oracle, which is told the task, takes no step.
        config: The experiment's configuration.
        policy: The initial policy.
        step_sizes: Size of each gradient step; the last one serves all later steps.

    Returns:
        Metric "return", the mean over a task's rollouts.
    """
    tasks = test_tasks(config)
    steps = config.evaluation_steps if composition(method, config).adapts else 0
    phases = adapted_phases(method, config, policy, tasks, step_sizes, steps, config.stream(streams.TEST))
    return Evaluation({"return": np.stack([mean_returns(phase.rollouts) for phase in phases])})


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
        self._sampler = _sampler(method, config, policy, config.tuning_tasks, self._step_sizes)
        self._seed = config.stream(streams.TUNING)
        self._tasks = self._sampler.environment.sample_tasks(config.tuning_tasks, (self._seed, config.tuning_tasks))

    def __call__(self, params: Params) -> float:
        """Computes the mean return over tasks and over the evaluation's gradient steps.

        For a method that is trained without gradient steps it is the return before them. For a policy that diverges
        it is minus infinity, and a warning says so.
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
        method: A name of `maml_tf.methods`.
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
        method: A name of `maml_tf.methods`.
        config: The experiment's configuration.
        policy: The initial policy.
        tasks: The tasks.
        step_sizes: Size of each gradient step.
        steps: Number of gradient steps.
        seed: Seed of initial states and actions.

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
        method: A name of `maml_tf.methods`.
        config: The experiment's configuration.
        policy: The initial policy.
        tasks: The tasks.
        step_sizes: Size of each gradient step.
        steps: Number of gradient steps, at least 1.
        seed: Seed of initial states and actions.

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
    config = settled(method, config)
    environment = build_environment(method, config, tasks * config.evaluation_rollouts)
    return build_sampler(config, environment, build_adaptation(method, config, policy, tuple(step_sizes)))


def _mean_return(phases: Sequence[Phase]) -> float:
    """Computes the mean over tasks and gradient steps; before any step where there is none."""
    adapted = phases[1:] or phases
    return float(np.mean([np.nanmean(mean_returns(phase.rollouts)) for phase in adapted]))
