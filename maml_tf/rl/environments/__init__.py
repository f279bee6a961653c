"""Task distributions of reinforcement learning, each a batch of simulations with the interface of tf-agents.

`environments` lists what is registered, without TensorFlow, tf-agents or MuJoCo; `environments[name].make(batch_size)`
makes one. Half-cheetah and ant are in `locomotion`, as only they need MuJoCo.
"""

from maml_tf import lazy
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

# These need tf-agents.
_LATE = ("gymnasium_environment", "point_navigation", "task_environment")
__getattr__, __dir__ = lazy.exports(__name__, __all__, [f"{__name__}.{module}" for module in _LATE])
