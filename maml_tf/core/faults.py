"""Faults that only a graph can see: losses that are not finite, labels out of range, sizes that do not match.

A graph under XLA drops assertions, and an assertion's message is lost in TensorFlow's stack. So a fault is a small
tensor: found inside compiled code, carried out of it, and raised by Python as one clear error.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from maml_tf.core.replicas import several_replicas

# The kinds of fault; 0 means no fault.
NOT_FINITE, LABEL, TARGETS, TASKS, EXAMPLES, GRADIENT, INPUTS = range(1, 8)
SETS = ("support", "query")


class NonFiniteLossError(tf.errors.InvalidArgumentError, ValueError):
    """A loss is NaN or infinite.

    Args:
        message: What was expected and received.
    """

    def __init__(self, message: str):
        super().__init__(None, None, message)


class EpisodeError(ValueError):
    """Values or sizes of episodes do not match each other or the model."""


def no_fault() -> tf.Tensor:
    """Returns the value that means that a set of examples has no fault: zeros, float64 [3]."""
    return tf.zeros([3], tf.float64)


def fault_of_set(kind: int, where: tf.Tensor, received: tf.Tensor, expected: tf.Tensor | int) -> tf.Tensor:
    """Makes the fault of a set of examples, such as a task's support set.

    Args:
        kind: The kind of fault, such as `LABEL` or `TARGETS`.
        where: Whether there is a fault, a boolean scalar.
        received: The wrong number, a scalar.
        expected: The number of classes, or the expected size.

    Returns:
        float64 [3]: the kind, received, expected; zeros without a fault.
    """
    values = [tf.constant(kind, tf.float64), tf.cast(received, tf.float64), tf.cast(expected, tf.float64)]
    return tf.where(where, tf.stack(values), no_fault())


def first_of(*faults: tf.Tensor) -> tf.Tensor:
    """Returns the first of several faults, all of shape [numbers], whose kind is not 0; the last one if all are 0."""
    # A task starts without a fault, which the graph need not look at.
    found = faults[-1]
    for fault in reversed(faults[:-1]):
        value = tf.get_static_value(fault)
        if value is None or value[0] != 0:
            found = tf.where(fault[0] > 0, fault, found)
    return found


def first_fault(
    sets: tf.Tensor,
    losses: tf.Tensor | None = None,
    sizes: Sequence[tf.Tensor] = (),
    earlier: int | tf.Tensor = 0,
) -> tf.Tensor:
    """Finds the first fault of a meta-batch: sizes come before targets, and targets before losses.

    Args:
        sets: float64 [tasks, 2, 3], the faults of each task's support and query set.
        losses: [tasks, steps + 1]: the loss before each inner step, then the query loss; None if tasks may diverge.
        sizes: Faults float64 [3] of the meta-batch's sizes.
        earlier: The number of the first task in `sets` and `losses`.

    Returns:
        float64 [6]: the kind, the task, the set or the inner step, received, expected, the number of tasks at fault.
    """
    zero = tf.zeros([], tf.float64)
    found = []
    for fault in sizes:
        found.append(tf.stack([fault[0], zero, zero, fault[1], fault[2], zero]))
    flat = tf.reshape(sets, [-1, 3])
    row = _first_true(flat[:, 0] > 0)
    numbers = tf.range(tf.shape(flat)[0])[:, tf.newaxis]
    # A minimum finds the row's number, and a masked sum reads the row. With argmax and a gather, an iteration of the
    # sinusoid's network takes 18 ms under XLA instead of 0.5 ms.
    fault = tf.reduce_sum(tf.where(numbers == row, flat, tf.zeros_like(flat)), axis=0)
    task, place = tf.cast(row // 2 + earlier, tf.float64), tf.cast(row % 2, tf.float64)
    found.append(tf.stack([fault[0], task, place, fault[1], fault[2], zero]))
    if losses is not None:
        wrong = ~tf.math.is_finite(losses)
        steps = tf.shape(losses)[1]
        first = _first_true(tf.reshape(wrong, [-1]))
        tasks = tf.reduce_sum(tf.cast(tf.reduce_any(wrong, axis=1), tf.float64))
        kind = tf.where(tasks > 0, tf.constant(NOT_FINITE, tf.float64), zero)
        numbers = [first // steps + earlier, first % steps, tf.zeros_like(steps), steps - 1]
        found.append(tf.stack([kind, *(tf.cast(number, tf.float64) for number in numbers), tasks]))
    return first_of(*found)


def _first_true(flags: tf.Tensor) -> tf.Tensor:
    """Returns the index of the first True in flags [size]; `size` if there is none."""
    count = tf.size(flags)
    return tf.minimum(tf.reduce_min(tf.where(flags, tf.range(count), count)), count)


def gradient_fault(gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    """Makes the fault of non-finite gradients, float64 [6]; losses may be finite, because ReLU turns NaN into 0."""
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients])
    fault = tf.constant([GRADIENT, 0, 0, 0, 0, 0], tf.float64)
    return tf.where(finite, tf.zeros_like(fault), fault)


def on_all_replicas(fault: tf.Tensor) -> tf.Tensor:
    """Returns the first fault of all replicas, the same on each of them."""
    if not several_replicas():
        return fault
    context = tf.distribute.get_replica_context()
    faults = tf.unstack(context.all_gather(fault[tf.newaxis], axis=0), num=context.num_replicas_in_sync)
    # One replica's non-finite loss makes the gradients of all replicas non-finite: report the loss.
    causes = [tf.where(fault[0] == GRADIENT, tf.zeros_like(fault), fault) for fault in faults]
    return first_of(*causes, *faults)


def error_of(fault: np.ndarray, iteration: int | None = None) -> Exception | None:
    """Converts a fault to an error.

    Args:
        fault: What `first_fault` returned, outside of the graph.
        iteration: Number of the training iteration that met it, or None.

    Returns:
        The error to raise, or None where there is no fault.
    """
    kind, task, place, received, expected, tasks = (float(number) for number in fault)
    where = "" if iteration is None else f" in iteration {iteration}"
    if kind == NOT_FINITE:
        return NonFiniteLossError(
            f"Expected finite losses. Received: a loss that is NaN or infinite{where} at [task, inner step] "
            f"[{int(task)}, {int(place)}] (step {int(expected)} is the query loss); "
            f"tasks with such a loss: {int(tasks)}. A smaller inner step size or learning rate may help"
        )
    if kind == GRADIENT:
        return NonFiniteLossError(
            f"Expected finite gradients of the outer loss. Received: NaN or infinity{where}, although the losses are "
            "finite; check the inputs for NaN, or try a smaller inner step size"
        )
    if kind == LABEL:
        return EpisodeError(
            f"Expected {SETS[int(place)]}_y to hold whole-number labels from 0 to {int(expected) - 1}, one for each "
            f"of the model's {int(expected)} outputs. Received: label {received:g} in task {int(task)}{where}"
        )
    if kind == TARGETS:
        return EpisodeError(
            f"Expected {SETS[int(place)]}_y with the shape of the model's outputs, of length {int(expected)} on one "
            f"axis. Received: length {int(received)} in task {int(task)}{where}; the loss would broadcast"
        )
    if kind == TASKS:
        return EpisodeError(
            "Expected support_x, support_y, query_x and query_y to have the same number of tasks. "
            f"Received: {int(expected)} and {int(received)} tasks{where}"
        )
    if kind == EXAMPLES:
        return EpisodeError(
            "Expected as many targets as inputs in the support set and in the query set, at least 1. "
            f"Received: {int(expected)} inputs and {int(received)} targets{where}"
        )
    if kind == INPUTS:
        return EpisodeError(
            f"Expected support_x and query_x with the shape of the model's input, of length {int(expected)} on one "
            f"axis. Received: length {int(received)}{where}"
        )
    return None


def raise_in_graph(fault: tf.Tensor) -> list[tf.Operation]:
    """Stops the computation at a fault, but not under XLA, which drops assertions.

    Args:
        fault: What `first_fault` returned.

    Returns:
        Assertions for `tf.control_dependencies`; empty when run eagerly.

    Raises:
        NonFiniteLossError: Eagerly, if a loss is not finite.
        EpisodeError: Eagerly, if labels or sizes do not match. In a graph the assertion raises
            `tf.errors.InvalidArgumentError`.
    """
    if tf.executing_eagerly():
        error = error_of(fault.numpy())
        if error is not None:
            raise error
        return []
    texts = {
        NOT_FINITE: "Expected finite losses. Received: a loss that is NaN or infinite, at [task, inner step, 0, step "
        "of the query loss, tasks with such a loss]:",
        GRADIENT: "Expected finite gradients of the outer loss. Received: NaN or infinity, although losses are finite:",
        LABEL: "Expected whole-number labels from 0, one for each of the model's outputs. Received [task, set "
        "(0 support, 1 query), label, outputs, 0]:",
        TARGETS: "Expected targets with the shape of the model's outputs. Received [task, set (0 support, 1 query), "
        "received length of an axis, expected length, 0]:",
        TASKS: "Expected support and query of the same number of tasks. Received [0, 0, tasks, expected tasks, 0]:",
        EXAMPLES: "Expected as many targets as inputs. Received [0, 0, targets, inputs, 0]:",
        INPUTS: "Expected inputs with the shape of the model's inputs. Received [0, 0, length of an axis, expected "
        "length, 0]:",
    }
    return [tf.debugging.Assert(fault[0] != kind, [text, fault[1:]], summarize=6) for kind, text in texts.items()]


class FaultRecord:
    """The first fault, recorded inside compiled code and read outside of it.

    A graph that changes nothing once `note` returns False leaves everything as it was before the fault.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.core.faults import FaultRecord, first_fault
    >>> record = FaultRecord()
    >>> losses = tf.constant([[1.0, 2.0], [float("nan"), 2.0]])
    >>> bool(record.note(first_fault(tf.zeros([2, 2, 3], tf.float64), losses)))
    False
    >>> record.require_none(iteration=7)
    Traceback (most recent call last):
    maml_tf.core.faults.NonFiniteLossError: Expected finite losses. Received: a loss that is NaN or infinite in \
