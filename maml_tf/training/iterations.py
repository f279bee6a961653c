"""The counter of a training's iterations, and the order of the callbacks that read it."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from maml_tf import distribute, stopping
from maml_tf.checks import whole_number


class Place(enum.IntEnum):
    """Where callbacks of a training stand: what each reads in the logs, or saves, comes from those before it."""

    COUNT = enum.auto()
    CHECK = enum.auto()
    VALIDATE = enum.auto()
    KEEP_BEST = enum.auto()
    OTHER = enum.auto()
    SAVE = enum.auto()
    SHOW = enum.auto()


class Iterations(keras.callbacks.Callback):
    """Counts the iterations of a training in one variable: checkpoints hold it, and the other callbacks read it.

    Args:
        total: Iterations of the whole training, those before a resume included.
        per_epoch: Iterations of an epoch of `fit`.
        per_batch: Iterations of a batch of `fit`; `InGraphTraining` runs many in one.

    Attributes:
        variable: The iterations done, an int64 scalar.

    Raises:
        ValueError: If a number is below 1, or `total` is not a multiple of `per_epoch`, or that of `per_batch`.

    Example:
    >>> import keras
    >>> import tensorflow as tf
    >>> from maml_tf.training import Iterations
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", loss="mse")
    >>> iterations = Iterations(total=20, per_epoch=10)
    >>> data = tf.data.Dataset.from_tensors((tf.ones([4, 1]), tf.ones([4, 1]))).repeat()
    >>> history = iterations.fit(model, data)
    >>> iterations.done
    20
    """

    place = Place.COUNT

    def __init__(self, total: int, per_epoch: int = 1, per_batch: int = 1):
        super().__init__()
        self.total = whole_number("total", total, minimum=1)
        self.per_epoch = whole_number("per_epoch", per_epoch, minimum=1)
        self.per_batch = whole_number("per_batch", per_batch, minimum=1)
        if total % per_epoch or per_epoch % per_batch:
            raise ValueError(
                "Expected the iterations of a training to be a multiple of those of an epoch, and these of those of a "
                f"batch. Received: total={total}, per_epoch={per_epoch}, per_batch={per_batch}"
            )
        with tf.device("CPU:0"):
            self.variable = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._before_epoch = 0

    @property
    def done(self) -> int:
        """The iterations done."""
        return int(self.variable.numpy())

    def fit(
        self, model: keras.Model, data: Any, callbacks: Iterable[keras.callbacks.Callback] = (), **fit_arguments: Any
    ) -> keras.callbacks.History:
        """Trains a compiled model from the iterations done to `total`, unless metrics of training are not finite.

        A signal under `maml_tf.stopping.stop_on_signals` stops it after the running batch; a resume finishes
        the epoch that was stopped.

        Args:
            model: The model.
            data: What `fit` takes, from the iteration `done` on.
            callbacks: In any order.
            **fit_arguments: Passed to `fit`, such as validation_data.

        Returns:
            Keras' History.

        Raises:
            ValueError: If a metric of training is NaN or infinite at the end of an epoch, or `steps_per_execution` does
                not divide what is left of an epoch.
        """
        if self.done >= self.total:
            return keras.callbacks.History()
        if self.done % self.per_batch:
            raise ValueError(
                f"Expected the iterations done to be a multiple of those of a batch. "
                f"Received: {self.done} done, per_batch={self.per_batch}"
            )
        left = (self.per_epoch - self.done % self.per_epoch) // self.per_batch
        if left % model.steps_per_execution:
            raise ValueError(
                f"Expected steps_per_execution to divide the {left} batches left of the epoch. "
                f"Received: steps_per_execution={model.steps_per_execution}"
            )
        # `InGraphTraining`, whose data are numbers of iterations, has all its metrics.
        if self.done % self.per_epoch and tf.nest.is_nested(getattr(data, "element_spec", None)):
            # Traced, not run: a checkpoint restores metrics into variables that Keras creates in its first step.
            def first_step(batch):
                tf.distribute.get_strategy().run(model.test_step, (batch,))

            tf.function(first_step, autograph=False).get_concrete_function(data.element_spec)
        with stopping.finishing_steps():
            return model.fit(
                data,
                epochs=self.total // self.per_epoch,
                initial_epoch=self.done // self.per_epoch,
                steps_per_epoch=self.per_epoch // self.per_batch,
                callbacks=in_order([self, TerminateOnNonFinite(self), *callbacks]),
                **{"verbose": 0, "shuffle": False, **fit_arguments},
            )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._before_epoch = self.done

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        done = self._before_epoch + (batch + 1) * self.per_batch
        self.variable.assign(done)
        if done % self.per_epoch == 0 and self._before_epoch % self.per_epoch:
            self.model.stop_training = True  # Keras would give the rest of an epoch as many batches as a whole one.

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._before_epoch % self.per_epoch:
            self.model.stop_training = False


class TerminateOnNonFinite(keras.callbacks.Callback):
    """Raises at the end of an epoch whose loss, or another metric, is NaN or infinite, before it is saved.

    Metrics of validation (`val_...`) are not looked at: a task that diverges there leaves the training sound.

    Args:
        iterations: The counter of the training, to name those at fault.
    """

    place = Place.CHECK

    def __init__(self, iterations: Iterations):
        super().__init__()
        self.iterations = iterations

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for name, value in (logs or {}).items():
            if not name.startswith("val_") and not np.all(np.isfinite(value)):
                last = self.iterations.done - 1
                first = last // self.iterations.per_epoch * self.iterations.per_epoch
                raise ValueError(
                    f"Expected finite training metrics; the training has diverged in one of the iterations "
                    f"{first} to {last}. A smaller learning rate, or clipped gradients, may help. "
                    f"Received: {name}={value}"
                )


def in_order(callbacks: Iterable[keras.callbacks.Callback]) -> list[keras.callbacks.Callback]:
    """Puts callbacks in the order of their `place`, and adds the one that stops on a signal.

    A loop of your own gives the list to a `keras.callbacks.CallbackList`.

    Args:
        callbacks: In any order; those of one place keep theirs. One without a place, such as your own, is run before
            those that save and show; Keras' TensorBoard shows.

    Returns:
        The callbacks.
    """

    def place(callback):
        shows = isinstance(callback, keras.callbacks.TensorBoard)
        return getattr(callback, "place", Place.SHOW if shows else Place.OTHER)

    ordered = sorted(callbacks, key=place)
    return [*ordered, _StopWhenAsked(ordered)]


class _StopWhenAsked(keras.callbacks.Callback):
    """Ends the training, as its callbacks see it, after the batch or epoch in which a signal asked a worker to stop."""

    def __init__(self, others: list[keras.callbacks.Callback]):
        super().__init__()
        self._others = others
        self._iterations = next((one for one in others if isinstance(one, Iterations)), None)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        # The end of an epoch is left to its validation.
        if self._iterations and self._iterations.done % self._iterations.per_epoch:
            self._stop_if_asked()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        # All workers stop after the same step, though their signals come one after the other, or to one of them alone.
        if signal := distribute.agreed(stopping.asked()):
            for callback in self._others:
                callback.on_train_end()
            stopping.stop(signal)
