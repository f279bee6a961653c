"""Half-cheetah and ant, the bodies of the paper's locomotion experiments: they run at a velocity or in a direction."""

from __future__ import annotations

import abc
from typing import ClassVar, Literal

import numpy as np

from maml_tf.checks import choice
from maml_tf.rl.environments.body import HORIZON, Body
from maml_tf.rl.environments.physics import Simulations, gymnasium_model
from maml_tf.rl.environments.task_distribution import ANT_VELOCITIES, DIRECTIONS, HALF_CHEETAH_VELOCITIES, UniformTasks

TASKS = ("velocity", "direction")
PHYSICS = ("paper", "gymnasium")


class Locomotion(Body):
    """A body that has to run at a velocity or in a direction that it does not observe.

    With v the x velocity of the whole body's centre of mass at the end of the step, MuJoCo's instantaneous velocity
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
        threads: Threads to simulate on; 0 for one on each processor core, or MAML_TF_SIMULATION_THREADS of the
            environment.

    Attributes:
        task: "velocity" or "direction".
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
        self.task = choice("task", task, TASKS)
        paper = choice("physics", physics, PHYSICS) == "paper"
        super().__init__(
            *self._build(batch_size, paper, threads),
            self._VELOCITIES if task == "velocity" else DIRECTIONS,
            observation_size=self._OBSERVATION_SIZE,
            horizon=horizon,
            seed=seed,
            task_in_observation=task_in_observation,
        )

    def _start(self, simulations: np.ndarray) -> None:
        self._start_near(
            simulations,
            lambda random, shape: 0.01 * random.standard_normal(shape),
            lambda random, shape: 0.1 * random.standard_normal(shape),
        )

    def _advance(self, actions: np.ndarray, running: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sound = self.simulations.step(actions, running)
        velocity, target = self.simulations.velocity[:, 0], self._task_of_simulation[:, 0]
        progress = -np.abs(velocity - target) if self.task == "velocity" else target * velocity
        rewards, ended = self._judge(progress, actions)
        return np.where(sound, rewards, np.nan), ended

    @abc.abstractmethod
    def _build(self, count: int, paper: bool, threads: int) -> tuple[Simulations, np.ndarray]:
        """Returns simulations of the body, with the paper's physics or gymnasium's, and its start positions."""

    @abc.abstractmethod
    def _judge(self, progress: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns rewards and which simulations have ended, [B], after a step of progress [B] by actions."""


class HalfCheetah(Locomotion):
    """A planar two-legged body with six motors that has to run at a velocity or in a direction.

    With the progress of `Locomotion`, the reward for actions a, clipped to [-1, 1], is

        r = progress - 0.05 ||a||^2,  v* ~ U(0, 2)

    An episode has 200 steps and never ends earlier. The observation (20) is qpos without x (8), qvel (9) and the
    centre of mass (3). The body starts near rest: `qpos = rest + 0.01 N(0, 1)`, `qvel = 0.1 N(0, 1)`.

    The paper's physics is rllab's, with one step of 0.01 s for each action. gymnasium's own applies an action for five
    of these steps, and its returns are not comparable.

    Source: Finn, Abbeel and Levine, 2017, section 5.3 and Appendix A.2.

    Example:
    >>> from maml_tf.rl.environments.locomotion import HalfCheetah
    >>> environment = HalfCheetah(batch_size=4, task="direction")
    >>> environment.set_tasks([[1.0], [-1.0]])  # Simulations 0 and 1 run forwards, 2 and 3 backwards.
    >>> environment.reset_batch().shape, environment.dt
    ((4, 20), 0.01)
    """

    _VELOCITIES = HALF_CHEETAH_VELOCITIES
    _OBSERVATION_SIZE = 20

    def _build(self, count: int, paper: bool, threads: int) -> tuple[Simulations, np.ndarray]:
        simulations = Simulations(
            gymnasium_model("half_cheetah"), count, timestep=0.01, frame_skip=1 if paper else 5, threads=threads
        )
        return simulations, simulations.model.qpos0

    def _judge(self, progress: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return progress - 0.05 * np.sum(actions**2, axis=1), np.zeros(self.batch_size, bool)

    def _observe(self) -> np.ndarray:
        state = self.simulations
        return np.concatenate([state.qpos[:, 1:], state.qvel, state.centre_of_mass], axis=1)


# x, y, z, the rotation as a quaternion, then hip and ankle of each leg, radians.
_PAPER_START = (0.0, 0.0, 0.55, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0, -1.0, 0.0, 1.0)
LOWEST, HIGHEST = 0.2, 1.0


class Ant(Locomotion):
    r"""A four-legged body with eight motors that has to walk at a velocity or in a direction.

    With the progress of `Locomotion`, the reward for actions a and contact forces c on the bodies, both clipped to
    [-1, 1], is

        velocity:   r = 1 + progress + 0.05 - 0.005 ||a||^2 - 0.0005 ||c||^2,  v* ~ U(0, 3)
        direction:  r =     progress + 0.05 - 0.005 ||a||^2 - 0.0005 ||c||^2

    The 1 is the paper's positive bonus. An episode ends when the torso's height leaves [0.2, 1], or after 200
    steps. The observation (125) is qpos (15), qvel (14), c (84), the torso's rotation matrix (9) and the centre
    of mass (3). The ant starts almost standing: `qpos = stand + 0.01 N(0, 1)`, `qvel = 0.1 N(0, 1)`.

    The paper's physics is rllab's: one Runge-Kutta step of 0.02 s for each action, softer contacts and a start at a
    height of 0.55. gymnasium's own has five steps of 0.01 s, and its returns are not comparable.

    Source: Finn, Abbeel and Levine, 2017, section 5.3 and Appendix A.2.

    Example:
    >>> from maml_tf.rl.environments.locomotion import Ant
    >>> environment = Ant(batch_size=4, task="velocity")
    >>> environment.set_tasks([[0.5], [2.5]])  # Metres a second.
    >>> environment.reset_batch().shape, environment.dt
    ((4, 125), 0.02)
    """

    _VELOCITIES = ANT_VELOCITIES
    _OBSERVATION_SIZE = 125

    def _build(self, count: int, paper: bool, threads: int) -> tuple[Simulations, np.ndarray]:
        spec = gymnasium_model("ant")
        if paper:
            for geom in spec.geoms:
                geom.solimp[:3] = 0.8, 0.8, 0.01
        simulations = Simulations(
            spec,
            count,
            timestep=0.02 if paper else 0.01,
            frame_skip=1 if paper else 5,
            contact_forces=True,
            threads=threads,
        )
        self._contact_forces = simulations.output("cfrc_ext")
        self._rotation = simulations.output("xmat")[:, simulations.model.body("torso").id]
        return simulations, np.array(_PAPER_START) if paper else simulations.model.qpos0

    def _clipped_forces(self) -> np.ndarray:
        return np.clip(self._contact_forces, -1.0, 1.0).reshape(self.batch_size, -1)

    def _judge(self, progress: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        bonus = 1.05 if self.task == "velocity" else 0.05
        costs = 0.005 * np.sum(actions**2, axis=1) + 0.0005 * np.sum(self._clipped_forces() ** 2, axis=1)
        height = self.simulations.qpos[:, 2]
        return bonus + progress - costs, (height < LOWEST) | (height > HIGHEST)

    def _observe(self) -> np.ndarray:
        state = self.simulations
        return np.concatenate(
            [state.qpos, state.qvel, self._clipped_forces(), self._rotation, state.centre_of_mass], axis=1
        )
