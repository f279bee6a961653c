"""The registry of environments, those of the paper's Section 5.3 and others, each with the experiment's defaults."""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from maml_tf.registry import Registry
from maml_tf.rl.environments.task_distribution import (
    ANT_VELOCITIES,
    DIRECTIONS,
    GOALS,
    HALF_CHEETAH_VELOCITIES,
    PLANE_DIRECTIONS,
    TaskDistribution,
    VectorTasks,
)

if TYPE_CHECKING:
    from maml_tf.rl.environments.task_environment import TaskEnvironment

# Separates the default test tasks from those of training and tuning, whose seeds end in other numbers.
_TEST = 3


class PaperReturn(NamedTuple):
    """A mean return of the paper, drawn next to new results.

    Attributes:
        method: A name of `maml_tf.methods`.
        shots: Rollouts for each gradient step of the new results.
        step: Gradient steps taken.
        mean: Mean over the test tasks.
        ci95: NaN, because the paper does not give all intervals.
    """

    method: str
    shots: int
    step: int
    mean: float
    ci95: float = math.nan


@dataclasses.dataclass(frozen=True)
class EnvironmentSpec:
    """An environment's task distribution and the experiment with it.

    A spec does not need TensorFlow, tf-agents or MuJoCo; `make` imports them when it is called.

    Attributes:
        make: `make(batch_size, task_in_observation=False)` returns a `TaskEnvironment` of `batch_size` simulations.
        tasks: Distribution of the tasks.
        preset: Values for this environment of fields of the experiment's configuration, `MetaRLConfig`.
        returns: The paper's mean returns of each method after 0, 1, 2 and 3 gradient steps.
        original_test_tasks: `original_test_tasks(n, seed)` returns test tasks, those that the paper's authors or a
            benchmark's evaluated on; None draws test tasks from `tasks`.
        goals_in_plane: Whether observations are positions in the plane and tasks are goals there, so that figures show
            the paths to them.
        details: What results of it must name, such as the version of the rewards; results.json holds it.

    Example:
    >>> from maml_tf.rl.environments import environments
    >>> spec = environments["ant_direction"]
    >>> spec.preset["rollouts"], spec.returns["oracle"], spec.test_tasks(2, seed=2).tolist()
    (40, (524.8,), [[-1.0], [-1.0]])
    """

    make: Callable[..., TaskEnvironment]
    tasks: TaskDistribution
    preset: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    returns: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
    original_test_tasks: Callable[[int, int], Sequence[Any]] | None = None
    goals_in_plane: bool = False
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def test_tasks(self, n: int, seed: int) -> Sequence[Any]:
        """Draws `n` test tasks: for an environment of the paper those of its authors, for a benchmark its own.

        Args:
            n: Number of tasks, 40 in the paper's figures.
            seed: Seed: 1 in the paper's figures, 2 for the ant that walks in two directions.
        """
        if self.original_test_tasks is None:
            return self.tasks.sample(n, (seed, 0, _TEST))
        return self.original_test_tasks(n, seed)

    def paper_returns(self, rollouts: int) -> list[PaperReturn]:
        """Lists the paper's returns, for comparison with results of `rollouts` rollouts for each gradient step."""
        return [
            PaperReturn(method, rollouts, step, mean)
            for method, means in self.returns.items()
            for step, mean in enumerate(means)
        ]


environments: Registry[EnvironmentSpec] = Registry("environment")


_LOCOMOTION = {"meta_batch_size": 40, "evaluation_rollouts": 20}
_NAVIGATION_RETURNS = {
    "maml": (-40.41, -11.68, -3.33, -3.23),
    "pretrained": (-40.81, -19.73, -11.72, -8.48),
    "random": (-82.66, -57.96, -53.84, -46.81),
    "oracle": (-2.29,),
    "context_vector": (-42.42, -13.90, -5.17, -3.18),
}


def maker(built_by: str, arguments: Mapping[str, Any]) -> Callable[..., TaskEnvironment]:
    """Returns a function that makes an environment of a class "module:Name", which is imported when it is called."""

    def make(batch_size: int, **options: Any):
        module, _, cls = built_by.partition(":")
        built_in = importlib.import_module(f"maml_tf.rl.environments.{module}")  # It imports tf-agents or MuJoCo.
        return getattr(built_in, cls)(batch_size, **arguments, **options)

    return make


def _register(name: str, built_by: str, tasks: VectorTasks, *, arguments: Mapping[str, Any], **values: Any) -> None:
    def original_test_tasks(n: int, seed: int) -> np.ndarray:
        return tasks.from_unit(np.random.RandomState(seed).random_sample((n, tasks.size))).astype(np.float32)

    make = maker(built_by, arguments)
    environments.register(name, EnvironmentSpec(make, tasks, original_test_tasks=original_test_tasks, **values))


for _name, _reward, _goal, _returns in (
    ("point_navigation", "distance", "disc", _NAVIGATION_RETURNS),
    # The reward of the paper's text, which its figure does not have.
    ("point_navigation_squared", "squared", "disc", {}),
    # The goal of the paper's code, which its figure has; the text's disc is nearly as large.
    ("point_navigation_square_goal", "distance", "square", _NAVIGATION_RETURNS),
):
    _register(
        _name,
        "point_navigation:PointNavigation",
        GOALS,
        arguments={"reward": _reward, "goal": _goal},
        returns=_returns,
        goals_in_plane=True,
    )
_register(
    "half_cheetah_velocity",
    "locomotion:HalfCheetah",
    HALF_CHEETAH_VELOCITIES,
    arguments={"task": "velocity"},
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
    "locomotion:HalfCheetah",
    DIRECTIONS,
    arguments={"task": "direction"},
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
    "locomotion:Ant",
    ANT_VELOCITIES,
    arguments={"task": "velocity"},
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
    "locomotion:Ant",
    DIRECTIONS,
    arguments={"task": "direction"},
    preset={**_LOCOMOTION, "iterations": 575, "rollouts": 40, "evaluation_rollouts": 40, "test_seed": 2},
    returns={
        "maml": (8.66, 499.15, 500.68, 499.11),
        "pretrained": (3.16, 1.27, 6.51, 6.87),
        "random": (3.11, 9.25, 15.96, 26.12),
        "oracle": (524.80,),
    },
)
# Not the paper's: those that ProMP's code and learn2learn have beside them.
for _name, _built_by, _tasks, _arguments in (
    ("walker2d_direction", "walkers:Walker2d", DIRECTIONS, {}),
    ("humanoid_direction", "walkers:Humanoid", DIRECTIONS, {"task": "direction"}),
    ("humanoid_direction_2d", "walkers:Humanoid", PLANE_DIRECTIONS, {"task": "direction_2d"}),
):
    environments.register(_name, EnvironmentSpec(maker(_built_by, _arguments), _tasks, _LOCOMOTION))
