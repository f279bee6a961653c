"""Baselines of the paper's comparisons, composed from the learner's own pieces."""

from maml_tf.baselines.fine_tuning import tune_step_size
from maml_tf.baselines.parameter_averaging import AnchoredRegression, ParameterAveraging

__all__ = ["AnchoredRegression", "ParameterAveraging", "tune_step_size"]
