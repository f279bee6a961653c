"""Validation of a learner by adapting it to validation tasks, while it trains."""

from __future__ import annotations

import math
from typing import Any

import keras

from maml_tf.evaluation import Evaluator


class AdaptationValidation(keras.callbacks.Callback):
    """Adapts the learner to validation tasks every few epochs and adds the outcome to the epoch's logs.

    The logs gain `val_<metric>_step_<i>` for each step asked for and `val_<metric>`, the mean over the steps from
    1 to `steps`: a learner that diverges at any of them is not the best. Where the evaluator has a threshold of
    divergence, `val_<metric>_diverged` says how many tasks crossed it. Put it before the callbacks that read it.

    Args:
        evaluator: Evaluator of the learner in training.
        episodes: Meta-batches of validation tasks, held in memory and used each time.
        steps: Number of inner steps, at least 1.
        every_epochs: Validate after so many epochs.
        shown_steps: Steps that get an entry of their own.

    Raises:
        ValueError: If a number is below 1.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        episodes: list[Any],
        steps: int,
        *,
        every_epochs: int = 1,
        shown_steps: tuple[int, ...] = (1,),
    ):
        super().__init__()
        if steps < 1 or every_epochs < 1:
            raise ValueError(
                f"Expected steps and every_epochs of at least 1. Received: steps={steps}, every_epochs={every_epochs}"
            )
        self.evaluator = evaluator
        self.episodes = episodes
        self.steps = steps
        self.every_epochs = every_epochs
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
                logs[f"val_{metric}_diverged"] = float(evaluation.diverged(metric))
