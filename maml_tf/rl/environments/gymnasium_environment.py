"""Vector environments of gymnasium, as batches of simulations of several tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from maml_tf.rl.environments.processes import ProcessVectorEnv
from maml_tf.rl.environments.task_distribution import TaskDistribution
from maml_tf.rl.environments.task_environment import TaskEnvironment

SetTasks = Callable[[gymnasium.vector.VectorEnv, Sequence[Any]], None]


class GymnasiumEnvironment(TaskEnvironment):
    """A gymnasium vector environment with continuous actions, whose sub-environments are the simulations.

    Actions in [-1, 1] are mapped to the bounds of the action space. Observations and actions of any shape are
    flattened. A simulation is done when its sub-environment terminates or truncates, or at the horizon. Until it is
    reset, it keeps the observation of its last step, so that all autoreset modes give the same rollouts. A truncation
    is not an end of the task: in tf-agents' interface the discount stays 1. Where the sub-environments' info has the
    key "success", as Meta-World's does, `succeeded` says which simulations have had one that is true.

    Resets of some simulations, which `budget` and tf-agents' interface need, use `reset(options={"reset_mask": mask})`
    of gymnasium 1.1 and later. They raise a ValueError if the vector environment ignores the mask.

    Args:
        vector: The vector environment, with one sub-environment for each simulation.
        distribution: The tasks' distribution.
        set_tasks: `set_tasks(vector, tasks)` gives each sub-environment its task; or the name of a method or an
            attribute of the sub-environments, such as "set_task", which takes one task. AsyncVectorEnv has attributes
            alone, and other classes than it, SyncVectorEnv and ProcessVectorEnv need a function.
        horizon: Steps after which a simulation is done.
        seed: Seed of the initial states and the first tasks.
        task_in_observation: Whether the numbers that describe the task are appended to the observation.

    Raises:
        TypeError: If `vector` is not a vector environment.
        ValueError: If actions or observations are not in a `Box`, the actions' bounds are not finite, the vector
            environment does not declare its autoreset mode, or it cannot set tasks by a name.
    """

    def __init__(
        self,
        vector: gymnasium.vector.VectorEnv,
        distribution: TaskDistribution,
        set_tasks: SetTasks | str,
        *,
        horizon: int,
        seed: int = 0,
        task_in_observation: bool = False,
    ):
        if not isinstance(vector, gymnasium.vector.VectorEnv):
            raise TypeError(
                "Expected a gymnasium.vector.VectorEnv, as gymnasium.make_vec returns. "
                f"Received: {type(vector).__name__}"
            )
        self.vector = vector
        self._autoreset = _autoreset_mode(vector)
        self._actions = _box("actions", vector.single_action_space)
        if not self._actions.is_bounded():
            raise ValueError(
                "Expected actions with finite bounds; gymnasium.wrappers.RescaleAction and ClipAction set them. "
                f"Received: {self._actions}"
            )
        observations = _box("observations", vector.single_observation_space)
        self._set_tasks = set_tasks if callable(set_tasks) else _setter(vector.unwrapped, set_tasks)
        size = int(np.prod(observations.shape))
        self._last = np.zeros((vector.num_envs, size))
        # What the vector environment returned last, which may belong to the next episode.
        self._returned = self._last
        self._ended = np.zeros(vector.num_envs, bool)
        super().__init__(
            vector.num_envs,
            distribution,
            observation_size=size,
            action_size=int(np.prod(self._actions.shape)),
            horizon=horizon,
            seed=seed,
            task_in_observation=task_in_observation,
        )

    def set_tasks(self, tasks: Sequence[Any]) -> None:
        super().set_tasks(tasks)
        self._set_tasks(self.vector, self._task_of_simulation)

    def close(self) -> None:
        """Closes the vector environment."""
        self.vector.close()

    def _start(self, simulations: np.ndarray) -> None:
        if not isinstance(self.vector.unwrapped, (SyncVectorEnv, AsyncVectorEnv, ProcessVectorEnv)):
            self._require_all_simulations(
                "is a SyncVectorEnv, AsyncVectorEnv or ProcessVectorEnv, whose sub-environments have own seeds"
            )
        self._reset_vector(simulations)
        self._last[simulations] = self._returned[simulations]

    def _advance(self, actions: np.ndarray, running: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._autoreset is AutoresetMode.DISABLED and np.any(self._ended):
            self._reset_vector(self._ended)  # They are not running, but a step advances all.
        low, high = self._actions.low.reshape(-1), self._actions.high.reshape(-1)
        scaled = np.clip(low + (actions + 1.0) / 2.0 * (high - low), low, high).astype(self._actions.dtype)
        observations, rewards, terminated, truncated, info = self.vector.step(
            scaled.reshape(self.batch_size, *self._actions.shape)
        )
        self._returned = self._flat(observations)
        self._ended = terminated | truncated
        last = self._returned.copy()
        if self._autoreset is AutoresetMode.SAME_STEP:
            for simulation in np.flatnonzero(self._ended):
                last[simulation] = np.reshape(info["final_obs"][simulation], -1)
        self._last[running] = last[running]
        self._note_success(info, running)
        self._truncated |= running & truncated & ~terminated
        return np.asarray(rewards, np.float64), np.asarray(terminated, bool)

    def _observe(self) -> np.ndarray:
        return self._last

    def _note_success(self, info: Mapping[str, Any], running: np.ndarray) -> None:
        # In the mode SAME_STEP, the info of a sub-environment that ended is in final_info.
        said = [part for part in (info, info.get("final_info", {})) if "success" in part]
        if said:
            success = [np.asarray(part["success"], bool) & part.get("_success", True) for part in said]
            self._succeed(np.logical_or.reduce(success) & running)

    def _reset_vector(self, simulations: np.ndarray) -> None:
        everything = np.all(simulations)
        options = None if everything else {"reset_mask": simulations.copy()}
        # The i-th sub-environment takes the seed plus i.
        seeds = self._drawn(simulations, lambda random, count: random.integers(2**31) + np.arange(max(count, 1)))
        observations, _ = self.vector.reset(seed=int(seeds[0]), options=options)
        observations = self._flat(observations)
        if not everything and not np.array_equal(
            observations[~simulations], self._returned[~simulations], equal_nan=True
        ):
            raise ValueError(
                "Expected a vector environment that resets only the sub-environments of options['reset_mask'], as "
                f"gymnasium's SyncVectorEnv and AsyncVectorEnv do. Received: {type(self.vector.unwrapped).__name__}, "
                "which also reset others"
            )
        self._returned = observations
        self._ended = self._ended & ~simulations

    def _flat(self, observations: np.ndarray) -> np.ndarray:
        # A copy, because some vector environments return the same array in every step.
        return np.array(observations, np.float64).reshape(self.batch_size, -1)


def _autoreset_mode(vector: gymnasium.vector.VectorEnv) -> AutoresetMode:
    # All vector environments of a class share the metadata, which may hold the mode of another one.
    mode = getattr(vector.unwrapped, "autoreset_mode", None) or vector.metadata.get("autoreset_mode")
    if not isinstance(mode, AutoresetMode):
        raise ValueError(
            f"Expected metadata['autoreset_mode'] to be one of {[str(mode) for mode in AutoresetMode]}. Received: "
            f"{mode!r} of {type(vector.unwrapped).__name__}"
        )
    return mode


def _box(name: str, space: gymnasium.Space) -> gymnasium.spaces.Box:
    if not isinstance(space, gymnasium.spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise ValueError(f"Expected {name} in a gymnasium.spaces.Box of floats. Received: {space}")
    return space


def _setter(vector: gymnasium.vector.VectorEnv, name: str) -> SetTasks:
    """Returns what gives each sub-environment its task, by the method or the attribute of that name."""
    if isinstance(vector, SyncVectorEnv):
        if callable(vector.envs[0].get_wrapper_attr(name)):
            return lambda _, tasks: [
                sub_environment.get_wrapper_attr(name)(task)
                for sub_environment, task in zip(vector.envs, tasks, strict=True)
            ]
    elif isinstance(vector, ProcessVectorEnv):
        if vector.is_method(name):
            return lambda _, tasks: vector.call_each(name, tasks)
    elif isinstance(vector, AsyncVectorEnv):
        if _is_method_elsewhere(vector, name):  # Setting it would put the task in the method's place.
            raise ValueError(
                "Expected set_tasks to name an attribute, because AsyncVectorEnv calls methods with the same arguments "
                "for all sub-environments; ProcessVectorEnv of maml_tf.rl.environments.processes calls them with each "
                f"one's task. Received: the method {name!r}"
            )
    else:
        raise ValueError(
            "Expected set_tasks to be a function set_tasks(vector, tasks), because only of SyncVectorEnv, "
            f"AsyncVectorEnv and ProcessVectorEnv the sub-environments are known. Received: {name!r} with "
            f"{type(vector).__name__}"
        )
    return lambda _, tasks: vector.set_attr(name, list(tasks))


def _is_method_elsewhere(vector: AsyncVectorEnv, name: str) -> bool:
    # The sub-environments are in other processes, whose answer to `get_attr` is what the method returns.
    sub_environment = vector.env_fns[0]()
    try:
        return callable(sub_environment.get_wrapper_attr(name))
    finally:
        sub_environment.close()
