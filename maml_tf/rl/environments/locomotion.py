"""What half-cheetah and ant share: tasks of a velocity or a direction to run at."""

from __future__ import annotations

import abc
from typing import Literal

import numpy as np

from maml_tf.rl.environments.physics import Simulations
from maml_tf.rl.environments.rendering import draw_states
from maml_tf.rl.environments.task_distribution import DirectionTasks, UniformTasks
from maml_tf.rl.environments.task_environment import TaskEnvironment

TASKS = ("velocity", "direction")
PHYSICS = ("paper", "gymnasium")
HORIZON = 200


class Locomotion(TaskEnvironment):
    """A body that runs at a velocity or in a direction it is not told.

    With v the x velocity of the whole body's centre of mass at the end of the step, MuJoCo's instantaneous one
    and not a difference of positions, the progress is

        velocity:   -|v - v*|,  v* ~ U(0, fastest)
        direction:  d v,        d = +1 or -1, evenly

    A subclass adds costs and bonuses to it in `_judge`.

    Args:
        batch_size: Number of simulations.
        simulations: As many simulations of the body.
        task: "velocity" or "direction".
        fastest: Greatest v*, metres a second.
        initial_qpos: Positions that the body starts at, [positions].
        observation_size: Numbers in an observation, without the task.
        horizon: Steps after which a simulation is done.
        seed: Seed of the initial states and the first tasks.
        task_in_observation: Whether v* or d follows the observation.

    Attributes:
        task: "velocity" or "direction".
        simulations: The simulations, whose arrays may be read.
        initial_qpos: Positions that the body starts at, but for noise, [positions].
    """

    def __init__(
        self,
        batch_size: int,
        simulations: Simulations,
        task: Literal["velocity", "direction"],
        *,
        fastest: float,
        initial_qpos: np.ndarray,
        observation_size: int,
        horizon: int,
        seed: int,
        task_in_observation: bool,
    ):
        self.task = task
        self.simulations = simulations
        self.initial_qpos = initial_qpos
        super().__init__(
            batch_size,
            UniformTasks([0.0], [fastest]) if task == "velocity" else DirectionTasks(),
            observation_size=observation_size,
            action_size=simulations.model.nu,
            horizon=horizon,
            seed=seed,
            task_in_observation=task_in_observation,
        )

    @property
    def dt(self) -> float:
        """Seconds of a step."""
        return self.simulations.dt

    def snapshot(self, simulation: int) -> np.ndarray:
        return self.simulations.qpos[simulation].copy()

    def draw(self, snapshots: np.ndarray, width: int = 320, height: int = 240) -> np.ndarray:
        return draw_states(self.simulations.model, snapshots, width, height)

    def _start(self, simulations: np.ndarray) -> None:
        count, model = np.count_nonzero(simulations), self.simulations.model
        qpos = self.initial_qpos + 0.01 * self._random.standard_normal((count, model.nq))
        qvel = 0.1 * self._random.standard_normal((count, model.nv))
        self.simulations.set_state(simulations, qpos, qvel)

    def _advance(self, actions: np.ndarray, running: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sound = self.simulations.step(actions, running)
        velocity, target = self.simulations.velocity[:, 0], self._task_of_simulation[:, 0]
        progress = -np.abs(velocity - target) if self.task == "velocity" else target * velocity
        rewards, ended = self._judge(progress, actions)
        return np.where(sound, rewards, np.nan), ended

    @abc.abstractmethod
    def _judge(self, progress: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns rewards and which simulations have ended, [B], after a step of progress [B] by actions."""


def check_choices(task: str, physics: str) -> None:
    """Checks the names of a task and of a physics.

    Args:
        task: One of TASKS.
        physics: One of PHYSICS.

    Raises:
        ValueError: If one is another.
    """
    for name, value, choices in (("task", task, TASKS), ("physics", physics, PHYSICS)):
        if value not in choices:
            raise ValueError(f"Expected {name} to be one of {choices}. Received: {name}={value!r}")
