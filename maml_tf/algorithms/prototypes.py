"""Prototypes, the means of the classes' features: Proto-MAML starts a task's output layer from them."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from maml_tf.algorithms.algorithm import Learned, MetaParameters, require_no_learned_rule
from maml_tf.algorithms.maml import ModelAgnostic
from maml_tf.algorithms.registry import algorithms
from maml_tf.core.adaptation import Adaptation
from maml_tf.core.faults import first_of
from maml_tf.core.task_functions import TaskFunctions

# The bias of a class without support examples. Its probability is 0, and its derivatives are finite.
_NEVER = -1e9


@keras.saving.register_keras_serializable(package="maml_tf")
class ProtoMAML(ModelAgnostic):
    """MAML whose output layer is initialized in each task to compare features with the classes' prototypes.

    `W_k = 2 c_k`, `b_k = -|c_k|^2` with the prototype `c_k = mean of f(x) over the support examples of class k`: the
    logits are `|f(x)|^2 - |f(x) - c_k|^2`. The gradient flows through the prototypes; theta's own output layer gets
    none. A class without support examples is never predicted.

    Args:
        first_order: Whether to stop the gradient through the inner gradients. It still flows through the prototypes.

    Raises:
        ValueError: If `first_order` is not True or False; for a learner, if its model does not end in a linear layer
            with a bias, or its output layer does not adapt.

    Source: Triantafillou et al., Meta-Dataset, 2020, Section 3.

    Example:
    >>> import keras
    >>> import maml_tf
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3)])
    >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    >>> learner = maml_tf.MetaLearner(model, loss, "proto_maml", inner_learning_rate=0.1, inner_steps=5)
    """

    def check(self, functions: TaskFunctions) -> None:
        features = functions.features
        if missing := {features.kernel, features.bias} - set(functions.adapted_names):
            raise ValueError(
                "Expected the output layer to adapt: each task initializes it with prototypes. "
                f"Received: adapted without {sorted(missing)}"
            )

    def unused(self, functions: TaskFunctions) -> tuple[str, ...]:
        return functions.features.kernel, functions.features.bias

    def begin(self, functions: TaskFunctions, theta: MetaParameters, number: Any, support: Any) -> Learned:
        params, state, _ = super().begin(functions, theta, number, support)
        (support_x, support_y), features = support, functions.features
        output = features(theta.model, state.model, support_x, training=True)
        members, fault = features.one_hot(support_y, output.outputs.dtype)
        counts = tf.reduce_sum(members, axis=0)
        prototypes = tf.matmul(members, output.outputs, transpose_a=True) / tf.maximum(counts, 1)[:, tf.newaxis]
        bias = tf.where(counts > 0, -tf.reduce_sum(prototypes**2, axis=1), tf.constant(_NEVER, prototypes.dtype))
        params = {**params, features.kernel: 2 * tf.transpose(prototypes), features.bias: bias}
        state = state._replace(model=output.state, fault=first_of(state.fault, fault))
        return Learned(params, state, functions.update_rule.initial_state(params))


@keras.saving.register_keras_serializable(package="maml_tf")
class Prototypical(ProtoMAML):
    """Prototypical networks: a query's class is that of the nearest prototype, and nothing else adapts.

    `p(k | x) = softmax_k(-|f(x) - c_k|^2)` is Proto-MAML without inner steps: the prototypes define the output layer.
    f is the model without its output layer, whose units are the classes.

    Raises:
        ValueError: For a learner, if its model does not end in a linear layer with a bias, or its update rule has
            variables.

    Source: Snell, Swersky and Zemel, Prototypical Networks for Few-shot Learning, 2017, Equations 1 and 2.

    Example:
    >>> import keras
    >>> import numpy as np
    >>> import maml_tf
    >>> features = keras.layers.Dense(2, use_bias=False, kernel_initializer="identity")
    >>> model = keras.Sequential([keras.Input((2,)), features, keras.layers.Dense(2)])
    >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    >>> learner = maml_tf.MetaLearner(model, loss, "prototypical")
    >>> learner.compile("adam")
    >>> support = np.array([[[0.0, 0.0], [2.0, 0.0], [0.0, 4.0]]], "float32"), np.array([[0, 0, 1]])
    >>> logits = learner.predict((*support, np.array([[[1.0, 1.0]]], "float32")), verbose=0)
    >>> (logits[0, 0] - 2).tolist()  # |x|^2 = 2; less the squares of the distances to (1, 0) and (0, 4).
    [-1.0, -10.0]
    """

    # No second derivative is taken.
    first_order = True

    def __init__(self):
        pass

    def check(self, functions: TaskFunctions) -> None:
        require_no_learned_rule(functions, "prototypical networks take no inner steps")
        _ = functions.features

    def adapt(
        self, functions: TaskFunctions, theta: MetaParameters, number: Any, support: Any, steps: int
    ) -> Adaptation:
        params, state, _ = self.begin(functions, theta, number, support)
        return Adaptation(params, [params], tf.zeros([0], params[functions.features.bias].dtype), state, [state])

    def advance(
        self, functions: TaskFunctions, theta: MetaParameters, learned: Learned, support: Any, step: Any
    ) -> Learned:
        return learned

    def get_config(self) -> dict[str, Any]:
        return {}


algorithms.register("proto_maml", ProtoMAML())
algorithms.register("prototypical", Prototypical())
