"""Environments whose simulations can be drawn."""

from __future__ import annotations

import abc

import numpy as np

from maml_tf.rl.environments.task_environment import TaskEnvironment


class DrawableEnvironment(TaskEnvironment):
    """A `TaskEnvironment` that draws its simulations, and renders as tf-agents' environments do.

    What is drawn are snapshots, which are small: a film keeps one a picture while its rollout runs, and draws them all
    at the end.
    """

    @abc.abstractmethod
    def snapshot(self, simulation: int) -> np.ndarray:
        """Returns what `draw` needs to know of a simulation as it is now.

        Args:
            simulation: Its number.

        Returns:
            A vector.
        """

    @abc.abstractmethod
    def draw(self, snapshots: np.ndarray, width: int = 320, height: int = 240) -> np.ndarray:
        """Draws snapshots of one rollout.

        Args:
            snapshots: [frames, ...], in their order.
            width: Pixels.
            height: Pixels.

        Returns:
            uint8 [frames, height, width, 3].
        """

    def render(self, mode: str = "rgb_array") -> np.ndarray:
        """Draws simulation 0 as it is now.

        Args:
            mode: "rgb_array", the only one.

        Returns:
            uint8 [height, width, 3].

        Raises:
            ValueError: If `mode` is another.
        """
        if mode != "rgb_array":
            raise ValueError(f"Expected mode to be 'rgb_array'. Received: mode={mode!r}")
        return self.draw(self.snapshot(0)[np.newaxis])[0]
