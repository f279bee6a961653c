"""The half-cheetah of the paper's locomotion experiments."""

from __future__ import annotations

import numpy as np

from maml_tf.rl.environments.locomotion import Locomotion
from maml_tf.rl.environments.physics import Simulations, gymnasium_model
from maml_tf.rl.environments.task_distribution import HALF_CHEETAH_VELOCITIES


class HalfCheetah(Locomotion):
    """A planar two-legged body of six motors that runs at a velocity or in a direction.

    The reward for actions a, clipped to [-1, 1], is with the progress of `Locomotion`

        r = progress - 0.05 ||a||^2,  v* ~ U(0, 2)

    An episode has 200 steps and never ends earlier. The observation (20) is qpos without x (8), qvel (9) and the
    centre of mass (3). It starts near the model's rest: `qpos = rest + 0.01 N(0, 1)`, `qvel = 0.1 N(0, 1)`.

    The paper's physics is rllab's, with one step of 0.01 s an action; gymnasium's own applies an action
    for five of them, and its returns are not comparable.

    Source: Finn, Abbeel and Levine, 2017, section 5.3 and Appendix A.2.

    Example:
    >>> from maml_tf.rl.environments.half_cheetah import HalfCheetah
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
