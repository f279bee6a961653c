"""What becomes of a loss that is not finite: an error that names the task and the step."""

from __future__ import annotations

import re
from collections.abc import Callable

import keras
import tensorflow as tf


class NonFiniteLossError(tf.errors.InvalidArgumentError, ValueError):
    """A loss is NaN or infinite.

    Args:
        message: What was expected and received.
    """

    def __init__(self, message: str):
        super().__init__(None, None, message)


def require_finite(losses: tf.Tensor) -> list[tf.Operation]:
    """Stops the computation where a loss is not finite (not inside XLA, which drops assertions).

    Args:
        losses: [tasks, steps + 1]: the loss before each inner step, then the query loss.

    Returns:
        The assertion, for `tf.control_dependencies`; empty when run eagerly.

    Raises:
        NonFiniteLossError: If a loss is NaN or infinite, at once when run eagerly. In a graph the assertion raises
            `tf.errors.InvalidArgumentError`, the class above it.
    """
    wrong = tf.where(~tf.math.is_finite(losses))
    message = (
        "Expected finite losses. Received: a loss that is NaN or infinite at these [task, inner step], the last "
        f"step being the query loss ({losses.shape[1] - 1} here):"
    )
    if not tf.executing_eagerly():
        return [tf.debugging.Assert(tf.equal(tf.size(wrong), 0), [message, wrong], summarize=20)]
    if tf.size(wrong) > 0:
        raise NonFiniteLossError(f"{message} {wrong.numpy().tolist()}")
    return []


class NonFiniteRecord:
    """The first loss that was not finite, written down inside compiled code and read outside of it.

    For code under XLA, which drops assertions: `note` runs in it, `require_none` after each call. A graph that does
    nothing more once `note` returns False leaves everything as it was before the loss at fault.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.core.finite_losses import NonFiniteRecord
    >>> record = NonFiniteRecord()
    >>> note = tf.function(record.note, jit_compile=True)
    >>> bool(note(tf.constant([[1.0, 2.0], [float("nan"), 2.0]])))
    False
    >>> record.require_none(iteration=7)
    Traceback (most recent call last):
    maml_tf.core.finite_losses.NonFiniteLossError: Expected finite losses. Received: a loss that is NaN or infinite \
in iteration 7 at [task, inner step] [1, 0], the last step being the query loss (1 here); 1 of 2 tasks have such losses
    """

    def __init__(self):
        # int64, because XLA on a GPU cannot reach an int32 variable, which TensorFlow keeps on the CPU.
        self._record = tf.Variable(tf.zeros([5], tf.int64), trainable=False)

    def note(self, losses: tf.Tensor) -> tf.Tensor:
        """Writes down the first loss that is not finite, unless one is already.

        Args:
            losses: [tasks, steps + 1]: the loss before each inner step, then the query loss.

        Returns:
            Whether all losses noted so far are finite, a boolean scalar.
        """
        wrong = ~tf.math.is_finite(losses)
        tasks, steps = tf.unstack(tf.shape(losses, tf.int64))
        wrong_tasks = tf.reduce_sum(tf.cast(tf.reduce_any(wrong, axis=1), tf.int64))
        first = tf.argmax(tf.cast(tf.reshape(wrong, [-1]), tf.int8))
        found = tf.stack([wrong_tasks, first // steps, first % steps, steps - 1, tasks])
        before = self._record.read_value()
        after = tf.where(before[0] > 0, before, found)
        self._record.assign(after)
        return tf.equal(after[0], 0)

    def require_none(self, iteration: int) -> None:
        """Raises if a loss was written down, and clears the record.

        Args:
            iteration: Number of the training iteration at which training stopped.

        Raises:
            NonFiniteLossError: With the iteration, the task and the step.
        """
        wrong_tasks, task, step, query, tasks = self._record.numpy().tolist()
        if wrong_tasks:
            self._record.assign(tf.zeros([5], tf.int64))
            raise NonFiniteLossError(
                f"Expected finite losses. Received: a loss that is NaN or infinite in iteration {iteration} at "
                f"[task, inner step] [{task}, {step}], the last step being the query loss ({query} here); "
                f"{wrong_tasks} of {tasks} tasks have such losses"
            )


class FiniteTraining(keras.Model):
    """A Keras model whose train step changes nothing once a loss is not finite, under XLA too.

    `fit` and `train_on_batch` then raise; so does `require_finite_training`, for train steps compiled otherwise.

    Args:
        **kwargs: Passed to `keras.Model`.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._non_finite = NonFiniteRecord()

    def update_if_finite(self, losses: tf.Tensor, update: Callable[[], None]) -> None:
        """Runs the part of a train step that assigns variables, if this and all earlier losses are finite.

        Args:
            losses: [tasks, steps + 1]: the loss before each inner step, then the query loss.
            update: Applies gradients and assigns what else the step changes.
        """

        def run():
            update()
            return tf.constant(True)

        if self.jit_compile:
            tf.cond(self._non_finite.note(losses), run, lambda: tf.constant(False))
        else:
            # Such as the optimizer's count of iterations, which does not depend on the gradients.
            with tf.control_dependencies(require_finite(losses)):
                update()

    def require_finite_training(self) -> None:
        """Raises if a train step met a loss that is not finite and XLA dropped the assertion.

        Raises:
            NonFiniteLossError: With the iteration, the task and the step.
        """
        if self.jit_compile:
            self._non_finite.require_none(int(self.optimizer.iterations))

    def make_train_function(self, force: bool = False) -> None:
        """Compiles the train step, as Keras does, and has each call of it checked.

        Args:
            force: Whether to compile it again.
        """
        if self.train_function is not None and not force:
            return
        super().make_train_function(force)
        train = self.train_function

        def train_and_check(iterator):
            try:
                logs = train(iterator)
                self.require_finite_training()
            except tf.errors.InvalidArgumentError as error:
                self.reset_metrics()  # They may have taken in the loss at fault.
                sentence = _sentence_of_assertion(error.message)
                if sentence is None:
                    raise
                raise NonFiniteLossError(sentence) from None
            return logs

        self.train_function = train_and_check


def _sentence_of_assertion(message: str) -> str | None:
    """Extracts what `require_finite` asserts from the message of an error, which may hold the graph's stack too."""
    assertion = re.search(r"Expected finite losses\..*?(?=\[\[\{\{node|\Z)", message, re.DOTALL)
    return " ".join(assertion[0].replace("here):]", "here):").split()) if assertion else None
