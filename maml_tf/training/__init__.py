"""Training loops of many iterations a call, validation, the best weights, checkpoints, progress."""

from maml_tf.training.best_weights import BestWeights
from maml_tf.training.checkpointing import AtomicCheckpoint
from maml_tf.training.data_wait import DataWait
from maml_tf.training.files import load_weights, read_json, save_atomically, writable_directory, write_atomically
from maml_tf.training.in_graph import InGraphTraining
from maml_tf.training.non_finite import TerminateOnNonFinite
from maml_tf.training.progress import Progress
from maml_tf.training.validation import AdaptationValidation
from maml_tf.training.wall_time import TimedParts, WallTime, recorded_seconds

__all__ = [
    "AdaptationValidation",
    "AtomicCheckpoint",
    "BestWeights",
    "DataWait",
    "InGraphTraining",
    "Progress",
    "TerminateOnNonFinite",
    "TimedParts",
    "WallTime",
    "load_weights",
    "read_json",
    "recorded_seconds",
    "save_atomically",
    "writable_directory",
    "write_atomically",
]
