"""Reptile: the meta-parameters move towards the parameters at which the tasks' gradient descent ends."""

from __future__ import annotations

import keras
import tensorflow as tf

from maml_tf.algorithms.algorithm import Algorithm, Learned, MetaParameters, Task, require_no_learned_rule
from maml_tf.algorithms.registry import algorithms
from maml_tf.core.task_functions import TaskFunctions


@keras.saving.register_keras_serializable(package="maml_tf")
class Reptile(Algorithm):
    """Reptile: the outer gradient is `theta - theta_k`, where theta_k are the parameters after k inner steps on a task.

    In training, the inner steps use a task's support and query sets as one set of labelled examples; at meta-test they
    use only the support set. No second derivative is taken. Plain SGD with learning rate epsilon as the outer optimizer
    gives the paper's update `theta + epsilon * mean(theta_k - theta)`.

    Source: Nichol, Achiam and Schulman, On First-Order Meta-Learning Algorithms, 2018, Algorithm 2.

    Example:
    >>> import keras
    >>> import maml_tf
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> learner = maml_tf.MetaLearner(model, "mse", "reptile", inner_learning_rate=0.02, inner_steps=5)
    >>> learner.compile(keras.optimizers.SGD(0.1))
    """

    first_order = True

    def check(self, functions: TaskFunctions) -> None:
        require_no_learned_rule(functions, "Reptile computes no gradient for them")

    def gradient(self, functions: TaskFunctions, theta: MetaParameters, task: Task, steps: int, iteration: tf.Tensor):
        examples = tf.nest.map_structure(lambda *sets: tf.concat(sets, axis=0), task.support, task.query)
        adapted = self.adapt(functions, theta, task.number, examples, steps)
        moved = {**theta.model, **adapted.params}
        difference = {name: value - moved[name] for name, value in theta.model.items()}
        query_x, query_y = task.query
        output = self.predict(functions, theta, Learned(adapted.params, adapted.state), query_x, training=True)
        query = functions.loss_of(output, query_y)
        outcome = self.outcome(adapted, query)
        return query.loss, MetaParameters(difference, []), outcome


algorithms.register("reptile", Reptile())
