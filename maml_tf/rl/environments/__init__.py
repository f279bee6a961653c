"""Task distributions of reinforcement learning, each a batch of simulations with the interface of tf-agents.

`environments` lists the registered environments without importing TensorFlow, tf-agents or MuJoCo;
`environments[name].make(batch_size)` makes one. Half-cheetah and ant (`locomotion`), Walker2d and the humanoid
(`walkers`) and Meta-World's robot (`meta_world`) need MuJoCo; `PointNavigation` does not.
"""

from maml_tf import lazy
from maml_tf.rl.environments import meta_world  # noqa: F401  It registers environments.
from maml_tf.rl.environments.spec import EnvironmentSpec, environments
from maml_tf.rl.environments.task_distribution import DirectionTasks, TaskDistribution, UniformTasks, VectorTasks

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

# These need tf-agents, and GymnasiumEnvironment also needs gymnasium.
_of_gymnasium, _ = lazy.exports(__name__, ["GymnasiumEnvironment"], [f"{__name__}.gymnasium_environment"])
_others, __dir__ = lazy.exports(__name__, __all__, [f"{__name__}.point_navigation", f"{__name__}.task_environment"])


def __getattr__(name: str) -> object:
    return (_of_gymnasium if name == "GymnasiumEnvironment" else _others)(name)
