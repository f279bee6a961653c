"""Task distributions and the episodes drawn from them."""

from maml_tf.tasks.class_pool import ClassPool
from maml_tf.tasks.datasets import SplitClasses
from maml_tf.tasks.episode import Episode
from maml_tf.tasks.episode_draw import unit_range
from maml_tf.tasks.mini_imagenet import MiniImagenet
from maml_tf.tasks.omniglot import Omniglot
from maml_tf.tasks.sinusoid import Sinusoids, SinusoidTasks, pooled, sine_wave, with_task_input

__all__ = [
    "ClassPool",
    "Episode",
    "MiniImagenet",
    "Omniglot",
    "SinusoidTasks",
    "Sinusoids",
    "SplitClasses",
    "pooled",
    "sine_wave",
    "unit_range",
    "with_task_input",
]
