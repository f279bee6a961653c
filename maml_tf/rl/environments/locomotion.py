"""What half-cheetah and ant share: tasks of a velocity or a direction to run at."""

from __future__ import annotations

import abc
from typing import ClassVar, Literal

import numpy as np

from maml_tf.rl.environments.physics import Simulations
from maml_tf.rl.environments.rendering import draw_states
from maml_tf.rl.environments.task_distribution import DIRECTIONS, UniformTasks
from maml_tf.rl.environments.task_environment import DrawableEnvironment

TASKS = ("velocity", "direction")
PHYSICS = ("paper", "gymnasium")
HORIZON = 200


class Locomotion(DrawableEnvironment):
    """A body that runs at a velocity or in a direction it is not told.

    With v the x velocity of the whole body's centre of mass at the end of the step, MuJoCo's instantaneous one
    and not a difference of positions, the progress is

        velocity:   -|v - v*|,  v* ~ U(0, fastest)
        direction:  d v,        d = +1 or -1, evenly

    A subclass builds its body in `_build` and adds costs and bonuses to the progress in `_judge`.

    Args:
        batch_size: Number of simulations.
        task: "velocity" or "direction".
        physics: "paper" or "gymnasium".
        horizon: Steps after which a simulation is done.
        seed: Seed of the initial states and the first tasks.
        task_in_observation: Whether v* or d follows the observation.
        threads: Threads to simulate on; 0 for one on each processor core.

    Attributes:
        task: "velocity" or "direction".
        simulations: The simulations, whose arrays may be read.
        initial_qpos: Positions that the body starts at, but for noise, [positions].
    """

    _VELOCITIES: ClassVar[UniformTasks]
    # Numbers in an observation without the task.
    _OBSERVATION_SIZE: ClassVar[int]

    def __init__(
        self,
        batch_size: int,
        task: Literal["velocity", "direction"] = "velocity",
        *,
        physics: Literal["paper", "gymnasium"] = "paper",
        horizon: int = HORIZON,
        seed: int = 0,
        task_in_observation: bool = False,
        threads: int = 0,
    ):
        for name, value, choices in (("task", task, TASKS), ("physics", physics, PHYSICS)):
            if value not in choices:
                raise ValueError(f"Expected {name} to be one of {choices}. Received: {name}={value!r}")
        self.task = task
        self.simulations, self.initial_qpos = self._build(batch_size, physics == "paper", threads)
        super().__init__(
            batch_size,
            self._VELOCITIES if task == "velocity" else DIRECTIONS,
            observation_size=self._OBSERVATION_SIZE,
            action_size=self.simulations.model.nu,
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
    def _build(self, count: int, paper: bool, threads: int) -> tuple[Simulations, np.ndarray]:
        """Returns simulations of the body, with the paper's physics or gymnasium's, and the positions it starts at."""

    @abc.abstractmethod
    def _judge(self, progress: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns rewards and which simulations have ended, [B], after a step of progress [B] by actions."""
