"""The share of a training's time that it waits for data."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


class DataWait(keras.callbacks.Callback):
    """Measures how long `fit` waits for the elements of a data set, and adds it to each epoch's logs.

    The logs gain `data_wait`, the seconds waited divided by the seconds trained, between 0 and 1: Keras'
    TensorBoard callback and `Progress` show it if they come later in the list. Validation is not counted if it is
    Keras' own or a callback's that comes later.

    Args:
        clock: Seconds, increasing.

    Attributes:
        share: That of the last epoch; None before its end.

    Example:
    >>> import keras
    >>> import tensorflow as tf
    >>> from maml_tf.training import DataWait
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> wait = DataWait()
    >>> data = wait.watch(tf.data.Dataset.from_tensors((tf.ones([2, 1]), tf.ones([2, 1]))).repeat(20))
    >>> history = model.fit(data, verbose=0, shuffle=False, callbacks=[wait])
    >>> 0 <= history.history["data_wait"][0] <= 1
    True
    """

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter):
        super().__init__()
        self.clock = clock
        self.share: float | None = None
        with tf.device("CPU:0"):
            self._waited = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self._began = 0.0
        self._trained: float | None = None

    def watch(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Returns the data set with its waiting times measured.

        Args:
            dataset: Any; let its last transformation be `prefetch`.

        Returns:
            The same elements, to give to `fit`.
        """
        # Keras asks for an element inside its compiled step, where no callback looks. A zip asks its parts one
        # after the other, so clocks on both sides of the data set enclose the time it takes to answer.
        now = tf.data.Dataset.counter().map(lambda _: tf.timestamp())
        watched = tf.data.Dataset.zip((now, dataset, now)).map(self._note)
        options = tf.data.Options()
        # A prefetch put behind the clocks would measure how long that one waits.
        options.experimental_optimization.inject_prefetch = False
        return watched.with_options(options)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._waited.assign(0.0)
        self._began, self._trained = self.clock(), None

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._end_training()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._end_training()
        self.share = min(float(self._waited) / max(self._trained, 1e-9), 1.0)
        if logs is not None:
            logs["data_wait"] = self.share

    def _end_training(self) -> None:
        if self._trained is None:
            self._trained = self.clock() - self._began

    def _note(self, before: tf.Tensor, element: Any, after: tf.Tensor) -> Any:
        self._waited.assign_add(after - before)
        return element
