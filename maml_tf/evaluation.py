"""Evaluation of a learner on many tasks at every number of inner steps, in memory that does not grow with steps."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from maml_tf.core import episode_checks
from maml_tf.core.adaptation import inner_step
from maml_tf.core.meta_batch import numbered
from maml_tf.core.meta_gradient import over_tasks
from maml_tf.core.task_values import Evaluation
from maml_tf.meta_learner import MAML

Metric = Callable[[Any, Any], tf.Tensor]


class Evaluator:
    """Measures a learner on tasks before and after every inner step, compiled once for many uses.

    The steps are a loop of which nothing is recorded for an outer gradient: neither memory nor the graph grows with
    their number, which may exceed the number trained with.

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
        # As in Keras' own steps nothing is converted by AutoGraph; looking for what to convert takes seconds.
        compiled = {"jit_compile": jit_compile, "reduce_retracing": True, "autograph": False}
        self._evaluate = tf.function(self._evaluate_tasks, **compiled)

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
        batches = [self._evaluate(episode_checks.check_data(data), tf.constant(steps)) for data in episodes]
        if not batches:
            raise ValueError("Expected at least one meta-batch of episodes. Received: none")
        values = {name: [np.asarray(batch[name], np.float64) for batch in batches] for name in batches[0]}
        return Evaluation(
            {name: np.concatenate(of_batches, axis=1) for name, of_batches in values.items()}, self.divergence
        )

    def _evaluate_tasks(self, data, steps):
        """Returns the metrics [steps + 1, tasks, ...] by name."""
        (support_x, support_y, query_x), query_y = data
        sets = (support_x, support_y), (query_x, query_y)
        tasks, params = self.learner.tasks, self.learner.tasks.parameters()

        def begin(number, sets):
            # Under XLA tf.vectorized_map cannot return a tensor that was made outside.
            learned = tf.nest.map_structure(tf.identity, (tasks.adapted(params), tasks.functional.state(number)))
            return learned, self._measure(params, learned, sets)

        def advance(step, learned, sets):
            (adapted, state), (support, _) = learned, sets
            result = inner_step(tasks.objective(params), adapted, support, tasks.update_rule, step=step, state=state)
            learned = result.params, result.state
            return learned, self._measure(params, learned, sets)

        def next_row(step, learned, rows):
            learned, measured = self._over_tasks(functools.partial(advance, step), learned, sets)
            return step + 1, learned, {name: row.write(step + 1, measured[name]) for name, row in rows.items()}

        learned, measured = self._over_tasks(begin, *numbered(sets))
        rows = {
            name: tf.TensorArray(value.dtype, steps + 1, element_shape=value.shape).write(0, value)
            for name, value in measured.items()
        }
        start = (tf.constant(0), learned, rows)
        *_, rows = tf.while_loop(lambda step, *_: step < steps, next_row, start, parallel_iterations=1)
        return {name: row.stack() for name, row in rows.items()}

    def _over_tasks(self, function, *tasks):
        way = {"task_map": self.learner.task_map, "parallel_tasks": self.learner.parallel_tasks}
        return over_tasks(lambda task: function(*task), tasks, **way)

    def _measure(self, params, learned, sets):
        (adapted, state), (support, (query_x, query_y)), tasks = learned, sets, self.learner.tasks
        params = {**params, **adapted}
        if self.support_statistics:
            *_, state = tasks.loss(params, state, *support, training=True)
        loss, outputs, _ = tasks.loss(params, state, query_x, query_y, training=False)
        return {name: metric(query_y, outputs) for name, metric in self.metrics.items()} or {"loss": loss}


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
