"""Matching networks: a query's label is the sum of the support labels, weighted by the similarity of features."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from maml_tf.algorithms.algorithm import Algorithm, Learned, MetaParameters, require_no_learned_rule
from maml_tf.algorithms.registry import algorithms
from maml_tf.core.adaptation import Adaptation
from maml_tf.core.faults import first_of
from maml_tf.core.functional import ModelOutput, nan_where_invalid
from maml_tf.core.task_functions import TaskFunctions

# Replaces the probability 0 of a class without support examples, whose logarithm has no derivative.
_LEAST = 1e-37


@keras.saving.register_keras_serializable(package="maml_tf")
class Matching(Algorithm):
    """Matching networks, without the full context embeddings of the paper's Section 2.1.2.

    `p(y | x) = sum_i a(x, x_i) [y = y_i]` over the support set, with `a(x, x_i) = softmax_i cos(f(x), f(x_i))`. The
    outputs are `log p(y | x)` plus a constant. f is the model without its output layer, whose units are the classes and
    whose weights get no gradient. A class without support examples is never predicted.

    Raises:
        ValueError: For a learner, if its model does not end in a linear layer with a bias, or its update rule has
            variables; always in `MetaLearner.adapt`, because there are no adapted weights to return.

    Source: Vinyals et al., Matching Networks for One Shot Learning, 2016, Equations 1 and 2.

    Example:
    >>> import keras
    >>> import maml_tf
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(3)])
    >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    >>> learner = maml_tf.MetaLearner(model, loss, "matching")
    """

    # No second derivative is taken.
    first_order = True
    learns_weights = False

    def check(self, functions: TaskFunctions) -> None:
        require_no_learned_rule(functions, "matching networks take no inner steps")
        _ = functions.features

    def unused(self, functions: TaskFunctions) -> tuple[str, ...]:
        return functions.features.kernel, functions.features.bias

    def begin(self, functions: TaskFunctions, theta: MetaParameters, number: Any, support: Any) -> Learned:
        state = functions.initial_state(number)
        support_x, support_y = support
        output = functions.features(theta.model, state.model, support_x, training=True)
        members, fault = functions.features.one_hot(support_y, output.outputs.dtype)
        memory = tf.linalg.l2_normalize(output.outputs, axis=-1), members
        return Learned({}, state._replace(model=output.state, fault=first_of(state.fault, fault), memory=memory))

    def adapt(
        self, functions: TaskFunctions, theta: MetaParameters, number: Any, support: Any, steps: int
    ) -> Adaptation:
        state = self.begin(functions, theta, number, support).state
        return Adaptation({}, [{}], tf.zeros([0], state.memory[0].dtype), state, [state])

    def advance(
        self, functions: TaskFunctions, theta: MetaParameters, learned: Learned, support: Any, step: Any
    ) -> Learned:
        return learned

    def predict(
        self, functions: TaskFunctions, theta: MetaParameters, learned: Learned, query_x: Any, training: bool
    ) -> ModelOutput:
        output = functions.features(theta.model, learned.state.model, query_x, training)
        features, members = learned.state.memory
        likeness = tf.matmul(tf.linalg.l2_normalize(output.outputs, axis=-1), features, transpose_b=True)
        # A cosine is at most 1: its exponential neither overflows nor vanishes.
        sums = tf.matmul(tf.exp(likeness), members)
        output = output._replace(outputs=tf.math.log(tf.maximum(sums, tf.constant(_LEAST, sums.dtype))))
        return output if training else nan_where_invalid(output, {}, query_x)


algorithms.register("matching", Matching())
