"""Evaluation of a learner on many tasks at every number of inner steps, in memory that does not grow with steps."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from maml_tf.algorithms import Learned
from maml_tf.checks import flag, number, whole_number
from maml_tf.core import episode_checks
from maml_tf.core.faults import error_of, first_fault
from maml_tf.core.over_tasks import numbered
from maml_tf.core.task_loss import wrong_label
from maml_tf.core.task_values import Evaluation
from maml_tf.learner import MetaLearner

Metric = Callable[[Any, Any], tf.Tensor]


class Evaluator:
    """Measures a learner on tasks before and after every inner step, compiled once for many uses.

    The steps are a loop of which nothing is recorded for an outer gradient: neither memory nor the graph grows with
    their number, which may exceed the number trained with.

    Args:
        learner: A `maml_tf.MetaLearner`, such as `maml_tf.MAML`; its current weights are read at every call and stay as
            they are.
        metrics: Functions `(query_y, outputs) -> scalar` of one task, by name; by default the learner's own loss
            as "loss".
        divergence: Value of a metric above which a task counts as diverged; it stays in the mean.
        jit_compile: Whether to compile with XLA.

    Raises:
        TypeError: If `learner` is not a MetaLearner, or `metrics` is not a dictionary of functions.
    """

    def __init__(
        self,
        learner: MetaLearner,
        metrics: Mapping[str, Metric] | None = None,
        *,
        divergence: float = math.inf,
        jit_compile: bool = False,
    ):
        if not isinstance(learner, MetaLearner):
            raise TypeError(f"Expected a maml_tf.MetaLearner, such as maml_tf.MAML. Received: {learner!r}")
        _check_metrics({} if metrics is None else metrics)
        self.learner = learner
        self.metrics = dict(metrics or {})
        # Infinity, where nothing counts as diverged, is the one number here that need not be finite.
        self.divergence = divergence if divergence == math.inf else number("divergence", divergence)
        if jit_compile and learner.padding:
            raise ValueError("Expected jit_compile=False of a learner with padding_label. Received: jit_compile=True")
        # As in Keras' own steps nothing is converted by AutoGraph; looking for what to convert takes seconds.
        compiled = {"jit_compile": flag("jit_compile", jit_compile), "reduce_retracing": True, "autograph": False}
        self._evaluate = tf.function(self._evaluate_tasks, **compiled)

    def __call__(self, episodes: Iterable[Any], steps: int | None = None) -> Evaluation:
        """Evaluates; see `evaluate`.

        Args:
            episodes: Meta-batches `((support_x, support_y, query_x), query_y)`, each with a leading task axis.
            steps: Number of inner steps, by default the learner's.

        Returns:
            An `Evaluation`.

        Raises:
            ValueError: If there is no task, an episode does not fit together or to the model, or `steps` is not a whole
                number of at least 0.
        """
        steps = self.learner.inner_steps if steps is None else whole_number("steps", steps, minimum=0)
        self.learner.check_before_step()
        batches = []
        for data in episodes:
            measured, fault = self._evaluate(episode_checks.check_data(data, self.learner.model), tf.constant(steps))
            if error := error_of(fault.numpy()):
                raise error
            batches.append(measured)
        if not any(next(iter(batch.values())).shape[1] for batch in batches):
            raise ValueError(f"Expected episodes of at least one task. Received: {len(batches)} meta-batches without")
        values = {name: [np.asarray(batch[name], np.float64) for batch in batches] for name in batches[0]}
        return Evaluation(
            {name: np.concatenate(of_batches, axis=1) for name, of_batches in values.items()}, self.divergence
        )

    def _evaluate_tasks(self, data, steps):
        """Returns the metrics [steps + 1, tasks, ...] by name, and the first fault."""
        (support_x, support_y, query_x), query_y, sizes = episode_checks.fitted(*data, self.learner.model)
        sets = (support_x, support_y), (query_x, query_y)
        learner, theta = self.learner, self.learner.meta_parameters()
        algorithm, functions = learner.algorithm, learner.task_functions

        def over_tasks(function, *tasks):
            return learner.over_tasks(lambda task: function(*task), tasks)

        def begin(number, sets):
            # Under XLA tf.vectorized_map cannot return a tensor that was made outside.
            support, places = _cut(learner.padding, sets[0])
            learned = tf.nest.map_structure(tf.identity, algorithm.begin(functions, theta, number, support))
            return self._of_one_size(learned, sets[0], places), self._measure(theta, learned, sets)

        def advance(step, learned, sets):
            support, _ = _cut(learner.padding, sets[0])
            learned = algorithm.advance(functions, theta, Learned(*learned), support, step)
            return learned, self._measure(theta, learned, sets)

        def next_row(step, learned, fault, rows):
            learned, (measured, faults) = over_tasks(functools.partial(advance, step), learned, sets)
            rows = {name: row.write(step + 1, measured[name]) for name, row in rows.items()}
            return step + 1, learned, faults, rows

        learned, (measured, faults) = over_tasks(begin, *numbered(sets))
        rows = {
            name: tf.TensorArray(value.dtype, steps + 1, element_shape=value.shape).write(0, value)
            for name, value in measured.items()
        }
        start = (tf.constant(0), learned, faults, rows)
        *_, faults, rows = tf.while_loop(lambda step, *_: step < steps, next_row, start, parallel_iterations=1)
        fault = first_fault(faults, sizes=sizes)
        return {name: row.stack() for name, row in rows.items()}, fault

    def _measure(self, theta, learned, sets):
        """Returns a task's metrics by name and its faults, [2, 3]."""
        functions, padding = self.learner.task_functions, self.learner.padding
        (support, _), ((query_x, query_y), places) = (_cut(padding, examples) for examples in sets)
        state = functions.settle({**theta.model, **learned.params}, learned.state, support)
        learned = Learned(learned.params, state)
        output = self.learner.algorithm.predict(functions, theta, learned, query_x, training=False)
        query = functions.loss_of(output, query_y)
        metrics = {name: _as_scalar(name, metric(query_y, query.outputs)) for name, metric in self.metrics.items()}
        if padding:  # Metrics of every example get the same length in all tasks.
            metrics = {
                name: padding.restored(value, places, _size(sets[1]))
                if value.shape.rank and value.shape[0] in (None, places.shape[0])
                else value
                for name, value in metrics.items()
            }
        return metrics or {"loss": query.loss}, tf.stack([state.fault, query.fault])

    def _of_one_size(self, learned, support, places):
        """Fills up what an algorithm keeps of a support set, lest tasks have memories of different sizes."""
        if places is None:
            return learned
        memory = self.learner.padding.restored(learned.state.memory, places, _size(support))
        return learned._replace(state=learned.state._replace(memory=memory))


