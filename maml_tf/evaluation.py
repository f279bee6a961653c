"""Evaluation of a learner on many tasks at every number of inner steps, in memory that does not grow with steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from maml_tf.core import episode_checks
from maml_tf.core.adaptation import inner_step
from maml_tf.core.meta_gradient import over_tasks
from maml_tf.core.task_values import Evaluation
from maml_tf.meta_learner import MAML

Metric = Callable[[Any, Any], tf.Tensor]


class Evaluator:
    """Measures a learner on tasks before and after every inner step, compiled once for many uses.

    Nothing is recorded for an outer gradient and each step is a call of its own, so memory does not grow with the
    number of steps, which may exceed the number trained with.

    Args:
        learner: A `maml_tf.MAML`; its current weights are read at every call and stay as they are.
        metrics: Functions `(query_y, outputs) -> scalar` of one task, by name; by default the learner's own loss
            as "loss".
        divergence: Value of a metric above which a task counts as diverged; it stays in the mean.
        jit_compile: Whether to compile with XLA.
        support_statistics: Whether the support set passes through the adapted model once more, in training mode,
            before the query set does in inference mode: for batch normalization by the support set's statistics.

    Raises:
        TypeError: If the learner is none, or the metrics are no functions by name.
    """

    def __init__(
        self,
        learner: MAML,
        metrics: Mapping[str, Metric] | None = None,
        *,
        divergence: float = math.inf,
        jit_compile: bool = False,
        support_statistics: bool = False,
    ):
        if not isinstance(learner, MAML):
            raise TypeError(f"Expected a maml_tf.MAML. Received: {learner!r}")
        _check_metrics({} if metrics is None else metrics)
        self.learner = learner
        self.support_statistics = support_statistics
        self.metrics = dict(metrics or {})
        self.divergence = divergence
        self._way = {"task_map": learner.task_map, "parallel_tasks": learner.parallel_tasks}
        # As in Keras' own steps nothing is converted by AutoGraph; looking for what to convert takes seconds.
        compiled = {"jit_compile": jit_compile, "reduce_retracing": True, "autograph": False}
        self._measure = tf.function(self._measure_tasks, **compiled)
        self._advance = tf.function(self._advance_tasks, **compiled)

    def __call__(self, episodes: Iterable[Any], steps: int | None = None) -> Evaluation:
        """Evaluates; see `evaluate`.

        Args:
            episodes: Meta-batches `((support_x, support_y, query_x), query_y)`, each with a leading task axis.
            steps: Number of inner steps, by default the learner's.

        Returns:
            An `Evaluation`.

        Raises:
            ValueError: If there is no episode, an episode does not fit together, or `steps` is negative.
        """
        steps = self.learner.inner_steps if steps is None else steps
        if steps < 0:
            raise ValueError(f"Expected steps >= 0. Received: steps={steps}")
        batches = [self._evaluate_batch(episode_checks.check_data(data), steps) for data in episodes]
        if not batches:
            raise ValueError("Expected at least one meta-batch of episodes. Received: none")
        names = batches[0].keys()
        return Evaluation(
            {name: np.concatenate([batch[name] for batch in batches], axis=1) for name in names},
            self.divergence,
        )

    def _evaluate_batch(self, data, steps: int) -> dict[str, np.ndarray]:
        (support_x, support_y, query_x), query_y = data
        params, state = self.learner.tasks.initial_values(tf.range(tf.shape(tf.nest.flatten(query_y)[0])[0]))
        support = (support_x, support_y) if self.support_statistics else ()
        measured = [self._measure(params, state, support, query_x, query_y)]
        for step in range(steps):
            params, state = self._advance(params, state, support_x, support_y, tf.constant(step))
            measured.append(self._measure(params, state, support, query_x, query_y))
        return {name: np.stack([np.asarray(row[name], np.float64) for row in measured]) for name in measured[0]}

    def _measure_tasks(self, params, state, support, query_x, query_y):
        def measure(task):
            task_params, task_state, task_support, inputs, targets = task
            if task_support:
                *_, task_state = self.learner.tasks.loss(task_params, task_state, *task_support, training=True)
            loss, outputs, _ = self.learner.tasks.loss(task_params, task_state, inputs, targets, training=False)
            return {name: metric(targets, outputs) for name, metric in self.metrics.items()} or {"loss": loss}

        return over_tasks(measure, (params, state, support, query_x, query_y), **self._way)

    def _advance_tasks(self, params, state, support_x, support_y, step):
        tasks = self.learner.tasks

        def advance(task):
            task_params, task_state, support = task
            result = inner_step(
                tasks.objective(task_params),
                tasks.adapted(task_params),
                support,
                tasks.update_rule,
                step=step,
                state=task_state,
            )
            return {**task_params, **result.params}, result.state

        return over_tasks(advance, (params, state, (support_x, support_y)), **self._way)


def evaluate(
    learner: MAML,
    episodes: Iterable[Any],
    steps: int | None = None,
    *,
    metrics: Mapping[str, Metric] | None = None,
    divergence: float = math.inf,
    jit_compile: bool = False,
) -> Evaluation:
    """Adapts the learner to each task and measures it on the query set before and after every inner step.

    Args:
        learner: A `maml_tf.MAML`; it stays as it is.
        episodes: Meta-batches `((support_x, support_y, query_x), query_y)`, each with a leading task axis: a
            `tf.data.Dataset` or any finite iterable.
        steps: Number of inner steps, by default the learner's; it may exceed the number trained with.
        metrics: Functions `(query_y, outputs) -> scalar` of one task, by name; by default the learner's own loss
            as "loss".
        divergence: Value of a metric above which a task counts as diverged; it stays in the mean.
        jit_compile: Whether to compile with XLA.

    Returns:
        An `Evaluation`.

    Raises:
        TypeError: If the learner is none, or the metrics are no functions by name.
        ValueError: If there is no episode, an episode does not fit together, or `steps` is negative.

    Source: Finn, Abbeel and Levine (2017), Section 5: mean and 95 % confidence interval over test tasks.

    Example:
    >>> import keras
    >>> import maml_tf
    >>> learner = maml_tf.MAML(keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]), loss="mse")
    >>> x = keras.ops.ones((8, 5, 1))  # 8 tasks of 5 examples
    >>> maml_tf.evaluate(learner, [((x, x, x), x)], steps=3).values["loss"].shape
    (4, 8)
    """
    return Evaluator(learner, metrics, divergence=divergence, jit_compile=jit_compile)(episodes, steps)


def _check_metrics(metrics: Any) -> None:
    if not isinstance(metrics, Mapping) or not all(callable(metric) for metric in metrics.values()):
        raise TypeError(f"Expected metrics as a dictionary from name to function. Received: {metrics!r}")
    stateful = [name for name, metric in metrics.items() if isinstance(metric, keras.Metric)]
    if stateful:
        # It would add up the tasks, which are not one after the other here.
        raise TypeError(
            "Expected functions (query_y, outputs) -> scalar of one task. "
            f"Received: Keras metrics, which have a state, for {stateful}"
        )


def accuracy(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Computes the share of examples whose largest logit is the label's.

    Args:
        targets: Integer labels, [examples] or [examples, 1].
        logits: [examples, ways].

    Returns:
        A float32 scalar between 0 and 1.

    Raises:
        ValueError: If there is not one label for each example, as where targets are one-hot.
    """
    targets, logits = tf.convert_to_tensor(targets), tf.convert_to_tensor(logits)
    if None not in (labels := targets.shape.num_elements(), logits.shape[0]) and labels != logits.shape[0]:
        raise ValueError(
            f"Expected one integer label for each example. Received: targets {targets.shape}, logits {logits.shape}"
        )
    targets = tf.cast(tf.reshape(targets, [-1]), tf.int64)
    correct = tf.equal(tf.argmax(logits, axis=-1), targets)
    return tf.reduce_mean(tf.cast(correct, tf.float32))
