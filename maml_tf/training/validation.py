"""Validation of a learner while it trains, by adapting it to validation tasks, and the weights that did best."""

from __future__ import annotations

import json
import math
import os
import pathlib
from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

from maml_tf.checks import choice, whole_number
from maml_tf.evaluation import Evaluator
from maml_tf.files import write_atomically
from maml_tf.results import VALIDATION
from maml_tf.training.iterations import Iterations, Place


class AdaptationValidation(keras.callbacks.Callback):
    """Adapts the learner to validation tasks every few epochs and adds the outcome to the epoch's logs.

    The logs gain `val_<metric>_step_<i>` for each step asked for and `val_<metric>`, the mean over the steps from
    1 to `steps`: a learner that diverges at any of them is not the best. Where the evaluator has a threshold of
    divergence, a few diverged tasks can own these means: `val_<metric>_median_step_<i>` is the median over the tasks,
    and `val_<metric>_diverged_share` the share of tasks that crossed the threshold at any step.

    Args:
        evaluator: Evaluator of the learner in training.
        episodes: Meta-batches of validation tasks, held in memory and used each time.
        steps: Number of inner steps, at least 1.
        every_epochs: Validate after so many epochs.
        shown_steps: Steps that get an entry of their own.

    Raises:
        ValueError: If a number is below 1.
    """

    place = Place.VALIDATE

    def __init__(
        self,
        evaluator: Evaluator,
        episodes: list[Any],
        steps: int,
        *,
        every_epochs: int = 1,
        shown_steps: Iterable[int] = (1,),
    ):
        super().__init__()
        self.evaluator = evaluator
        self.episodes = episodes
        self.steps = whole_number("steps", steps, minimum=1)
        self.every_epochs = whole_number("every_epochs", every_epochs, minimum=1)
        self.shown_steps = tuple(step for step in shown_steps if step <= steps)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is None or (epoch + 1) % self.every_epochs:
            return
        evaluation = self.evaluator(self.episodes, self.steps)
        for metric, values in evaluation.values.items():
            logs[f"val_{metric}"] = float(values[1:].mean())
            for step in self.shown_steps:
                logs[f"val_{metric}_step_{step}"] = float(values[step].mean())
            if math.isfinite(evaluation.divergence):
                for step in self.shown_steps:
                    logs[f"val_{metric}_median_step_{step}"] = evaluation.summary(metric, step).median
                logs[f"val_{metric}_diverged_share"] = evaluation.diverged(metric) / values.shape[1]


class BestWeights(keras.callbacks.Callback):
    """Keeps a copy of the model's weights from the epoch with the best value of a metric.

    The copy lives in variables: give `state` to `AtomicCheckpoint`, and a resumed training keeps it. Epochs whose
    logs lack the metric (validation every few epochs) are passed over, and NaN is never the best. A loop of your own
    offers weights through `offer`.

    Args:
        model: The model to copy from, built; with `InGraphTraining` it is the model within.
        monitor: Name of the metric in the logs, such as "val_loss".
        iterations: The counter of the training.
        mode: "min" if less is better, "max" if more is.

    Attributes:
        state: The copy, its value and its iteration, to be checkpointed.
    """

    place = Place.KEEP_BEST

    def __init__(self, model: keras.Model, monitor: str, iterations: Iterations, *, mode: str = "min"):
        super().__init__()
        if not model.built:
            raise ValueError(f"Expected a built model. Received: {model.name!r} with built=False")
        self.copied_model = model
        self.monitor = monitor
        self.iterations = iterations
        self.mode = choice("mode", mode, ("min", "max"))
        self._seen: dict[str, Any] = {}
        self.state = tf.Module()
        self.state.value = tf.Variable(float("inf") if mode == "min" else float("-inf"), dtype=tf.float64)
        self.state.iteration = tf.Variable(-1, dtype=tf.int64)
        self.state.weights = [tf.Variable(weight.value, trainable=False) for weight in model.weights]

    @property
    def value(self) -> float:
        """The best value of the metric; infinite (of the bad sign) before the first."""
        return float(self.state.value.numpy())

    @property
    def iteration(self) -> int | None:
        """The number of iterations done when the best weights were seen; None before the first."""
        return iteration if (iteration := int(self.state.iteration.numpy())) >= 0 else None

    def offer(self, value: float, iteration: int) -> bool:
        """Keeps the model's current weights if `value` is the best so far.

        Args:
            value: The metric of the current weights.
            iteration: Iterations done.

        Returns:
            Whether it was.
        """
        better = value < self.value if self.mode == "min" else value > self.value
        if better:
            self.state.value.assign(value)
            self.state.iteration.assign(iteration)
            for kept, weight in zip(self.state.weights, self.copied_model.weights, strict=True):
                kept.assign(weight.value)
        return bool(better)

    def apply(self) -> None:
        """Sets the model's weights to the best ones.

        Raises:
            ValueError: If no epoch had a finite value of the metric.
        """
        if self.iteration is None:
            last = self._seen.get(self.monitor, f"none, but {sorted(self._seen)}")
            raise ValueError(f"Expected a finite {self.monitor} after an epoch. Received: {last}")
        for kept, weight in zip(self.state.weights, self.copied_model.weights, strict=True):
            weight.assign(kept)

    def write(self, directory: str | os.PathLike[str]) -> None:
        """Writes validation.json: the metric, whether less or more of it is better, its best value and the iteration.

        Args:
            directory: Of the training.
        """
        best = {"metric": self.monitor, "mode": self.mode, "value": self.value, "iteration": self.iteration}
        write_atomically(pathlib.Path(directory, VALIDATION), json.dumps(best) + "\n")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._seen.update(logs or {})
        if logs and self.monitor in logs:
            self.offer(float(logs[self.monitor]), self.iterations.done)
