"""Body: what all bodies that MuJoCo simulates have in common."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from maml_tf.rl.environments.drawing import draw_states
from maml_tf.rl.environments.physics import Simulations, save_model
from maml_tf.rl.environments.task_distribution import TaskDistribution
from maml_tf.rl.environments.task_environment import DrawableEnvironment

HORIZON = 200
# `noise(random, shape)` draws numbers of that shape.
Noise = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


class Body(DrawableEnvironment):
    """Many simulations of one body, whose motors are the actions.

    Args:
        simulations: The simulations.
        initial_qpos: Positions at which the body starts, without noise, [positions].
        distribution: The tasks' distribution.
        **options: Other arguments of `TaskEnvironment`.

    Attributes:
        simulations: The simulations, whose arrays may be read.
        initial_qpos: The argument.
    """

    def __init__(self, simulations: Simulations, initial_qpos: np.ndarray, distribution: TaskDistribution, **options):
        self.simulations, self.initial_qpos = simulations, initial_qpos
        super().__init__(simulations.count, distribution, action_size=simulations.model.nu, **options)

    @property
    def dt(self) -> float:
        """Duration of a step in seconds."""
        return self.simulations.dt

    def _start_near(self, simulations: np.ndarray, of_positions: Noise, of_velocities: Noise) -> None:
        """Starts simulations, bool [B], with noise on the initial positions and on velocities of zero."""
        model = self.simulations.model
        positions, velocities = (
            self._drawn(simulations, lambda random, count, noise=noise, size=size: noise(random, (count, size)))
            for noise, size in ((of_positions, model.nq), (of_velocities, model.nv))
        )
        self.simulations.set_state(simulations, self.initial_qpos + positions, velocities)

    def snapshot(self, simulation: int) -> np.ndarray:
        return self.simulations.qpos[simulation].copy()

    def draw(self, snapshots: np.ndarray, width: int = 320, height: int = 240) -> np.ndarray:
        return draw_states(functools.partial(save_model, self.simulations.model), snapshots, width, height)
