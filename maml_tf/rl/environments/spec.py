"""The registry of environments: what an experiment knows of one before it is made."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from maml_tf.registry import Registry
from maml_tf.rl.environments.task_distribution import TaskDistribution

if TYPE_CHECKING:
    from maml_tf.rl.environments.task_environment import TaskEnvironment

# Keeps the default test tasks apart from those of training and tuning, whose seeds end in other numbers.
_TEST = 3


class PaperReturn(NamedTuple):
    """A mean return of the paper, to draw beside one's own.

    Attributes:
        method: A name of `maml_tf.methods`.
        shots: Rollouts a gradient step of the results that it is drawn beside.
        step: Gradient steps taken.
        mean: Mean over the test tasks.
        ci95: NaN: the paper does not give every one.
    """

    method: str
    shots: int
    step: int
    mean: float
    ci95: float = math.nan


@dataclasses.dataclass(frozen=True)
class EnvironmentSpec:
    """An environment's task distribution and the experiment with it.

    A spec needs neither TensorFlow, tf-agents nor MuJoCo; `make` imports what it needs when it is called.

    Attributes:
        make: `make(batch_size, task_in_observation=False)` returns a `TaskEnvironment` of `batch_size` simulations.
        tasks: Distribution of the tasks.
        preset: Fields of the experiment's configuration, `MetaRLConfig`, with their values for this environment.
        returns: The paper's mean returns of each method after 0, 1, 2 and 3 gradient steps.
        original_test_tasks: `original_test_tasks(n, seed)` returns the tasks that the paper's authors evaluated on;
            None draws test tasks from `tasks`.
        goals_in_plane: Whether an observation is a position in the plane and a task a goal there, so that figures
            show the paths to it.

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

    def test_tasks(self, n: int, seed: int) -> Sequence[Any]:
        """Draws test tasks, those of the paper where it has the environment.

        Args:
            n: How many; 40 in the paper's figures.
            seed: 1 in the paper's figures, 2 for the ant that walks in two directions.

        Returns:
            `n` tasks.
        """
        if self.original_test_tasks is None:
            return self.tasks.sample(n, (seed, 0, _TEST))
        return self.original_test_tasks(n, seed)

    def paper_returns(self, rollouts: int) -> list[PaperReturn]:
        """Lists the paper's returns, beside results with `rollouts` rollouts a gradient step."""
        return [
            PaperReturn(method, rollouts, step, mean)
            for method, means in self.returns.items()
            for step, mean in enumerate(means)
        ]


environments: Registry[EnvironmentSpec] = Registry("environment")
