"""Model-agnostic meta-learning (Finn, Abbeel and Levine, ICML 2017) for any Keras model."""

import importlib
from types import ModuleType

from maml_tf.core.adaptation import Adaptation, adapt, inner_step
from maml_tf.core.learned_step_sizes import LearnedStepSizes
from maml_tf.core.selection import everything, head, matching
from maml_tf.core.task_values import Evaluation, StepSummary
from maml_tf.core.update_rules import SGD, Chain, ClipByGlobalNorm, ClipByValue, UpdateRule
from maml_tf.diagnostics.second_order import check_second_order
from maml_tf.evaluation import Evaluator, evaluate
from maml_tf.meta_learner import MAML

_PARTS = ("baselines", "layers", "models", "plotting", "pretrained", "rl", "tasks", "training")

__version__ = "0.1.0"

__all__ = [
    "MAML",
    "SGD",
    "Adaptation",
    "Chain",
    "ClipByGlobalNorm",
    "ClipByValue",
    "Evaluation",
    "Evaluator",
    "LearnedStepSizes",
    "StepSummary",
    "UpdateRule",
    "adapt",
    "check_second_order",
    "evaluate",
    "everything",
    "head",
    "inner_step",
    "matching",
]


def __getattr__(name: str) -> ModuleType:
    # At their first use: some need packages that `import maml_tf` does without.
    if name in _PARTS:
        try:
            return importlib.import_module(f"maml_tf.{name}")
        except ImportError as error:  # `hasattr` takes an AttributeError alone for a no.
            raise AttributeError(str(error)) from error
    raise AttributeError(f"module 'maml_tf' has no attribute {name!r}")
