"""Task distributions of reinforcement learning, each a batch of simulations with the interface of tf-agents.

Half-cheetah and ant are in modules of their own, `half_cheetah` and `ant`, as only they need MuJoCo.
"""

from maml_tf.rl.environments.checks import NonFiniteActionsError
from maml_tf.rl.environments.drawable import DrawableEnvironment
from maml_tf.rl.environments.point_navigation import PointNavigation
from maml_tf.rl.environments.task_distribution import DirectionTasks, TaskDistribution, UniformTasks
from maml_tf.rl.environments.task_environment import TaskEnvironment

__all__ = [
    "DirectionTasks",
    "DrawableEnvironment",
    "NonFiniteActionsError",
    "PointNavigation",
    "TaskDistribution",
    "TaskEnvironment",
    "UniformTasks",
]
