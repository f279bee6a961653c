"""Task distributions and the episodes drawn from them, and the registry of data sets."""

from typing import TYPE_CHECKING

from maml_tf import lazy

# These register data sets, and do not import TensorFlow.
from maml_tf.tasks.cifar100 import Cifar100
from maml_tf.tasks.class_folders import ClassFolders
from maml_tf.tasks.dataset import DatasetSpec, SplitClasses, datasets
from maml_tf.tasks.mini_imagenet import MiniImagenet
from maml_tf.tasks.omniglot import Omniglot

if TYPE_CHECKING:
    from maml_tf.tasks.class_pool import ClassPool
    from maml_tf.tasks.episode import Episode
    from maml_tf.tasks.episode_draw import unit_range
    from maml_tf.tasks.sinusoid import Sinusoids, SinusoidTasks, pooled, sine_wave, with_task_input

__all__ = [
    "Cifar100",
    "ClassFolders",
    "ClassPool",
    "DatasetSpec",
    "Episode",
    "MiniImagenet",
    "Omniglot",
    "SinusoidTasks",
    "Sinusoids",
    "SplitClasses",
    "datasets",
    "pooled",
    "sine_wave",
    "unit_range",
    "with_task_input",
]

__getattr__, __dir__ = lazy.exports(
    __name__,
    __all__,
    (
        "maml_tf.tasks.class_pool",
        "maml_tf.tasks.episode",
        "maml_tf.tasks.episode_draw",
        "maml_tf.tasks.sinusoid",
    ),
)
