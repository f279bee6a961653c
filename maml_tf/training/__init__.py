"""Training that counts its iterations, validates, keeps the best weights, saves, and goes on where it stopped."""

from maml_tf.files import load_weights, read_json, save_atomically, writable_directory, write_atomically
from maml_tf.stopping import finishing_steps, stop_on_signals
from maml_tf.training.checkpointing import AtomicCheckpoint
from maml_tf.training.diagnosis import AdaptationDiagnosis
from maml_tf.training.in_graph import InGraphTraining
from maml_tf.training.iterations import Iterations, TerminateOnNonFinite, in_order
from maml_tf.training.learner_summaries import LearnerSummaries
from maml_tf.training.progress import Progress, WallTime, recorded_seconds
from maml_tf.training.summaries import Summaries, row_tag, tag_of, write_rows
from maml_tf.training.validation import AdaptationValidation, BestWeights

__all__ = [
    "AdaptationDiagnosis",
    "AdaptationValidation",
    "AtomicCheckpoint",
    "BestWeights",
    "InGraphTraining",
    "Iterations",
    "LearnerSummaries",
    "Progress",
    "Summaries",
    "TerminateOnNonFinite",
    "WallTime",
    "finishing_steps",
    "in_order",
    "load_weights",
    "read_json",
    "recorded_seconds",
    "row_tag",
    "save_atomically",
    "stop_on_signals",
    "tag_of",
    "writable_directory",
    "write_atomically",
    "write_rows",
]
