"""A batch of simulations of several tasks, as a tf-agents environment and as plain arrays."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import numpy as np

from maml_tf.checks import whole_number
from maml_tf.rl.agents import array_spec, py_environment
from maml_tf.rl.agents import time_step as ts
from maml_tf.rl.environments.task_distribution import TaskDistribution

# A state beyond it has left physics: MuJoCo's own bound.
_LARGEST = 1e10


class NonFiniteActionsError(ValueError):
    """An action holds a number that is not finite: a policy has diverged."""


class TaskEnvironment(py_environment.PyEnvironment):
    """Simulations that advance together, each on one of the tasks set.

    B below is the number of simulations, n that of the tasks set; simulation i belongs to task i // (B // n), so
    the rollouts of a task are contiguous. Tasks are set with `set_tasks`; before that, each simulation has a
    task of its own.

    Two interfaces share one implementation. `reset_batch` and `step_batch` exchange plain arrays: a simulation
    that is done stays done, with reward 0 and its state kept, until it is reset. `reset` and `step` are those of
    tf-agents: a simulation whose time step was its last starts again at the next step, by itself.

    Actions are in [-1, 1]; what lies beyond is clipped, here and not in the policy, whose likelihoods are those
    of the actions it drew. A simulation diverges when its reward, or a number in its observation, is not finite
    or is beyond 1e10: it is then done with reward 0, put back into an initial state so that observations stay
    finite, and counted.

    A subclass defines `_start`, `_advance` and `_observe`, where `_task_of_simulation` holds each simulation's task, B
    of them, and `_random` draws initial states. One that cuts episodes off before the horizon, which is no end of the
    task, sets `_truncated`, bool [B], in `_advance`.

    Args:
        batch_size: B, the number of simulations.
        distribution: The tasks' distribution.
        observation_size: Numbers in an observation, without the task.
        action_size: Numbers in an action.
        horizon: Steps after which a simulation is done.
        seed: Seed of the initial states.
        task_in_observation: Whether the numbers that describe the task, `distribution.features`, follow the
            observation's: what an oracle is told.

    Attributes:
        distribution: The tasks' distribution.
        horizon: Steps after which a simulation is done.
        task_in_observation: Whether the task is part of the observation.
        diverged: How many times a simulation has diverged since the environment was made.
    """

    def __init__(
        self,
        batch_size: int,
        distribution: TaskDistribution,
        *,
        observation_size: int,
        action_size: int,
        horizon: int,
        seed: int = 0,
        task_in_observation: bool = False,
    ):
        if task_in_observation and not distribution.size:
            raise ValueError(
                "Expected tasks that numbers describe, for task_in_observation: set `size` and define `features` of "
                f"the task distribution. Received: {type(distribution).__name__} of size 0"
            )
        self.distribution = distribution
        self.horizon = whole_number("horizon", horizon, minimum=1)
        self.task_in_observation = task_in_observation
        self.diverged = 0
        self._batch_size = whole_number("batch_size", batch_size, minimum=1)
        observed = observation_size + (distribution.size if task_in_observation else 0)
        self._observation_spec = array_spec.ArraySpec((observed,), np.float32, "observation")
        self._action_spec = array_spec.BoundedArraySpec((action_size,), np.float32, -1.0, 1.0, "action")
        self._elapsed = np.zeros(batch_size, np.int64)
        self._done = np.ones(batch_size, bool)
        self._terminated, self._truncated = np.zeros((2, batch_size), bool)
        super().__init__()
        self.seed(seed)
        self.set_tasks(self.sample_tasks(batch_size, seed))

    @property
    def batched(self) -> bool:
        """Whether the environment is a batch of simulations: always."""
        return True

    @property
    def batch_size(self) -> int:
        """B, the number of simulations."""
        return self._batch_size

    @property
    def tasks(self) -> Sequence[Any]:
        """The tasks set, n of them: a copy."""
        return self._tasks.copy()

    def observation_spec(self) -> array_spec.ArraySpec:
        """Returns the specification of one simulation's observation, float32 [observation]."""
        return self._observation_spec

    def action_spec(self) -> array_spec.BoundedArraySpec:
        """Returns the specification of one simulation's action, float32 [action] in [-1, 1]."""
        return self._action_spec

    def seed(self, seed: int | Sequence[int]) -> None:
        """Restarts the random numbers of the initial states from a non-negative integer, or several."""
        self._random = np.random.default_rng(seed)

    def sample_tasks(self, n: int, seed: int | Sequence[int]) -> Sequence[Any]:
        """Draws `n` tasks from the distribution, a pure function of its arguments."""
        return self.distribution.sample(n, seed)

    def set_tasks(self, tasks: Sequence[Any]) -> None:
        """Gives the simulations their tasks; all of them must then be reset.

        Args:
            tasks: n tasks, a divisor of the number of simulations: a list, or an array [n, ...].

        Raises:
            ValueError: If they are no tasks of the distribution, or n does not divide B.
        """
        tasks = self.distribution.checked(tasks)
        if not len(tasks) or self.batch_size % len(tasks):
            raise ValueError(
                f"Expected as many tasks as divide the number of simulations, {self.batch_size}. "
                f"Received: {len(tasks)} tasks"
            )
        self._tasks = tasks
        each = self.batch_size // len(tasks)
        if isinstance(tasks, np.ndarray):
            self._task_of_simulation = np.repeat(tasks, each, axis=0)
        else:
            self._task_of_simulation = [task for task in tasks for _ in range(each)]
        if self.task_in_observation:
            self._told = np.repeat(self.distribution.features(tasks), each, axis=0)
        self._started = False
        self._current_time_step = None

    def reset_batch(self, simulations: np.ndarray | None = None) -> np.ndarray:
        """Starts simulations from initial states.

        Args:
            simulations: bool [B], those to start; by default all. Others go on where they are.

        Returns:
            Observations of all simulations, float32 [B, observation].

        Raises:
            ValueError: If some, but not all, are to start before all have once, `simulations` is no mask, or the
                subclass' observations are of another shape.
        """
        if simulations is None:
            simulations = np.ones(self.batch_size, bool)
        simulations = np.asarray(simulations)
        if simulations.dtype != bool or simulations.shape != (self.batch_size,):
            raise ValueError(
                f"Expected simulations to be a bool mask of shape [{self.batch_size}]. Received: {simulations.tolist()}"
            )
        if not self._started and not np.all(simulations):
            raise ValueError(
                "Expected all simulations to start once the tasks are set. Received: simulations="
                f"{np.flatnonzero(simulations)} of {self.batch_size}"
            )
        self._start(simulations)
        self._started = True
        for of_simulation in (self._elapsed, self._done, self._terminated, self._truncated):
            of_simulation[simulations] = 0
        return self._observation(self._observe())

    def step_batch(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Advances every simulation that is not done by one step.

        Args:
            actions: [B, action].

        Returns:
            Observations, float32 [B, observation]; rewards, float32 [B], 0 for the simulations that were done
            before; which simulations are done, bool [B]. A terminating step's reward counts.

        Raises:
            ValueError: If no `reset_batch` came before, or a shape is another, of the actions or of what the subclass
                returns.
            NonFiniteActionsError: If a number is not finite.
        """
        if not self._started:
            raise ValueError("Expected reset_batch before the first step on the tasks set. Received: no reset")
        actions = np.asarray(actions)
        require_shape("actions", actions, (self.batch_size, *self._action_spec.shape))
        if not np.all(np.isfinite(actions)):
            raise NonFiniteActionsError(
                "Expected finite actions. Received: numbers that are not, in simulations "
                f"{np.flatnonzero(~np.isfinite(actions).all(axis=1))[:5]}"
            )
        running = ~self._done
        rewards, ended = self._advance(np.clip(actions, -1.0, 1.0), running)
        require_shape("rewards", rewards, (self.batch_size,))
        require_shape("ended", ended, (self.batch_size,))
        observations = self._observe()
        sound = _within_physics(rewards[:, np.newaxis]) & _within_physics(observations)
        diverged = running & ~sound
        if np.any(diverged):
            self.diverged += int(np.count_nonzero(diverged))
            self._start(diverged)
            observations = self._observe()
        rewards = np.where(running & sound, rewards, 0.0).astype(np.float32)
        self._elapsed += running
        self._terminated |= (running & ended) | diverged
        self._done |= self._terminated | self._truncated | (self._elapsed >= self.horizon)
        return self._observation(observations), rewards, self._done.copy()

    def _reset(self) -> ts.TimeStep:
        return ts.restart(self.reset_batch(), self.batch_size)

    def _step(self, action: np.ndarray) -> ts.TimeStep:
        again = self._done.copy()
        observations, rewards, done = self.step_batch(action)
        if np.any(again):
            observations = self.reset_batch(again)
        kind = np.where(again, ts.StepType.FIRST, np.where(done, ts.StepType.LAST, ts.StepType.MID))
        # At the horizon the return is cut off, not at its end: only a termination has discount 0.
        discounts = np.where(self._terminated, 0.0, 1.0).astype(np.float32)
        return ts.TimeStep(kind.astype(np.int32), rewards, discounts, observations)

    def _observation(self, observations: np.ndarray) -> np.ndarray:
        if self.task_in_observation:
            observations = np.concatenate([observations, self._told], axis=1)
        require_shape("observations", observations, (self.batch_size, *self._observation_spec.shape))
        # Always a copy: an observation must not change when the simulations go on.
        return np.array(observations, np.float32)

    @abc.abstractmethod
    def _start(self, simulations: np.ndarray) -> None:
        """Puts the simulations, bool [B], in initial states drawn with self._random."""

    @abc.abstractmethod
    def _advance(self, actions: np.ndarray, running: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Advances those running, bool [B], by actions [B, action] in [-1, 1]; returns rewards and ended, [B]."""

    @abc.abstractmethod
    def _observe(self) -> np.ndarray:
        """Returns the observations without the task, [B, observation]."""


class DrawableEnvironment(TaskEnvironment):
    """A `TaskEnvironment` that draws its simulations, and renders as tf-agents' environments do.

    What is drawn are snapshots, which are small: a film keeps one a picture while its rollout runs, and draws them all
    at the end.
    """

    @abc.abstractmethod
    def snapshot(self, simulation: int) -> np.ndarray:
        """Returns what `draw` needs to know of a simulation as it is now, a vector."""

    @abc.abstractmethod
    def draw(self, snapshots: np.ndarray, width: int = 320, height: int = 240) -> np.ndarray:
        """Draws snapshots of one rollout.

        Args:
            snapshots: [frames, ...], in their order.
            width: Pixels.
            height: Pixels.

        Returns:
            uint8 [frames, height, width, 3].
        """

    def render(self, mode: str = "rgb_array") -> np.ndarray:
        """Draws simulation 0 as it is now, uint8 [height, width, 3].

        Raises:
            ValueError: If `mode` is not "rgb_array".
        """
        if mode != "rgb_array":
            raise ValueError(f"Expected mode to be 'rgb_array'. Received: mode={mode!r}")
        return self.draw(self.snapshot(0)[np.newaxis])[0]


def require_shape(name: str, values: np.ndarray, shape: tuple[int, ...]) -> None:
    """Checks the shape of what a subclass or a policy computes, which NumPy would broadcast."""
    if np.shape(values) != shape:
        raise ValueError(f"Expected {name} of shape {shape}. Received: {np.shape(values)}")


def _within_physics(values: np.ndarray) -> np.ndarray:
    """Finds the simulations whose numbers, [B, size], are finite and not too large: bool [B]."""
    # Without temporaries where all are, as nearly always. NaN compares false.
    if values.min() >= -_LARGEST and values.max() <= _LARGEST:
        return np.ones(len(values), bool)
    return (np.abs(values) <= _LARGEST).all(axis=1)
