"""The meta-policy iteration (Algorithm 3): sample tasks, act, adapt, act again, step the initial parameters."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from maml_tf.checks import number, whole_number
from maml_tf.rl.adaptation import PolicyAdaptation, TaskExperience
from maml_tf.rl.environments import TaskEnvironment
from maml_tf.rl.hessian_products import Params
from maml_tf.rl.objectives import Experience, experience
from maml_tf.rl.policy import Gaussian, entropy
from maml_tf.rl.proximal import ProximalStep
from maml_tf.rl.rollouts import Rollouts, estimate_advantages, mean_returns, pooled, success_rates
from maml_tf.rl.sampling import TASKS, Collector, ProcessCollector
from maml_tf.rl.trust_region import Step


@dataclasses.dataclass(frozen=True)
class Estimation:
    """Settings of the estimation of advantages from rollouts.

    Attributes:
        discount: Discount of later rewards, between 0 and 1.
        gae_lambda: Between 0 and 1; see `maml_tf.rl.rollouts.generalized_advantages`.
        budget: Whether rollouts are counted in steps; see `maml_tf.rl.sampling.collect`.

    Raises:
        ValueError: If a number is not between 0 and 1.
    """

    discount: float = 0.99
    gae_lambda: float = 1.0
    budget: bool = False

    def __post_init__(self) -> None:
        number("discount", self.discount, minimum=0, maximum=1)
        number("gae_lambda", self.gae_lambda, minimum=0, maximum=1)


class Phase(NamedTuple):
    """Rollouts with the parameters before an inner step, or after the last step.

    Attributes:
        rollouts: The rollouts.
        batch: The experience of the rollouts.
        baseline_error: The baselines' mean squared error as a fraction of the returns' variance, mean over tasks.
    """

    rollouts: Rollouts
    batch: Experience
    baseline_error: float


class Sampler:
    """Collects rollouts phase by phase and estimates their advantages; a function of its seed.

    Args:
        environment: The environment.
        adaptation: The policy and its adaptation.
        estimation: Settings of the estimation of advantages.
        collector: Where the rollouts are collected, by default in this process.

    Raises:
        ValueError: If the policy's observations or actions have other sizes than the environment's.
    """

    def __init__(
        self,
        environment: TaskEnvironment,
        adaptation: PolicyAdaptation,
        estimation: Estimation,
        collector: Collector | None = None,
    ):
        network = adaptation.policy.policy.network
        sizes = environment.observation_spec().shape[-1], environment.action_spec().shape[-1]
        given = network.input_shape[-1], network.output_shape[-1]
        if given != sizes:
            raise ValueError(
                f"Expected a policy of the environment's (observation, action) sizes {sizes}. Received: sizes {given}"
            )
        self.environment, self.adaptation, self.estimation = environment, adaptation, estimation
        self._collect = collector or ProcessCollector(environment, adaptation.policy, estimation.budget)

    def adapt(
        self, params: Params, tasks: Sequence[Any], steps: int, seed: tuple[int, ...], *, first_step: int = 0
    ) -> tuple[list[Phase], list[Params]]:
        """Acts and adapts in turn, and finally acts with the last parameters.

        Args:
            params: The initial parameters.
            tasks: The tasks.
            steps: Number of inner steps.
            seed: Seed of the initial states and of the actions.
            first_step: Number of the first inner step, which selects its step size.

        Returns:
            `steps + 1` phases, and the parameters after each step with a leading [tasks] axis, `steps` of them.
        """
        self.environment.set_tasks(tasks)
        phases, path = [], []
        for step in range(steps + 1):
            if step:
                current = path[-1] if path else tf.nest.map_structure(lambda v: _repeated(v, len(tasks)), params)
                path.append(self.adaptation.step(current, phases[-1].batch, first_step + step - 1))
            acting = path[-1] if path else params
            phases.append(self._phase(self._collect(acting, (*seed, step), own=bool(path))))
        return phases, path

    def pool(self, params: Params, tasks: Sequence[Any], blocks: int, seed: tuple[int, ...]) -> Phase:
        """Acts in many tasks with the same parameters, and pools all rollouts as if they were of one task.

        Args:
            params: The parameters.
            tasks: The tasks.
            blocks: Number of parts to split the experience into.
            seed: Seed of the initial states and of the actions.

        Returns:
            A phase whose experience has a leading [blocks] axis.
        """
        self.environment.set_tasks(tasks)
        return self._phase(pooled(self._collect(params, (*seed, 0), own=False)), blocks)

    def _phase(self, rollouts: Rollouts, blocks: int = 1) -> Phase:
        estimated = estimate_advantages(rollouts, self.estimation.discount, self.estimation.gae_lambda)
        dtype = self.adaptation.policy.dtype
        batch = tf.nest.map_structure(
            lambda values: tf.cast(values, dtype), experience(rollouts, estimated.values, blocks)
        )
        return Phase(rollouts, batch, float(np.mean(estimated.baseline_error)))


class MetaPolicyIteration:
    """One iteration of the training of a policy's initial parameters.

    Without inner steps it is plain policy optimisation on rollouts of many tasks, one task for each simulation: the
    pretrained baseline or, with the task in the observation, the oracle.

    Args:
        sampler: Sampler of rollouts in the training environment.
        outer: `(params, blocks) -> Step`, such as a `TrustRegion` or `ProximalSteps` of `sampler.adaptation.problem()`.
        tasks: Number of tasks in an iteration; they share the environment's simulations.
        inner_steps: Number of inner steps; 0 for plain policy optimisation.
        seed: Seed of tasks, initial states and actions.

    Raises:
        ValueError: If a number is out of range, or `tasks` does not divide the simulations.
    """

    def __init__(
        self,
        sampler: Sampler,
        outer: Callable[[Params, Any], Step | ProximalStep],
        *,
        tasks: int,
        inner_steps: int = 1,
        seed: int = 0,
    ):
        simulations = sampler.environment.batch_size
        self.sampler, self.outer, self.seed = sampler, outer, seed
        self.tasks = whole_number("tasks", tasks, minimum=1)
        self.inner_steps = whole_number("inner_steps", inner_steps, minimum=0)
        if simulations % tasks:
            raise ValueError(f"Expected tasks to divide the {simulations} simulations. Received: tasks={tasks}")

    @property
    def state(self) -> dict[str, Any]:
        """What the outer step carries from iteration to iteration, by name, for a checkpoint; often nothing."""
        return getattr(self.outer, "state", {})

    def __call__(self, params: Params, number: int) -> tuple[Params, dict[str, float]]:
        """Runs iteration `number`, from 0: returns the new initial parameters, and named measurements."""
        began = time.perf_counter()
        environment, seed = self.sampler.environment, (self.seed, number)
        diverged = environment.diverged
        if self.inner_steps:
            tasks = environment.sample_tasks(self.tasks, (*seed, TASKS))
            phases, _ = self.sampler.adapt(params, tasks, self.inner_steps, seed)
        else:
            tasks = environment.sample_tasks(environment.batch_size, (*seed, TASKS))
            phases = [self.sampler.pool(params, tasks, self.tasks, seed)]
        sampled = time.perf_counter()
        blocks = TaskExperience(tuple(phase.batch for phase in phases[:-1]), phases[-1].batch)
        if self.inner_steps:
            outcome = _outcome(phases[-1].rollouts)
            blocks = blocks._replace(outcome=tf.constant(outcome, self.sampler.adaptation.policy.dtype))
        step = self.outer(params, blocks)
        logs = {**_measurements(phases), **step.measurements(), "diverged": environment.diverged - diverged}
        now = time.perf_counter()
        steps = sum(phase.rollouts.steps for phase in phases)
        times = {
            "seconds_sampling": sampled - began,
            "seconds_update": now - sampled,
            "control_steps": steps,
            "control_steps_per_second": steps / (sampled - began),
        }
        return step.params, {**logs, **times}


def _measurements(phases: list[Phase]) -> dict[str, float]:
    returns = [float(np.nanmean(mean_returns(phase.rollouts))) for phase in phases]
    last = phases[-1]
    successes = {
        f"success_rate_step_{step}": float(np.nanmean(success_rates(phase.rollouts)))
        for step, phase in enumerate(phases)
        if phase.rollouts.success is not None
    }
    return {
        **{f"return_step_{step}": value for step, value in enumerate(returns)},
        "return": returns[-1],
        **successes,
        "baseline_error": last.baseline_error,
        "entropy": float(tf.reduce_mean(entropy(Gaussian(last.batch.mean, last.batch.log_std)))),
        "episode_steps": last.rollouts.steps / max(1, int(((last.rollouts.elapsed == 0) * last.rollouts.valid).sum())),
    }


def _outcome(rollouts: Rollouts) -> np.ndarray:
    """Computes each task's outcome, see `TaskExperience`: 0 for a task without a step that counts."""
    count = rollouts.valid.sum((1, 2), dtype=np.float64)
    means = (rollouts.rewards * rollouts.valid).sum((1, 2), dtype=np.float64) / np.maximum(count, 1.0)
    spread = np.std(rollouts.rewards[rollouts.valid > 0], dtype=np.float64) + 1e-8
    return np.where(count > 0, (means - means[count > 0].mean()) / spread, 0.0)


def _repeated(value: tf.Tensor, tasks: int) -> tf.Tensor:
    return tf.repeat(value[tf.newaxis], tasks, axis=0)
