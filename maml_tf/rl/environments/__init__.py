"""Task distributions of reinforcement learning, each a batch of simulations with the interface of tf-agents."""

from maml_tf.rl.environments.point_navigation import PointNavigation
from maml_tf.rl.environments.task_distribution import DirectionTasks, TaskDistribution, UniformTasks
from maml_tf.rl.environments.task_environment import TaskEnvironment

__all__ = ["DirectionTasks", "PointNavigation", "TaskDistribution", "TaskEnvironment", "UniformTasks"]
