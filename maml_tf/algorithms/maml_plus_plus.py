"""The outer loss of MAML++: at first the losses after all inner steps count, and gradients are first order."""

from __future__ import annotations

import functools
from typing import Any

import keras
import tensorflow as tf

from maml_tf.algorithms.algorithm import Algorithm, Learned, MetaParameters, Outcome, Task
from maml_tf.algorithms.maml import ModelAgnostic
from maml_tf.algorithms.registry import algorithms
from maml_tf.checks import flag, whole_number
from maml_tf.core.task_functions import TaskFunctions


def loss_weights(steps: int, iteration: tf.Tensor, iterations: int, dtype: tf.DType) -> tf.Tensor:
    """Returns the weights of the query losses after each inner step, which move to the loss after the last step.

    With `s = min(iteration / iterations, 1)`: `(1 - s) / steps` after each step but the last, and
    `1 - (steps - 1) (1 - s) / steps` after the last.

    Args:
        steps: Number of inner steps, at least 1.
        iteration: Number of the training iteration, an integer tensor.
        iterations: Number of iterations over which the weights change.
        dtype: Data type of the weights.

    Returns:
        A tensor [steps], whose sum is 1.

    Source: Antoniou, Edwards and Storkey, How to train your MAML, 2019, Section 4, "multi-step loss optimization". In
    the authors' code the weights fall equally fast, but not below 0.03 / steps before the last of the iterations.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.algorithms.maml_plus_plus import loss_weights
    >>> [loss_weights(2, tf.constant(n), 100, tf.float32).numpy().tolist() for n in (0, 50, 200)]
    [[0.5, 0.5], [0.25, 0.75], [0.0, 1.0]]
    """
    share = tf.minimum(tf.cast(iteration, dtype) / iterations, 1)
    early = tf.fill([steps - 1], (1 - share) / steps)
    return tf.concat([early, [1 - tf.reduce_sum(early)]], axis=0)


class _MultiStep(ModelAgnostic):
    """MAML whose outer loss is the weighted sum of the query losses after each inner step."""

    def __init__(self, first_order: bool, iterations: int):
        super().__init__(first_order)
        self.iterations = iterations

    def loss(
        self, functions: TaskFunctions, theta: MetaParameters, task: Task, steps: int, iteration: tf.Tensor
    ) -> tuple[tf.Tensor, Outcome]:
        adapted = self.adapt(functions, theta, task.number, task.support, steps)
        query_x, query_y = task.query
        queries = []
        for step in range(1, steps + 1):
            learned = Learned(adapted.path[step], adapted.states[step])
            queries.append(functions.loss_of(self.predict(functions, theta, learned, query_x, True), query_y))
        losses = tf.stack([query.loss for query in queries])
        loss = tf.reduce_sum(loss_weights(steps, iteration, self.iterations, losses.dtype) * losses)
        return loss, self.outcome(adapted, queries[-1]._replace(loss=loss))


@keras.saving.register_keras_serializable(package="maml_tf")
class MAMLPlusPlus(Algorithm):
    """MAML with the annealed outer loss of MAML++: at first multi-step and first order.

    The outer loss is `sum_k w_k(t) L(query; theta_k)`. t is the training iteration, the iteration counter of the outer
    optimizer, which checkpoints save. `loss_weights` computes the weights. One graph holds all phases, and each
    iteration runs only its phase: nothing is traced again. The other parts of MAML++ are separate:
    `maml_tf.LearnedStepSizes(granularity="layer_and_step")`, `maml_tf.layers.PerStepBatchNormalization` and
    `keras.optimizers.schedules.CosineDecay`. `--method=maml_plus_plus` of the few-shot binaries uses all of them.

    Args:
        multi_step_iterations: Iterations over which the outer loss changes from the mean of the query losses after
            every inner step to the loss after the last step; 0 uses only the loss after the last step.
        first_order_iterations: Iterations at the beginning with first-order gradients; later gradients are exact.
        first_order: Whether all gradients are first order.

    Raises:
        ValueError: If a number is negative, or `first_order` is not True or False.

    Source: Antoniou, Edwards and Storkey, How to train your MAML, 2019, Section 4; by default the authors' 15 and 50
    epochs of 500 iterations.

    Example:
    >>> import maml_tf
    >>> from maml_tf.algorithms import MAMLPlusPlus
    >>> from maml_tf.models import mlp
    >>> network = mlp((4,), (8, 8), 3, normalization="batch", norm_steps=5)
    >>> rule = maml_tf.LearnedStepSizes(0.1, granularity="layer_and_step", steps=5)
    >>> learner = maml_tf.MetaLearner(
    ...     network, "mse", MAMLPlusPlus(1500, 5000), rule, inner_steps=5, adapted=maml_tf.matching("(kernel|bias)$")
    ... )
    """

    def __init__(
        self, multi_step_iterations: int = 7500, first_order_iterations: int = 25_000, first_order: bool = False
    ):
        self.multi_step_iterations = whole_number("multi_step_iterations", multi_step_iterations, minimum=0)
        self.first_order_iterations = whole_number("first_order_iterations", first_order_iterations, minimum=0)
        self.first_order = flag("first_order", first_order)

    def gradient(
        self, functions: TaskFunctions, theta: MetaParameters, task: Task, steps: int, iteration: tf.Tensor
    ) -> tuple[tf.Tensor, MetaParameters, Outcome]:
        def part(first_order: bool, multi_step: bool):
            algorithm = (
                _MultiStep(first_order, self.multi_step_iterations) if multi_step else ModelAgnostic(first_order)
            )
            return functools.partial(algorithm.gradient, functions, theta, task, steps, iteration)

        ends = {self.multi_step_iterations, 0 if self.first_order else self.first_order_iterations} - {0}
        result = part(self.first_order, multi_step=False)
        for end in sorted(ends, reverse=True):
            first_order = self.first_order or end <= self.first_order_iterations
            now = part(first_order, multi_step=end <= self.multi_step_iterations)
            result = functools.partial(tf.cond, iteration < end, now, result)
        return result()

    def get_config(self) -> dict[str, Any]:
        return {
            "multi_step_iterations": self.multi_step_iterations,
            "first_order_iterations": self.first_order_iterations,
            "first_order": self.first_order,
        }


algorithms.register("maml_plus_plus", MAMLPlusPlus())
