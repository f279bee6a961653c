"""Simulations of Meta-World's robot, as worker processes run them: without TensorFlow."""

from __future__ import annotations

import functools
from typing import Any

import gymnasium
import metaworld
import mujoco
import numpy as np

# Numbers of an observation: twice 18, of the present and the step before it, and three zeros for the hidden goal.
_FRAME, _SIZE = 18, 39
# The hand's and the first object's positions in a frame, and where the hand starts, metres.
_POSITIONS, _HOME = ((0, 1, 2), (4, 5, 6)), (0.0, 0.6, 0.2)
# An observation is Meta-World's, minus OFFSET, times SCALE.
OFFSET, SCALE = np.zeros(_SIZE), np.ones(_SIZE)
for _frame in (0, _FRAME):
    for _position in _POSITIONS:
        OFFSET[_frame + np.array(_position)] = _HOME
        SCALE[_frame + np.array(_position)] = 10.0


class MetaWorldSimulation(gymnasium.Env):
    """A robot that takes on any of Meta-World's tasks in turn.

    Rewards, states and success are Meta-World's. Positions in observations are in decimetres from where the hand
    starts: Meta-World's metres differ by little, and a policy's layers start out with weights for numbers around 1.

    Simulations of a process share the compiled models, of 21 MB each. What a task places in a model, the positions of
    bodies and sites, is put into it again before each step.

    Args:
        rewards: Version of Meta-World's reward functions, "v1" or "v2".
    """

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (_SIZE,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)

    def __init__(self, rewards: str):
        self._rewards = rewards
        self._of_name: dict[str, Any] = {}
        self._environment: Any = None

    def set_task(self, task: Any) -> None:
        """Sets a `metaworld.types.Task`; the simulation must then be reset."""
        if task.env_name not in self._of_name:
            made = _sharing(task.env_name)(reward_function_version=self._rewards)
            self._of_name[task.env_name] = made
        self._environment = self._of_name[task.env_name]
        self._environment.set_task(task)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Puts the robot and the objects where the task has them; nothing of it is random."""
        observation, _ = self._environment.reset()
        model = self._environment.model
        self._placed = model.body_pos.copy(), model.site_pos.copy()
        return _scaled(observation), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, bool]]:
        """Advances the robot by a step of 0.0125 s."""
        model = self._environment.model
        model.body_pos[:], model.site_pos[:] = self._placed
        observation, reward, terminated, truncated, info = self._environment.step(action)
        return _scaled(observation), float(reward), terminated, truncated, {"success": bool(info["success"])}

    def state(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns what a picture needs: the positions of all joints, and what the task has placed, float64 vectors."""
        return self._environment.data.qpos.copy(), np.concatenate([placed.ravel() for placed in self._placed])

    def save_model(self, path: str, kind: str, places: np.ndarray) -> None:
        """Writes the model of a kind of tasks that this simulation has had, in MuJoCo's binary format.

        Args:
            path: The file.
            kind: The kind's name.
            places: What a task placed in the model, as `state` returned it.
        """
        model = self._of_name[kind].model
        bodies, sites = np.split(places, [model.body_pos.size])
        # Other simulations share the model, and place what they need before they step.
        model.body_pos[:], model.site_pos[:] = bodies.reshape(-1, 3), sites.reshape(-1, 3)
        mujoco.mj_saveModel(model, path, None)


def _scaled(observation: np.ndarray) -> np.ndarray:
    return (observation - OFFSET) * SCALE


@functools.cache
def _sharing(name: str) -> type:
    """Returns Meta-World's class of a name, with one model for all its instances."""
    cls = metaworld.ALL_V3_ENVIRONMENTS[name]

    def initialize(self: Any) -> tuple[mujoco.MjModel, mujoco.MjData]:
        model = _compiled(self.fullpath)
        return model, mujoco.MjData(model)

    return type(cls.__name__, (cls,), {"_initialize_simulation": initialize})


@functools.cache
def _compiled(path: str) -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_path(path)
