"""Model-agnostic meta-learning (Finn, Abbeel and Levine, ICML 2017) for any Keras model."""

from typing import TYPE_CHECKING

from maml_tf import lazy

if TYPE_CHECKING:
    from maml_tf.algorithms import Algorithm
    from maml_tf.core.adaptation import Adaptation, adapt, inner_step
    from maml_tf.core.low_rank import lora
    from maml_tf.core.selection import body, everything, head, matching
    from maml_tf.core.task_values import Evaluation, StepSummary
    from maml_tf.core.update_rules import (
        SGD,
        Adam,
        Chain,
        ClipByGlobalNorm,
        ClipByValue,
        LearnedStepSizes,
        MetaCurvature,
        Momentum,
        UpdateRule,
    )
    from maml_tf.diagnostics.exact import exact
    from maml_tf.diagnostics.second_order import check_second_order
    from maml_tf.doctor.diagnosis import Diagnosis, Doctor, diagnose
    from maml_tf.evaluation import Evaluator, evaluate
    from maml_tf.learner import MAML, MetaLearner

__version__ = "0.2.0"

__all__ = [
    "MAML",
    "SGD",
    "Adam",
    "Adaptation",
    "Algorithm",
    "Chain",
    "ClipByGlobalNorm",
    "ClipByValue",
    "Diagnosis",
    "Doctor",
    "Evaluation",
    "Evaluator",
    "LearnedStepSizes",
    "MetaCurvature",
    "MetaLearner",
    "Momentum",
    "StepSummary",
    "UpdateRule",
    "adapt",
    "body",
    "check_second_order",
    "diagnose",
    "evaluate",
    "everything",
    "exact",
    "head",
    "inner_step",
    "lora",
    "matching",
]

__getattr__, __dir__ = lazy.exports(
    __name__,
    __all__,
    (
        "maml_tf.algorithms",
        "maml_tf.core.adaptation",
        "maml_tf.core.low_rank",
        "maml_tf.core.selection",
        "maml_tf.core.task_values",
        "maml_tf.core.update_rules",
        "maml_tf.diagnostics.exact",
        "maml_tf.diagnostics.second_order",
        "maml_tf.doctor.diagnosis",
        "maml_tf.evaluation",
        "maml_tf.layers",
        "maml_tf.learner",
    ),
    (
        "algorithms",
        "baselines",
        "commands",
        "configuration",
        "core",
        "demo",
        "diagnostics",
        "distribute",
        "doctor",
        "evaluation",
        "experiments",
        "export",
        "few_shot",
        "layers",
        "methods",
        "models",
        "plotting",
        "pretrained",
        "results",
        "rl",
        "serving",
        "tasks",
        "training",
    ),
)
lazy.import_with_keras(
    ("maml_tf.layers", "maml_tf.learner"),
    unless_importing=("maml_tf.algorithms", "maml_tf.core", "maml_tf.evaluation", "maml_tf.layers", "maml_tf.learner"),
)
