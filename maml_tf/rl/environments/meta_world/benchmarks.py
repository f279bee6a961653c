"""The benchmarks' tasks, and their registration as environments."""

from __future__ import annotations

import functools
import importlib
import pickle
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from maml_tf.checks import whole_number
from maml_tf.rl.environments.drawing import without_osmesa
from maml_tf.rl.environments.spec import EnvironmentSpec, environments, maker
from maml_tf.rl.environments.task_distribution import TaskDistribution

if TYPE_CHECKING:
    from maml_tf.rl.environments.task_environment import TaskEnvironment

# The goals of a benchmark are functions of this seed. ML1's test goals are those of the next one.
SEED = 1
REWARDS = "v2"
# Numbers that place the objects and the goal of a task, at most.
_PLACES = 6


class MetaWorldTasks(TaskDistribution):
    """The tasks of a benchmark, of the type `metaworld.types.Task`: fixed goals, of training and test apart.

    Draws go through the kinds of tasks in turn, and through the goals of a kind in a random order, so that none comes
    twice before all have come. To an oracle a task is its kind, one-hot where there are several, and the positions of
    its objects and its goal.

    Args:
        benchmark: "ML1" or "ML10".
        name: The kind of ML1's tasks, such as "reach-v3"; empty for ML10.
    """

    def __init__(self, benchmark: str, name: str = ""):
        self.benchmark, self.name = benchmark, name
        self.size = _PLACES + (0 if name else 15)

    def sample(self, n: int, seed: int | Sequence[int]) -> list[Any]:
        """Draws training tasks; a larger draw with the same seed begins with the same tasks."""
        return _draw(self._tasks("train"), whole_number("n", n, minimum=1), seed)

    def test_tasks(self, n: int, seed: int) -> list[Any]:
        """Draws test tasks, at most those that there are."""
        tasks = self._tasks("test")
        if whole_number("n", n, minimum=1) > len(tasks):
            raise ValueError(
                f"Expected at most the {len(tasks)} test tasks of {self.benchmark} {self.name}. Received: {n}"
            )
        return _draw(tasks, n, seed)

    def checked(self, tasks: Sequence[Any]) -> list[Any]:
        """Returns a copy of the list; raises a ValueError if one is not a task of the benchmark's kinds."""
        for task in tasks:
            if getattr(task, "env_name", None) not in self.kinds:
                raise ValueError(f"Expected tasks of Meta-World of the kinds {self.kinds}. Received: {task!r:.80}")
        return list(tasks)

    def features(self, tasks: Sequence[Any]) -> np.ndarray:
        """Returns the numbers that describe tasks to an oracle, float32 [tasks, size]."""
        result = np.zeros((len(tasks), self.size), np.float32)
        for row, task in zip(result, tasks, strict=True):
            places = pickle.loads(task.data)["rand_vec"]
            row[self.size - _PLACES :][: len(places)] = places
            if not self.name:
                row[self.kinds.index(task.env_name)] = 1.0
        return result

    @property
    def kinds(self) -> list[str]:
        """Names of the kinds of tasks in training and test."""
        benchmark = _benchmark(self.benchmark, self.name)
        return list(dict.fromkeys([*benchmark.train_classes, *benchmark.test_classes]))

    def _tasks(self, split: str) -> Sequence[Any]:
        return getattr(_benchmark(self.benchmark, self.name), f"{split}_tasks")


def _draw(tasks: Sequence[Any], n: int, seed: int | Sequence[int]) -> list[Any]:
    random = np.random.default_rng(seed)
    kinds: dict[str, list[Any]] = {}
    for task in tasks:
        kinds.setdefault(task.env_name, []).append(task)
    of_kinds = [[of_kind[number] for number in random.permutation(len(of_kind))] for of_kind in kinds.values()]
    in_turn = [of_kinds[number] for number in random.permutation(len(of_kinds))]
    drawn = []
    for number in range(n):
        turn, kind = divmod(number, len(in_turn))
        drawn.append(in_turn[kind][turn % len(in_turn[kind])])
    return drawn


@functools.cache
def _benchmark(benchmark: str, name: str) -> Any:
    """Makes a benchmark, once: its goals are drawn in simulations, which takes seconds."""
    try:
        with without_osmesa():
            metaworld = importlib.import_module("metaworld")
    except ImportError as error:
        raise ImportError(
            "Expected the package metaworld, whose MuJoCo 3.3.0 needs an environment of its own: in the project's "
            "folder, run: python3 bin/bootstrap.py meta_world --benchmark=ml1_reach. "
            f"Received: {error}"
        ) from error
    return getattr(metaworld, benchmark)(*([name] if name else []), seed=SEED)


# Rollouts cost more than in the paper's experiments, so there are fewer, and fewer validations. The likelihood ratio
# learns more from few of them: docs/results/half_cheetah.md.
_PRESET = {
    "inner_objective": "likelihood_ratio",
    "rollouts": 10,
    "evaluation_rollouts": 10,
    "evaluation_steps": 3,
    "tuning_tasks": 20,
    "test_tasks": 50,
    "validate_every": 20,
}


def _spec(benchmark: str, kind: str, horizon: int, iterations: int) -> EnvironmentSpec:
    tasks = MetaWorldTasks(benchmark, kind)
    made = maker("meta_world.environment:MetaWorld", {"distribution": tasks, "horizon": horizon, "rewards": REWARDS})

    def make(batch_size: int, **options: Any) -> TaskEnvironment:
        tasks.kinds  # noqa: B018  The error of a missing package comes before those of what needs it.
        return made(batch_size, **options)

    return EnvironmentSpec(
        make,
        tasks,
        preset={**_PRESET, "iterations": iterations},
        original_test_tasks=tasks.test_tasks,
        details={"benchmark": f"{benchmark} {kind}".strip(), "goals_seed": SEED, "rewards": REWARDS, "steps": horizon},
    )


_SPECS = {
    "ml1_reach": _spec("ML1", "reach-v3", horizon=100, iterations=100),
    "ml1_push": _spec("ML1", "push-v3", horizon=150, iterations=300),
    "ml1_pick_place": _spec("ML1", "pick-place-v3", horizon=150, iterations=300),
    # Two of each kind in a meta-batch; ten goals of each kind in the test.
    "ml10": _spec("ML10", "", horizon=150, iterations=500),
}
NAMES = tuple(_SPECS)
for _name, _of_name in _SPECS.items():
    environments.register(_name, _of_name)