def _cut(padding, examples):
    return (examples, None) if padding is None else padding.cut(*examples)


def _size(examples):
    return examples[1].shape[0] or tf.shape(examples[1])[0]


def evaluate(
    learner: MetaLearner,
    episodes: Iterable[Any],
    steps: int | None = None,
    *,
    metrics: Mapping[str, Metric] | None = None,
    divergence: float = math.inf,
    jit_compile: bool = False,
) -> Evaluation:
    """Adapts the learner to each task and measures it on the query set before and after every inner step.

    Args:
        learner: A `maml_tf.MetaLearner`, such as `maml_tf.MAML`; it stays as it is.
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
        TypeError: If `learner` is not a MetaLearner, or `metrics` is not a dictionary of functions.
        ValueError: If there is no task, an episode does not fit together or to the model, or `steps` is not a whole
            number of at least 0.

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


def _as_scalar(name: str, value: Any) -> tf.Tensor:
    if value is None or (value := tf.convert_to_tensor(value)).dtype == tf.string:
        received = "None" if value is None else "a string"
        raise TypeError(f"Expected metrics to return numbers. Received: {received} of metric {name!r}")
    return value


def accuracy(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Computes the share of examples whose largest logit is the label's.

    Args:
        targets: Integer labels, [examples] or [examples, 1].
        logits: [examples, ways].

    Returns:
        A float32 scalar between 0 and 1; in a graph NaN where a label is not a whole number from 0 to `ways - 1`.

    Raises:
        ValueError: If there is not one label for each example, as where targets are one-hot; eagerly, if a label is
            out of range.
    """
    targets, logits = episode_checks.as_tensors(targets), episode_checks.as_tensors(logits)
    if logits.shape.rank not in (2, None):
        raise ValueError(f"Expected logits [examples, ways]. Received: logits {logits.shape}")
    if None not in (labels := targets.shape.num_elements(), logits.shape[0]) and labels != logits.shape[0]:
        raise ValueError(
            f"Expected one integer label for each example. Received: targets {targets.shape}, logits {logits.shape}"
        )
    fault = wrong_label(targets, tf.shape(logits)[-1])
    if tf.executing_eagerly() and (error := error_of(first_fault(tf.stack([[tf.zeros_like(fault), fault]])).numpy())):
        raise error
    targets = tf.cast(tf.reshape(targets, [-1]), tf.int64)
    correct = tf.equal(tf.argmax(logits, axis=-1), targets)
    return tf.where(fault[0] > 0, tf.constant(float("nan")), tf.reduce_mean(tf.cast(correct, tf.float32)))
