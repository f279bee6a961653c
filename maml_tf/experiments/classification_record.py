"""The record of a classification training: its validations, its best weights and its wall-clock time."""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

import keras

from maml_tf.results import TRAINING_RECORD
from maml_tf.training import BestWeights, TimedParts, read_json, write_atomically


class TrainingRecord(keras.callbacks.Callback):
    """Keeps training.json up to date, at every validation and at the end; a resumed training adds its part.

    Put it after the callbacks that validate and choose the best weights.

    Args:
        directory: Of the training.
        best: What chooses the best weights.
        metric: Name of the metric that is recorded after every inner step.
        steps: Number of inner steps.
        iterations_per_epoch: Iterations of an epoch.
        first: The iterations done before: what was recorded of later ones is forgotten.
        clock: Seconds, increasing.

    Attributes:
        content: What the file holds.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        best: BestWeights,
        *,
        metric: str,
        steps: int,
        iterations_per_epoch: int,
        first: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ):
        super().__init__()
        self.path = directory / TRAINING_RECORD
        self.best = best
        self.names = [f"val_{metric}_step_{step}" for step in range(steps + 1)]
        self.iterations_per_epoch = iterations_per_epoch
        before = read_json(self.path) if first and self.path.exists() else {"parts": [], "validation": []}
        self._validation = [one for one in before["validation"] if one["iteration"] <= first]
        self._timed = TimedParts(before["parts"], first, clock)
        self.content: dict[str, Any] = before

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._timed.start()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        iteration = (epoch + 1) * self.iterations_per_epoch
        self._timed.reach(iteration)
        if logs and self.names[-1] in logs:
            accuracy = [round(float(logs[name]), 6) for name in self.names]
            self._validation.append({"iteration": iteration, "accuracy": accuracy})
            self._write()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._write()

    def _write(self) -> None:
        self.content = {
            "best_iteration": self.best.iteration,
            "best_validation_accuracy": self.best.value,
            "seconds": self._timed.seconds,
            "parts": self._timed.parts,
            "validation": self._validation,
        }
        write_atomically(self.path, json.dumps(self.content) + "\n")
