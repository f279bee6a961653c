"""MAML itself: exact and first order."""

from __future__ import annotations

from typing import Any

import keras

from maml_tf.algorithms.algorithm import Algorithm
from maml_tf.algorithms.registry import algorithms
from maml_tf.checks import flag


@keras.saving.register_keras_serializable(package="maml_tf")
class ModelAgnostic(Algorithm):
    """Model-agnostic meta-learning, Algorithms 1 and 2.

    Args:
        first_order: Whether to stop the gradient through the inner gradients (Section 5.2).

    Raises:
        ValueError: If `first_order` is not True or False.

    Source: Finn, Abbeel and Levine (2017), Sections 2.2 and 3.1.
    """

    def __init__(self, first_order: bool = False):
        self.first_order = flag("first_order", first_order)

    def get_config(self) -> dict[str, Any]:
        return {"first_order": self.first_order}


algorithms.register("maml", ModelAgnostic())
algorithms.register("maml_first_order", ModelAgnostic(first_order=True))
