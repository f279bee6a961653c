"""Task distributions and the episodes drawn from them."""

from maml_tf.tasks.class_pool import ClassPool
from maml_tf.tasks.drawn_images import unit_range
from maml_tf.tasks.episode import Episode
from maml_tf.tasks.omniglot import Omniglot
from maml_tf.tasks.sinusoid import Sinusoids, SinusoidTasks, pooled, sine_wave, with_task_input

__all__ = [
    "ClassPool",
    "Episode",
    "Omniglot",
    "SinusoidTasks",
    "Sinusoids",
    "pooled",
    "sine_wave",
    "unit_range",
    "with_task_input",
]