iteration 7 at [task, inner step] [1, 0] (step 1 is the query loss); tasks with such a \
loss: 1. A smaller inner step size or learning rate may help
    """

    def __init__(self):
        # Floating, because XLA on a GPU cannot reach an int32 variable, which TensorFlow keeps on the CPU.
        self._record = tf.Variable(
            tf.zeros([6], tf.float64), trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
        )

    def note(self, fault: tf.Tensor) -> tf.Tensor:
        """Records a fault, unless there is an earlier one.

        Args:
            fault: What `first_fault` returned, the same on every replica.

        Returns:
            Whether there is no fault yet, a boolean scalar.
        """
        found = first_of(self._record.read_value(), fault)
        self._record.assign(found)
        return tf.equal(found[0], 0)

    def require_none(self, iteration: int | None = None) -> None:
        """Raises if a fault was recorded, and clears the record.

        Args:
            iteration: Number of the training iteration at which training stopped.

        Raises:
            NonFiniteLossError: If a loss was not finite.
            EpisodeError: If labels or sizes did not match.
        """
        error = error_of(tf.convert_to_tensor(self._record).numpy(), iteration)
        if error is not None:
            self._record.assign(tf.zeros([6], tf.float64))
            raise error


class FaultCheckedModel(keras.Model):
    """A Keras model whose steps record faults, and whose train step changes nothing once there is one.

    `fit`, `evaluate`, `train_on_batch` and `test_on_batch` then raise. A predict step returns
    `(outputs, faults [tasks, 2, 3])`; `predict` and `predict_on_batch` return the outputs, or raise.

    Args:
        **kwargs: Passed to `keras.Model`.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._faults = FaultRecord()
        # Evaluations accumulate in the model's metrics, which threads share.
        self._evaluating = threading.RLock()
        # Another thread may use a function that Keras made only after it is wrapped in checks.
        self._making = threading.RLock()

    def note(self, fault: tf.Tensor) -> tf.Tensor:
        """Records a fault of a train or test step; returns whether there is none yet."""
        return self._faults.note(on_all_replicas(fault))

    def update_if(self, sound: tf.Tensor, update: Callable[[], None]) -> None:
        """Runs the part of a train step that assigns variables, if there is no fault.

        Args:
            sound: Whether there is no fault, a boolean scalar, the same on every replica.
            update: Applies gradients and assigns everything else that the step changes.
        """
        if tf.get_static_value(sound):
            update()
            return
        if not tf.distribute.has_strategy():
            tf.cond(sound, lambda: (update(), tf.constant(True))[1], lambda: tf.constant(False))
            return
        # Replicas, even a single one, cannot synchronize inside a branch: they update, and then restore the old values.
        variables = [variable.value for variable in [*self.variables, *self.optimizer.variables]]
        before = [tf.identity(variable) for variable in variables]
        update()

        def take_back(strategy, sound, *before):
            def assign(variable, old, keep):
                return variable.assign(tf.where(keep, variable.read_value(), old))

            for variable, old in zip(variables, before, strict=True):
                strategy.extended.update(variable, assign, args=(old, sound))

        tf.distribute.get_replica_context().merge_call(take_back, args=(sound, *before))

    def require_no_fault(self, iteration: int | None = None) -> None:
        """Raises if a train or test step met a fault; for steps that are not compiled by Keras.

        Args:
            iteration: Number of the training iteration at which training stopped.

        Raises:
            NonFiniteLossError: With the iteration, the task and the step.
            EpisodeError: If labels or sizes did not match.
        """
        self._faults.require_none(iteration)

    def check_before_step(self) -> None:
        """Hook: raises if the model has changed in a way that a compiled step would not notice."""

    def check_arguments(self, x: Any, y: Any, inputs_alone: bool) -> None:
        """Hook: raises for arrays and data sets of wrong shapes, before Keras' compiled functions see them."""

    def make_train_function(self, force: bool = False) -> None:
        with self._making:
            if self.train_function is None or force:
                super().make_train_function(force)
                train = self.train_function
                self.train_function = self._checked(train, lambda: int(tf.convert_to_tensor(self.optimizer.iterations)))

    def make_test_function(self, force: bool = False) -> None:
        with self._making:
            if self.test_function is None or force:
                super().make_test_function(force)
                self.test_function = self._checked(self.test_function, lambda: None)

    def make_predict_function(self, force: bool = False) -> None:
        with self._making:
            if self.predict_function is None or force:
                super().make_predict_function(force)
                predict = self.predict_function

                def predict_and_check(data):
                    self.check_before_step()
                    outputs, faults = predict(data)
                    error = error_of(first_fault(faults).numpy())
                    if error is not None:
                        raise error
                    return outputs

                self.predict_function = predict_and_check

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        self.check_arguments(x, y, inputs_alone=False)
        return super().fit(x, y, *args, **kwargs)

    def train_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        self.check_arguments(x, y, inputs_alone=False)
        return super().train_on_batch(x, y, *args, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        self.check_arguments(x, y, inputs_alone=False)
        with self._evaluating:
            return super().evaluate(x, y, *args, **kwargs)

    def test_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        self.check_arguments(x, y, inputs_alone=False)
        with self._evaluating:
            return super().test_on_batch(x, y, *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        self.check_arguments(x, None, inputs_alone=True)
        return super().predict(x, *args, **kwargs)

    def predict_on_batch(self, x: Any) -> Any:
        self.check_arguments(x, None, inputs_alone=True)
        return super().predict_on_batch(x)

    def _checked(self, function: Callable[[Any], Any], iteration: Callable[[], int | None]) -> Callable[[Any], Any]:
        def run_and_check(iterator):
            self.check_before_step()
            logs = function(iterator)
            try:
                self.require_no_fault(iteration())
            except (NonFiniteLossError, EpisodeError):
                self.reset_metrics()  # They include the step at fault.
                raise
            return logs

        return run_and_check
