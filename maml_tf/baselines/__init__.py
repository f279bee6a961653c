"""The baselines that the paper compares MAML with."""

from maml_tf.baselines.fine_tuning import tune_step_size
from maml_tf.baselines.nearest_neighbour import nearest_neighbour
from maml_tf.baselines.parameter_averaging import AnchoredRegression, ParameterAveraging
from maml_tf.baselines.pretrained_classifier import classifier, feature_model, labelled_batches

__all__ = [
    "AnchoredRegression",
    "ParameterAveraging",
    "classifier",
    "feature_model",
    "labelled_batches",
    "nearest_neighbour",
    "tune_step_size",
]
