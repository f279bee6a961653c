"""Diagnosis of a learner while it trains."""

from __future__ import annotations

import os
from typing import Any

import keras
import tensorflow as tf

from maml_tf.checks import whole_number
from maml_tf.doctor.diagnosis import Diagnosis, Doctor
from maml_tf.training.iterations import Place


class AdaptationDiagnosis(keras.callbacks.Callback):
    """Diagnoses the learner every few epochs, and writes what it finds for TensorBoard.

    The epoch's logs gain `diagnosis_verdicts`, the number of faults found.

    Args:
        doctor: Doctor of the learner in training.
        episodes: Meta-batches of tasks, held in memory and used each time.
        every_epochs: Diagnose after so many epochs.
        logdir: Folder for TensorBoard's scalars and tables, or None.

    Attributes:
        diagnosis: The last `maml_tf.Diagnosis`, or None.

    Raises:
        ValueError: If `every_epochs` is below 1.

    Example:
    >>> import keras
    >>> import maml_tf
    >>> from maml_tf.training import AdaptationDiagnosis
    >>> learner = maml_tf.MAML(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]), "mse", 1e-4)
    >>> learner.compile("adam")
    >>> x = keras.random.normal((8, 5, 2), seed=0)  # 8 tasks of 5 examples
    >>> y = keras.ops.sum(x, axis=2, keepdims=True)
    >>> data = (x[:, :3], y[:, :3], x[:, 3:]), y[:, 3:]
    >>> doctor = AdaptationDiagnosis(maml_tf.Doctor(learner), [data])
    >>> history = learner.fit(*data, batch_size=8, callbacks=[doctor], verbose=0)
    >>> doctor.diagnosis.names
    ['step_too_small']
    """

    place = Place.VALIDATE

    def __init__(
        self,
        doctor: Doctor,
        episodes: list[Any],
        *,
        every_epochs: int = 1,
        logdir: str | os.PathLike[str] | None = None,
    ):
        super().__init__()
        self.doctor = doctor
        self.episodes = episodes
        self.every_epochs = whole_number("every_epochs", every_epochs, minimum=1)
        self.diagnosis: Diagnosis | None = None
        self._writer = None if logdir is None else tf.summary.create_file_writer(os.fspath(logdir))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if (epoch + 1) % self.every_epochs:
            return
        self.diagnosis = self.doctor(self.episodes)
        if logs is not None:
            logs["diagnosis_verdicts"] = len(self.diagnosis.verdicts)
        if self._writer is not None:
            with self._writer.as_default():
                self.diagnosis.summarize(int(tf.convert_to_tensor(self.doctor.learner.optimizer.iterations)))
            self._writer.flush()
