"""A batch of simulations of several tasks, as a tf-agents environment and as plain arrays."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from maml_tf.checks import whole_number
from maml_tf.rl.agents import array_spec, py_environment
from maml_tf.rl.agents import time_step as ts
from maml_tf.rl.environments.task_distribution import TaskDistribution

# Larger numbers mean that a simulation has diverged: MuJoCo's own bound.
_LARGEST = 1e10


class NonFiniteActionsError(ValueError):
    """An action holds a number that is not finite: a policy has diverged."""


class TaskEnvironment(py_environment.PyEnvironment):
    """Simulations that advance together, each on one of the current tasks.

    B below is the number of simulations, n that of the tasks. Simulation i belongs to task i // (B // n), so the
    rollouts of a task are contiguous. `set_tasks` sets the tasks; before that, each simulation has its own task.

    Two interfaces share one implementation. `reset_batch` and `step_batch` exchange plain arrays: a simulation that is
    done stays done, with reward 0 and an unchanged state, until it is reset. `reset` and `step` are those of tf-agents:
    after its last time step, a simulation starts again automatically at the next step.

    Actions are clipped to [-1, 1] here, and not in the policy, whose likelihoods are those of the actions it drew. A
    simulation diverges when its reward, or a number in its observation, is not finite or its magnitude exceeds 1e10. It
    is then done with reward 0, put back into an initial state so that observations stay finite, and counted.

    A subclass defines `_start`, `_advance` and `_observe`. In them, `_task_of_simulation` holds the B simulations'
    tasks, and `_drawn` draws initial states. If it truncates episodes before the horizon without ending the task, it
    sets `_truncated`, bool [B], in `_advance`; if it knows when a task is accomplished, it calls `_succeed` there.

    Args:
        batch_size: B, the number of simulations.
        distribution: The tasks' distribution.
        observation_size: Numbers in an observation, without the task.
        action_size: Numbers in an action.
        horizon: Steps after which a simulation is done.
        seed: Seed of the initial states.
        task_in_observation: Whether the numbers that describe the task, `distribution.features`, are appended to the
            observation, for an oracle.

    Attributes:
        distribution: The tasks' distribution.
        horizon: Steps after which a simulation is done.
        task_in_observation: Whether the task is part of the observation.
        diverged: Number of times that a simulation has diverged since the environment was made.
        succeeded: Whether each simulation has accomplished its task since it started, bool [B]; None as long as the
            environment has not said.
        share: (number of the first simulation, number of all simulations): other than (0, B) if these simulations are
            a part of those of several processes. They then start from the states that they have among all.
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
                "Expected tasks described by numbers with task_in_observation=True: set `size` and define `features` "
                f"of the task distribution. Received: {type(distribution).__name__} of size 0"
            )
        self.distribution = distribution
        self.horizon = whole_number("horizon", horizon, minimum=1)
        self.task_in_observation = task_in_observation
        self.diverged = 0
        self.succeeded: np.ndarray | None = None
        self._batch_size = whole_number("batch_size", batch_size, minimum=1)
        self.share = (0, batch_size)
        # True while `reset_batch` starts some simulations again; in a share, `_drawn` then has no numbers for them.
        self._starting_some_again = False
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
        """Whether the environment is a batch of simulations: always True."""
        return True

    @property
    def batch_size(self) -> int:
        """B, the number of simulations."""
        return self._batch_size

    @property
    def tasks(self) -> Sequence[Any]:
        """A copy of the n tasks."""
        return self._tasks.copy()

    def observation_spec(self) -> array_spec.ArraySpec:
        """Returns the specification of one simulation's observation, float32 [observation]."""
        return self._observation_spec

    def action_spec(self) -> array_spec.BoundedArraySpec:
        """Returns the specification of one simulation's action, float32 [action] in [-1, 1]."""
        return self._action_spec

    def seed(self, seed: int | Sequence[int]) -> None:
        """Seeds the random numbers of the initial states with a non-negative integer, or several."""
        self._generator = np.random.default_rng(seed)

    def sample_tasks(self, n: int, seed: int | Sequence[int]) -> Sequence[Any]:
        """Draws `n` tasks from the distribution, as a pure function of its arguments."""
        return self.distribution.sample(n, seed)

    def set_tasks(self, tasks: Sequence[Any]) -> None:
        """Sets the tasks of the simulations, all of which must then be reset.

        Args:
            tasks: n tasks, a list or an array [n, ...]; n must divide the number of simulations.

        Raises:
            ValueError: If they are not tasks of the distribution, or n does not divide B.
        """
        tasks = self.distribution.checked(tasks)
        if not len(tasks) or self.batch_size % len(tasks):
            raise ValueError(
                f"Expected a number of tasks that divides the number of simulations, {self.batch_size}. "
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
            simulations: bool [B], the simulations to start, by default all. The others stay as they are.

        Returns:
            Observations of all simulations, float32 [B, observation].

        Raises:
            ValueError: If only some simulations start in the first call after `set_tasks`, `simulations` is not a mask,
                or the subclass's observations have another shape.
        """
        if everything := simulations is None:
            simulations = np.ones(self.batch_size, bool)
        simulations = np.asarray(simulations)
        if simulations.dtype != bool or simulations.shape != (self.batch_size,):
            raise ValueError(
                f"Expected simulations to be a bool mask of shape [{self.batch_size}]. Received: {simulations.tolist()}"
            )
        if not self._started and not np.all(simulations):
            raise ValueError(
                "Expected all simulations to start in the first reset after set_tasks. Received: simulations="
                f"{np.flatnonzero(simulations)} of {self.batch_size}"
            )
        self._starting_some_again = self._started and not everything
        try:
            self._start(simulations)
        finally:
            self._starting_some_again = False
        self._started = True
        for of_simulation in (self._elapsed, self._done, self._terminated, self._truncated):
            of_simulation[simulations] = 0
        if self.succeeded is not None:
            self.succeeded[simulations] = False
        return self._observation(self._observe())

    def step_batch(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Advances every simulation that is not done by one step.

        Args:
            actions: [B, action].

        Returns:
            Observations, float32 [B, observation]; rewards, float32 [B], 0 for simulations that were done before;
            whether each simulation is done, bool [B]. The reward of a terminating step counts.

        Raises:
            ValueError: If `reset_batch` was not called before, or the actions or the subclass's results have another
                shape.
            NonFiniteActionsError: If an action is not finite.
        """
        if not self._started:
            raise ValueError("Expected reset_batch before the first step after set_tasks. Received: no reset")
        actions = np.asarray(actions)
        require_shape("actions", actions, (self.batch_size, *self._action_spec.shape))
        if not np.all(np.isfinite(actions)):
            raise NonFiniteActionsError(
                "Expected finite actions. Received: NaN or infinity in simulations "
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
        # The horizon cuts the return off but does not end the task: only a termination has discount 0.
        discounts = np.where(self._terminated, 0.0, 1.0).astype(np.float32)
        return ts.TimeStep(kind.astype(np.int32), rewards, discounts, observations)

    def _succeed(self, simulations: np.ndarray) -> None:
        """Notes which simulations accomplish their task in this step, bool [B]."""
        # A new array, because results may hold the last one.
        self.succeeded = simulations.copy() if self.succeeded is None else self.succeeded | simulations

    def _observation(self, observations: np.ndarray) -> np.ndarray:
        if self.task_in_observation:
            observations = np.concatenate([observations, self._told], axis=1)
        require_shape("observations", observations, (self.batch_size, *self._observation_spec.shape))
        # Always a copy, because an observation must not change when the simulations advance.
        return np.array(observations, np.float32)

    @property
    def _random(self) -> np.random.Generator:
        """The random numbers of all simulations together."""
        self._require_all_simulations("draws with self._drawn(simulations, ...), not with self._random")
        return self._generator

    def _drawn(self, simulations: np.ndarray, draw: Callable[[np.random.Generator, int], np.ndarray]) -> np.ndarray:
        """Draws random numbers for simulations that start; where they are a share, those that they have among all.

        Args:
            simulations: bool [B], the n simulations that start.
            draw: `draw(random, count)` returns the numbers of `count` simulations, [count, ...].

        Returns:
            [n, ...].

        Raises:
            ValueError: If they start again in a share: their numbers depend on when the others do.
        """
        if self._starting_some_again:
            self._require_all_simulations("starts again without random numbers (budget=False needs no restarts)")
        first, of = self.share
        if np.all(simulations):
            return draw(self._generator, of)[first : first + self.batch_size]
        # Some start again, from new numbers. In a share these have diverged or ended: no rollout has the states that
        # follow.
        return draw(self._generator, int(np.count_nonzero(simulations)))

    def _require_all_simulations(self, what: str) -> None:
        if self.share != (0, self.batch_size):
            raise ValueError(
                f"Expected an environment that {what}, to share its simulations among processes. Received: "
                f"{type(self).__name__}, simulations {self.share[0]} and on of {self.share[1]}"
            )

    @abc.abstractmethod
    def _start(self, simulations: np.ndarray) -> None:
        """Puts the simulations, bool [B], in initial states drawn with self._drawn."""

    @abc.abstractmethod
    def _advance(self, actions: np.ndarray, running: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Advances the simulations `running`, bool [B], by actions [B, action]; returns rewards and ended, [B]."""

    @abc.abstractmethod
    def _observe(self) -> np.ndarray:
        """Returns the observations without the task, [B, observation]."""


class DrawableEnvironment(TaskEnvironment):
    """A `TaskEnvironment` that draws its simulations, and renders as tf-agents' environments do.

    It draws snapshots, which are small: a video keeps one for each picture while its rollout runs, and draws all of
    them at the end.
    """

    @abc.abstractmethod
    def snapshot(self, simulation: int) -> np.ndarray:
        """Returns what `draw` needs to know about the current state of a simulation, a vector."""

    @abc.abstractmethod
    def draw(self, snapshots: np.ndarray, width: int = 320, height: int = 240) -> np.ndarray:
        """Draws snapshots of one rollout.

        Args:
            snapshots: [frames, ...], in order.
            width: Pixels.
            height: Pixels.

        Returns:
            uint8 [frames, height, width, 3].
        """

    def render(self, mode: str = "rgb_array") -> np.ndarray:
        """Draws the current state of simulation 0, uint8 [height, width, 3].

        Raises:
            ValueError: If `mode` is not "rgb_array".
        """
        if mode != "rgb_array":
            raise ValueError(f"Expected mode to be 'rgb_array'. Received: mode={mode!r}")
        return self.draw(self.snapshot(0)[np.newaxis])[0]


def require_shape(name: str, values: np.ndarray, shape: tuple[int, ...]) -> None:
    """Checks the shape of a result of a subclass or a policy, which NumPy would otherwise broadcast."""
    if np.shape(values) != shape:
        raise ValueError(f"Expected {name} of shape {shape}. Received: {np.shape(values)}")


def _within_physics(values: np.ndarray) -> np.ndarray:
    """Finds the simulations whose numbers, [B, size], are finite and not too large: bool [B]."""
    # Nearly always all are, and this check needs no temporary arrays. NaN compares false.
    if values.min() >= -_LARGEST and values.max() <= _LARGEST:
        return np.ones(len(values), bool)
    return (np.abs(values) <= _LARGEST).all(axis=1)
