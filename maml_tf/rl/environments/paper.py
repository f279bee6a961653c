"""The environments of the paper (section 5.3): tasks, settings, and the returns of Figures 4 and 5."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from maml_tf.rl.environments.spec import EnvironmentSpec, environments
from maml_tf.rl.environments.task_distribution import (
    ANT_VELOCITIES,
    DIRECTIONS,
    GOALS,
    HALF_CHEETAH_VELOCITIES,
    VectorTasks,
)

_LOCOMOTION = {"meta_batch_size": 40, "evaluation_rollouts": 20}
_NAVIGATION_RETURNS = {
    "maml": (-40.41, -11.68, -3.33, -3.23),
    "pretrained": (-40.81, -19.73, -11.72, -8.48),
    "random": (-82.66, -57.96, -53.84, -46.81),
    "oracle": (-2.29,),
    "context_vector": (-42.42, -13.90, -5.17, -3.18),
}


def _register(name: str, make: Callable[..., Any], tasks: VectorTasks, **values: Any) -> None:
    def original_test_tasks(n: int, seed: int) -> np.ndarray:
        return tasks.from_unit(np.random.RandomState(seed).random_sample((n, tasks.size))).astype(np.float32)

    spec = EnvironmentSpec(make, tasks, original_test_tasks=original_test_tasks, **values)
    environments.register(name, spec)


def _navigation(name: str, reward: str, goal: str, returns: dict[str, Sequence[float]]) -> None:
    def make(batch_size: int, **options: Any):
        from maml_tf.rl.environments.point_navigation import PointNavigation

        return PointNavigation(batch_size, reward=reward, goal=goal, **options)

    _register(name, make, GOALS, returns=returns, goals_in_plane=True)


def _half_cheetah(task: str):
    def make(batch_size: int, **options: Any):
        from maml_tf.rl.environments.half_cheetah import HalfCheetah

        return HalfCheetah(batch_size, task, **options)

    return make


def _ant(task: str):
    def make(batch_size: int, **options: Any):
        from maml_tf.rl.environments.ant import Ant

        return Ant(batch_size, task, **options)

    return make


_navigation("point_navigation", "distance", "disc", _NAVIGATION_RETURNS)
# The reward of the paper's text, which did not make its figure.
_navigation("point_navigation_squared", "squared", "disc", {})
# The goal of the paper's code, which made its figure; the text's disc is nearly as large.
_navigation("point_navigation_square_goal", "distance", "square", _NAVIGATION_RETURNS)
_register(
    "half_cheetah_velocity",
    _half_cheetah("velocity"),
    HALF_CHEETAH_VELOCITIES,
    preset={**_LOCOMOTION, "iterations": 475},
    returns={
        "maml": (-129.53, -78.57, -66.62, -60.78),
        "pretrained": (-158.00, -135.39, -128.47, -133.61),
        "random": (-254.83, -254.33, -246.79, -230.83),
        "oracle": (-54.47,),
    },
)
_register(
    "half_cheetah_direction",
    _half_cheetah("direction"),
    DIRECTIONS,
    preset={**_LOCOMOTION, "iterations": 100, "max_divergence": 0.02},
    returns={
        "maml": (-50.69, 293.19, 313.48, 315.65),
        "pretrained": (-43.03, -24.75, -12.85, 19.57),
        "random": (-35.74, 21.83, 62.32, 86.19),
        "oracle": (442.69,),
        "context_vector": (-40.49, -44.08, -38.27, -42.50),
    },
)
_register(
    "ant_velocity",
    _ant("velocity"),
    ANT_VELOCITIES,
    preset={**_LOCOMOTION, "iterations": 375},
    returns={
        "maml": (30.58, 96.74, 100.06, 101.41),
        "pretrained": (-1.83, 6.11, 8.48, 9.47),
        "random": (-78.64, -62.81, -48.55, -35.57),
        "oracle": (107.89,),
    },
)
_register(
    "ant_direction",
    _ant("direction"),
    DIRECTIONS,
    preset={**_LOCOMOTION, "iterations": 575, "rollouts": 40, "evaluation_rollouts": 40, "test_seed": 2},
    returns={
        "maml": (8.66, 499.15, 500.68, 499.11),
        "pretrained": (3.16, 1.27, 6.51, 6.87),
        "random": (3.11, 9.25, 15.96, 26.12),
        "oracle": (524.80,),
    },
)
