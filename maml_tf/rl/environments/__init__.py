"""Task distributions of reinforcement learning, each a batch of simulations with the interface of tf-agents.

`environments` lists what is registered, without TensorFlow, tf-agents or MuJoCo; `environments[name].make(batch_size)`
makes one. Half-cheetah and ant are in modules of their own, `half_cheetah` and `ant`, as only they need MuJoCo.
"""

import importlib
from typing import Any

from maml_tf.rl.environments import paper  # noqa: F401 (registers its environments)
from maml_tf.rl.environments.spec import EnvironmentSpec, environments
from maml_tf.rl.environments.task_distribution import DirectionTasks, TaskDistribution, UniformTasks, VectorTasks

# These need tf-agents.
_LATE = {
    "DrawableEnvironment": "task_environment",
    "GymnasiumEnvironment": "gymnasium_environment",
    "NonFiniteActionsError": "task_environment",
    "PointNavigation": "point_navigation",
    "TaskEnvironment": "task_environment",
}

__all__ = [
    "DirectionTasks",
    "DrawableEnvironment",
    "EnvironmentSpec",
    "GymnasiumEnvironment",
    "NonFiniteActionsError",
    "PointNavigation",
    "TaskDistribution",
    "TaskEnvironment",
    "UniformTasks",
    "VectorTasks",
    "environments",
]


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(importlib.import_module(f"{__name__}.{_LATE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
