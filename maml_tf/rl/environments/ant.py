"""The ant of the paper's locomotion experiments."""

from __future__ import annotations

import numpy as np

from maml_tf.rl.environments.locomotion import Locomotion
from maml_tf.rl.environments.physics import Simulations, gymnasium_model
from maml_tf.rl.environments.task_distribution import ANT_VELOCITIES

# x, y, z, the rotation as a quaternion, then hip and ankle of each leg, radians.
_PAPER_START = (0.0, 0.0, 0.55, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0, -1.0, 0.0, 1.0)
LOWEST, HIGHEST = 0.2, 1.0


class Ant(Locomotion):
    r"""A four-legged body of eight motors that walks at a velocity or in a direction.

    The reward for actions a and contact forces c on the bodies, both clipped to [-1, 1], is with the progress of
    `Locomotion`

        velocity:   r = 1 + progress + 0.05 - 0.005 ||a||^2 - 0.0005 ||c||^2,  v* ~ U(0, 3)
        direction:  r =     progress + 0.05 - 0.005 ||a||^2 - 0.0005 ||c||^2

    The 1 is the paper's positive bonus. An episode ends when the torso's height leaves [0.2, 1], or after 200
    steps. The observation (125) is qpos (15), qvel (14), c (84), the torso's rotation matrix (9) and the centre
    of mass (3). The ant starts near a stand: `qpos = stand + 0.01 N(0, 1)`, `qvel = 0.1 N(0, 1)`.

    The paper's physics is rllab's: one Runge-Kutta step of 0.02 s an action, softer contacts and a start at
    a height of 0.55. gymnasium's own has five steps of 0.01 s, and its returns are not comparable.

    Source: Finn, Abbeel and Levine, 2017, section 5.3 and Appendix A.2.

    Example:
    >>> from maml_tf.rl.environments.ant import Ant
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
