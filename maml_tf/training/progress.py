"""A line of progress every few seconds, counted in iterations."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np


class Progress(keras.callbacks.Callback):
    """Writes the iteration, the speed, the time left and the metrics, at most once in so many seconds.

    Args:
        total_iterations: Iterations of the whole training, earlier parts of a resumed one included.
        iterations_per_epoch: Iterations of an epoch of `fit`.
        every_seconds: Least time between two lines; the last iteration is always written.
        metrics: Names of the metrics to show, by default all.
        write: Receives each line, without its line end; by default it goes to stderr.
        clock: Seconds, increasing.
    """

    def __init__(
        self,
        total_iterations: int,
        iterations_per_epoch: int,
        *,
        every_seconds: float = 5.0,
        metrics: Sequence[str] | None = None,
        write: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        super().__init__()
        self.total_iterations = total_iterations
        self.iterations_per_epoch = iterations_per_epoch
        self.every_seconds = every_seconds
        self.shown_metrics = metrics
        self.write = write or _write_to_stderr
        self.clock = clock
        self._epoch = 0
        self._mark: tuple[int, float] | None = None
        self._written_at = 0.0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._mark = None
        self._written_at = self.clock()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch
        if self._mark is None:
            self._mark = (epoch * self.iterations_per_epoch, self.clock())

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        steps = (self.params or {}).get("steps")
        # The last batch of an epoch is left to on_epoch_end, whose metrics include those of validation.
        if steps and batch + 1 < steps and self.clock() - self._written_at >= self.every_seconds:
            done = self._epoch * self.iterations_per_epoch + (batch + 1) * self.iterations_per_epoch // steps
            self._write_line(done, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        done = (epoch + 1) * self.iterations_per_epoch
        if done >= self.total_iterations or self.clock() - self._written_at >= self.every_seconds:
            self._write_line(done, logs)

    def _write_line(self, done: int, logs: dict[str, Any] | None) -> None:
        now = self.clock()
        done_before, then = self._mark
        # The speed is of the iterations since the last line: the first ones waited for the compiler.
        speed = (done - done_before) / max(now - then, 1e-9)
        left = max(self.total_iterations - done, 0) / speed if speed else float("inf")
        self._mark, self._written_at = (done, now), now
        shown = {
            name: value
            for name, value in (logs or {}).items()
            if self.shown_metrics is None or name in self.shown_metrics
        }
        parts = [
            f"iteration {done:,} of {self.total_iterations:,}",
            format_speed(speed),
            f"{format_duration(left)} left",
            # A metric may be a number for each class.
            *(" ".join([name, *(f"{number:.4g}" for number in np.ravel(value))]) for name, value in shown.items()),
        ]
        self.write("  ".join(parts))


def format_speed(speed: float) -> str:
    """Formats a speed as `200 iterations/s`, or where that is below 1 as `26.1 s an iteration`.

    Args:
        speed: Iterations a second.

    Returns:
        The text.

    Example:
    >>> from maml_tf.training.progress import format_speed
    >>> format_speed(12.34), format_speed(0.04)
    ('12.3 iterations/s', '25.0 s an iteration')
    """
    if 0 < speed < 1:
        return f"{1 / speed:,.1f} s an iteration"
    return f"{speed:,.1f} iterations/s" if speed < 100 else f"{speed:,.0f} iterations/s"


def format_duration(seconds: float) -> str:
    """Formats a duration as `12 s`, `3 min 20 s` or `2 h 05 min`.

    Args:
        seconds: The duration; it may be infinite.

    Returns:
        The text.

    Example:
    >>> from maml_tf.training.progress import format_duration
    >>> format_duration(200.2)
    '3 min 20 s'
    """
    if seconds == float("inf"):
        return "unknown time"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _write_to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
