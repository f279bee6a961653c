"""Meta-World's simulations as a batch, in worker processes."""

from __future__ import annotations

import functools

import numpy as np

from maml_tf.checks import choice, whole_number
from maml_tf.rl.environments.drawing import draw_states
from maml_tf.rl.environments.gymnasium_environment import GymnasiumEnvironment
from maml_tf.rl.environments.meta_world.simulation import MetaWorldSimulation
from maml_tf.rl.environments.processes import ProcessVectorEnv
from maml_tf.rl.environments.task_distribution import TaskDistribution
from maml_tf.rl.environments.task_environment import DrawableEnvironment

# Meta-World's simulations refuse more steps.
_LONGEST = 500


class MetaWorld(GymnasiumEnvironment, DrawableEnvironment):
    """Robot arms on Meta-World's tasks; the goal is not in the observation.

    The observation (39) is twice 18 numbers of the hand and the objects, now and a step before, and zeros where
    Meta-World has the goal; see `MetaWorldSimulation`. The reward is Meta-World's, 0 to 10 a step with the version v2.
    `succeeded` is Meta-World's "success" in any step. A start is a function of its task, and nothing ends early.

    Args:
        batch_size: Number of simulations.
        distribution: The tasks.
        horizon: Steps after which a simulation is done, at most Meta-World's 500.
        rewards: Version of Meta-World's reward functions, "v1" or "v2".
        seed: Seed of the first tasks.
        task_in_observation: Whether the task follows the observation.
        processes: Worker processes; 0 for one on each processor core.
    """

    def __init__(
        self,
        batch_size: int,
        distribution: TaskDistribution,
        *,
        horizon: int,
        rewards: str = "v2",
        seed: int = 0,
        task_in_observation: bool = False,
        processes: int = 0,
    ):
        whole_number("horizon", horizon, 1, _LONGEST)
        make = functools.partial(MetaWorldSimulation, choice("rewards", rewards, ("v1", "v2")))
        super().__init__(
            ProcessVectorEnv(make, batch_size, processes),
            distribution,
            "set_task",
            horizon=horizon,
            seed=seed,
            task_in_observation=task_in_observation,
        )

    def snapshot(self, simulation: int) -> np.ndarray:
        positions, places = self.vector.call_one(simulation, "state")
        kind = self.distribution.kinds.index(self._task_of_simulation[simulation].env_name)
        return np.concatenate([[simulation, kind, len(positions)], positions, places])

    def draw(self, snapshots: np.ndarray, width: int = 320, height: int = 240) -> np.ndarray:
        simulation, kind, size = snapshots[0, :3].astype(int)
        positions, places = np.split(snapshots[:, 3:], [size], axis=1)

        def save_model(path: str) -> None:
            self.vector.call_one(simulation, "save_model", path, self.distribution.kinds[kind], places[0])

        # The cameras of Meta-World stand on their heads.
        frames = draw_states(save_model, positions, width, height, camera="corner4")
        return np.ascontiguousarray(frames[:, ::-1, ::-1])
