"""Meta-learning algorithms: one file each, found by name in `algorithms`."""

from maml_tf.algorithms.algorithm import Algorithm, Learned, MetaParameters, Outcome, Task
from maml_tf.algorithms.implicit_maml import ImplicitMAML
from maml_tf.algorithms.maml import ModelAgnostic
from maml_tf.algorithms.maml_plus_plus import MAMLPlusPlus
from maml_tf.algorithms.matching import Matching
from maml_tf.algorithms.prototypes import ProtoMAML, Prototypical
from maml_tf.algorithms.registry import algorithms, of_method
from maml_tf.algorithms.reptile import Reptile

__all__ = [
    "Algorithm",
    "ImplicitMAML",
    "Learned",
    "MAMLPlusPlus",
    "Matching",
    "MetaParameters",
    "ModelAgnostic",
    "Outcome",
    "ProtoMAML",
    "Prototypical",
    "Reptile",
    "Task",
    "algorithms",
    "of_method",
]
