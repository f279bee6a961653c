"""Walker2d and the humanoid, which walk in a direction: the bodies that later work on meta-RL adds to the paper's."""

from __future__ import annotations

from typing import Literal

import numpy as np

from maml_tf.checks import choice
from maml_tf.rl.environments.body import HORIZON, Body, Noise
from maml_tf.rl.environments.physics import Simulations, gymnasium_model
from maml_tf.rl.environments.task_distribution import DIRECTIONS, PLANE_DIRECTIONS

_LOWEST, _HIGHEST, _STEEPEST = 0.8, 2.0, 1.0


class Walker2d(Body):
    """A planar body with two legs and six motors that has to walk forwards or backwards.

    For actions a, clipped to [-1, 1], and the torso's position x before and x' after the step of 0.016 s, the reward is

        r = 1 + d (x' - x) / 0.016 - 0.001 ||a||^2,  d = +1 or -1, evenly

    An episode ends when the torso's height leaves (0.8, 2) or its angle (-1, 1), or at the horizon. The observation
    (17) is qpos without x (8) and qvel, clipped to [-10, 10] (9). The body starts standing, with
    U(-0.005, 0.005) added to each position and velocity.

    Args:
        batch_size: Number of simulations.
        horizon: Steps after which a simulation is done.
        seed: Seed of the initial states and the first tasks.
        task_in_observation: Whether d follows the observation.
        threads: Threads to simulate on; see `locomotion.Locomotion`.

    Source: Rothfuss et al., ProMP: Proximal Meta-Policy Search, 2019, and its code, Walker2DRandDirecEnv.

    Example:
    >>> from maml_tf.rl.environments.walkers import Walker2d
    >>> environment = Walker2d(batch_size=4)
    >>> environment.set_tasks([[1.0], [-1.0]])  # Simulations 0 and 1 walk forwards, 2 and 3 backwards.
    >>> environment.reset_batch().shape, environment.dt
    ((4, 17), 0.016)
    """

    def __init__(
        self,
        batch_size: int,
        *,
        horizon: int = HORIZON,
        seed: int = 0,
        task_in_observation: bool = False,
        threads: int = 0,
    ):
        simulations = Simulations(
            gymnasium_model("walker2d"), batch_size, timestep=0.002, frame_skip=8, threads=threads
        )
        super().__init__(
            simulations,
            simulations.model.qpos0,
            DIRECTIONS,
            observation_size=17,
            horizon=horizon,
            seed=seed,
            task_in_observation=task_in_observation,
        )

    def _start(self, simulations: np.ndarray) -> None:
        self._start_near(simulations, _uniform(0.005), _uniform(0.005))

    def _advance(self, actions: np.ndarray, running: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        before = self.simulations.qpos[:, 0].copy()
        sound = self.simulations.step(actions, running)
        x, height, angle = self.simulations.qpos[:, :3].T
        progress = self._task_of_simulation[:, 0] * (x - before) / self.dt
        rewards = 1.0 + progress - 0.001 * np.sum(actions**2, axis=1)
        stands = (height > _LOWEST) & (height < _HIGHEST) & (np.abs(angle) < _STEEPEST)
        return np.where(sound, rewards, np.nan), ~stands

    def _observe(self) -> np.ndarray:
        return np.concatenate([self.simulations.qpos[:, 1:], np.clip(self.simulations.qvel, -10.0, 10.0)], axis=1)


_LOWEST_HUMANOID, _HIGHEST_HUMANOID = 1.0, 2.0
HUMANOID_TASKS = {"direction": DIRECTIONS, "direction_2d": PLANE_DIRECTIONS}


class Humanoid(Body):
    r"""A body with two legs, two arms and 17 motors that has to walk in a direction.

    For motor forces u, the actions, clipped to [-1, 1], times 0.4, contact forces c on the bodies, and the centre of
    mass p before and p' after the step of five times 0.003 s, the reward is

        r = 5 + 0.25 d . (p' - p) / 0.003 - 0.1 ||u||^2 - min(5e-7 ||c||^2, 10)

    with d = +1 or -1 along x ("direction"), or any unit vector of the plane, uniformly ("direction_2d"). An episode
    ends when the torso's height leaves [1, 2], or at the horizon. The observation (376) is qpos without x and y (22),
    qvel (23), and of all 14 bodies with the world inertia and mass (140) and velocity (84) about the centre of mass,
    then the motors' forces on the joints (23), and c (84). The body starts standing, with U(-0.01, 0.01) added to each
    position and velocity. The sources run on older versions of MuJoCo, some of which report no contact forces.

    Args:
        batch_size: Number of simulations.
        task: "direction" or "direction_2d".
        horizon: Steps after which a simulation is done.
        seed: Seed of the initial states and the first tasks.
        task_in_observation: Whether d follows the observation.
        threads: Threads to simulate on; see `locomotion.Locomotion`.

    Attributes:
        task: "direction" or "direction_2d".

    Source: Rothfuss et al., ProMP: Proximal Meta-Policy Search, 2019, and its code, HumanoidRandDirecEnv and
    HumanoidRandDirec2DEnv, which learn2learn has too.

    Example:
    >>> from maml_tf.rl.environments.walkers import Humanoid
    >>> environment = Humanoid(batch_size=4, task="direction_2d")
    >>> environment.set_tasks([[0.6, 0.8], [-1.0, 0.0]])
    >>> environment.reset_batch().shape, environment.dt
    ((4, 376), 0.015)
    """

    def __init__(
        self,
        batch_size: int,
        task: Literal["direction", "direction_2d"] = "direction",
        *,
        horizon: int = HORIZON,
        seed: int = 0,
        task_in_observation: bool = False,
        threads: int = 0,
    ):
        self.task = choice("task", task, tuple(HUMANOID_TASKS))
        simulations = Simulations(
            gymnasium_model("humanoid"), batch_size, timestep=0.003, frame_skip=5, contact_forces=True, threads=threads
        )
        self._of_bodies = [
            simulations.output(name).reshape(batch_size, -1) for name in ("cinert", "cvel", "qfrc_actuator", "cfrc_ext")
        ]
        self._highest_force = simulations.model.actuator_ctrlrange[:, 1]
        super().__init__(
            simulations,
            simulations.model.qpos0,
            HUMANOID_TASKS[task],
            observation_size=376,
            horizon=horizon,
            seed=seed,
            task_in_observation=task_in_observation,
        )

    def _start(self, simulations: np.ndarray) -> None:
        self._start_near(simulations, _uniform(0.01), _uniform(0.01))

    def _advance(self, actions: np.ndarray, running: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        direction, forces = self._task_of_simulation, actions * self._highest_force
        before = self.simulations.centre_of_mass.copy()
        sound = self.simulations.step(forces, running)
        moved = (self.simulations.centre_of_mass - before)[:, : direction.shape[1]]
        progress = 0.25 * np.sum(direction * moved, axis=1) / self.simulations.model.opt.timestep
        impact = np.minimum(5e-7 * np.sum(self._of_bodies[-1] ** 2, axis=1), 10.0)
        rewards = 5.0 + progress - 0.1 * np.sum(forces**2, axis=1) - impact
        height = self.simulations.qpos[:, 2]
        return np.where(sound, rewards, np.nan), (height < _LOWEST_HUMANOID) | (height > _HIGHEST_HUMANOID)

    def _observe(self) -> np.ndarray:
        return np.concatenate([self.simulations.qpos[:, 2:], self.simulations.qvel, *self._of_bodies], axis=1)


def _uniform(farthest: float) -> Noise:
    return lambda random, shape: random.uniform(-farthest, farthest, shape)
