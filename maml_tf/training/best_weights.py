"""The weights with the best validation metric so far."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class BestWeights(keras.callbacks.Callback):
    """Keeps a copy of the model's weights from the epoch with the best value of a metric.

    The copy lives in variables: give `state` to `AtomicCheckpoint`, after this callback in the list, and a
    resumed training keeps it. Epochs whose logs lack the metric (validation every few epochs) are passed
    over, and a value that is not a number never is the best. Weights that another loop evaluates are offered
    through `offer`.

    Args:
        model: The model to copy from, built; with `InGraphTraining` it is the model within.
        monitor: Name of the metric in the logs, such as "val_loss".
        iterations_per_epoch: Iterations of an epoch.
        mode: "min" if less is better, "max" if more is.

    Attributes:
        state: The copy, its value and its iteration, to be checkpointed.
    """

    def __init__(self, model: keras.Model, monitor: str, iterations_per_epoch: int, *, mode: str = "min"):
        super().__init__()
        if mode not in ("min", "max"):
            raise ValueError(f'Expected mode to be "min" or "max". Received: mode={mode!r}')
        if not model.built:
            raise ValueError(f"Expected a built model. Received: {model.name!r} with built=False")
        self.copied_model = model
        self.monitor = monitor
        self.iterations_per_epoch = iterations_per_epoch
        self.mode = mode
        self.state = tf.Module()
        self.state.value = tf.Variable(float("inf") if mode == "min" else float("-inf"), dtype=tf.float64)
        self.state.iteration = tf.Variable(-1, dtype=tf.int64)
        self.state.weights = [tf.Variable(weight.value, trainable=False) for weight in model.weights]

    @property
    def value(self) -> float:
        """The best value of the metric; infinite (of the bad sign) before the first."""
        return float(self.state.value)

    @property
    def iteration(self) -> int | None:
        """The number of iterations done when the best weights were seen; None before the first."""
        return int(self.state.iteration) if int(self.state.iteration) >= 0 else None

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
            ValueError: If the metric has not been seen.
        """
        if self.iteration is None:
            raise ValueError(f"Expected a finite {self.monitor} of an earlier epoch. Received: none so far")
        for kept, weight in zip(self.state.weights, self.copied_model.weights, strict=True):
            weight.assign(kept)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs and self.monitor in logs:
            self.offer(float(logs[self.monitor]), (epoch + 1) * self.iterations_per_epoch)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if logs and self.monitor not in logs and self.iteration is None:
            raise ValueError(f"Expected the metric {self.monitor!r} in the logs. Received: {sorted(logs)}")
