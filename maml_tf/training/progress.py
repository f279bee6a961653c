"""The progress of a training as it is shown, and the record of its wall time."""

from __future__ import annotations

import collections
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from maml_tf import distribute
from maml_tf.files import read_json, write_atomically
from maml_tf.training.iterations import Iterations, Place

_WALL_TIME = "wall_time.json"
_BAR_SECONDS = 0.2


class Progress(keras.callbacks.Callback):
    """Shows the iteration, the speed, the time left and the metrics: a bar on a terminal, elsewhere lines.

    The speed is that of the last seconds in which batches were trained: it leaves out the first batch, which waits for
    the compiler, validation and checkpoints. The time left does not leave out the last two.

    Args:
        iterations: The counter of the training.
        every_seconds: Least time between two lines; the last iteration is always written.
        metrics: Names of the metrics to show, by default all.
        write: Receives each line, without its line end; by default a terminal gets a bar and what else stderr is gets
            lines.
        clock: Seconds, increasing.
    """

    place = Place.SHOW

    def __init__(
        self,
        iterations: Iterations,
        *,
        every_seconds: float = 5.0,
        metrics: Sequence[str] | None = None,
        write: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        super().__init__()
        self.iterations = iterations
        self.every_seconds = every_seconds
        self.shown_metrics = metrics
        self.write = write
        self.clock = clock
        self._batches = BatchClock(clock)
        self._written_at = 0.0
        self._bar: Any = None
        self._in_bar: dict[str, Any] = {}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._batches.start()
        self._written_at = self.clock()
        if self.write is None and sys.stderr.isatty() and distribute.this_worker().is_chief:
            self._bar = _make_bar(self.iterations.done, self.iterations.total)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._batches.begin()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        done = self.iterations.done
        self._batches.end(done)
        # The last batch of an epoch is left to on_epoch_end, whose metrics include those of validation.
        if self._is_due() and done % self.iterations.per_epoch:
            self._show(logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._is_due() or self.iterations.done >= self.iterations.total:
            self._show(logs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _is_due(self) -> bool:
        return self.clock() - self._written_at >= (self.every_seconds if self._bar is None else _BAR_SECONDS)

    def _show(self, logs: dict[str, Any] | None) -> None:
        self._written_at = self.clock()
        done, total = self.iterations.done, self.iterations.total
        speed, left = self._batches.speed, self._batches.left(total - done)
        shown = {
            name: value
            for name, value in (logs or {}).items()
            if self.shown_metrics is None or name in self.shown_metrics
        }
        if self._bar is not None and done < total:
            shown = self._in_bar = self._in_bar | shown  # Validation comes seldom, and stays.
        # A metric may be a number for each class.
        metrics = [" ".join([name, *(f"{number:.4g}" for number in np.ravel(value))]) for name, value in shown.items()]
        times = [] if speed is None else [format_speed(speed), f"{format_duration(left)} left"]
        if self._bar is not None and done < total:
            self._bar.n = done
            self._bar.set_postfix_str("  ".join([*times, *metrics]))
            return
        self.on_train_end()  # The last line stays where the bar was.
        (self.write or _write)("  ".join([f"iteration {done:,} of {total:,}", *times, *metrics]))


def _make_bar(done: int, total: int) -> Any:
    from tqdm import tqdm

    class Bar(tqdm):
        monitor_interval = 0  # No thread: it is drawn after a batch.

    words = "{percentage:3.0f} % |{bar:16}| {n:,} of {total:,}{postfix}"
    try:
        width = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        width = 0
    # A terminal may not know its width; tqdm would then write nothing.
    known = width > 0
    return Bar(total=total, initial=done, file=sys.stderr, bar_format=words, dynamic_ncols=known, leave=False)


class BatchClock:
    """Times the batches of a training and what lies between them; the first batch, which compiles, does not count.

    Args:
        clock: Seconds, increasing.
        window: Seconds in batches over which the speed is taken.

    Example:
    >>> from maml_tf.training.progress import BatchClock
    >>> times = iter([0.0, 30.0, 31.0, 33.0, 38.0, 40.0])  # A validation between the last two batches.
    >>> clock = BatchClock(lambda: next(times))
    >>> clock.start()
    >>> for done in (10, 20, 30):
    ...     clock.begin()
    ...     clock.end(done)
    >>> clock.speed, clock.left(20)
    (5.0, 10.0)
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, window: float = 10.0):
        self._clock, self._window = clock, window
        self.start()

    def start(self) -> None:
        """Starts anew, with a training."""
        self._samples: collections.deque[tuple[float, int]] = collections.deque()
        self._began: float | None = None
        self._compiled_at: float | None = None
        self._inside = self._elapsed = 0.0

    def begin(self) -> None:
        """Notes that a batch begins."""
        self._began = self._clock()

    def end(self, done: int) -> None:
        """Notes that a batch has ended.

        Args:
            done: The iterations done.
        """
        if self._began is None:
            return
        now = self._clock()
        if self._compiled_at is None:
            self._compiled_at = now
        else:
            self._inside += now - self._began
            self._elapsed = now - self._compiled_at
        self._samples.append((self._inside, done))
        while len(self._samples) > 2 and self._inside - self._samples[1][0] >= self._window:
            self._samples.popleft()

    @property
    def speed(self) -> float | None:
        """Iterations a second in batches; None before the second batch."""
        if len(self._samples) < 2:
            return None
        (then, before), (now, done) = self._samples[0], self._samples[-1]
        return (done - before) / max(now - then, 1e-9)

    def left(self, iterations: int) -> float | None:
        """Estimates the seconds that iterations take, with what lies between batches; None before the second batch."""
        speed = self.speed
        return None if speed is None else max(iterations, 0) / speed * self._elapsed / max(self._inside, 1e-9)


class WallTime(keras.callbacks.Callback):
    """Keeps wall_time.json up to date with the seconds of a training, over all the processes that worked on it.

    The file has the seconds, and for each process `iterations`, the first and the one after the last, and `seconds`.
    What a process did after its last checkpoint is done again: those iterations then belong to the later process, and
    the seconds still count. A kill loses `every_seconds`, or a batch that takes longer.

    Args:
        directory: Of the training.
        iterations: The counter of the training, restored from a checkpoint if there is one.
        resume: Whether the training goes on from what the directory holds; otherwise the file is made anew.
        every_seconds: Seconds between two writes.
        clock: Seconds, increasing.

    Raises:
        ValueError: If the file to go on from is not one that this class wrote.

    Example:
    >>> import tempfile
    >>> from maml_tf.training import Iterations, WallTime, recorded_seconds
    >>> time = iter([0.0, 0.0, 4.0])
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     wall_time = WallTime(directory, Iterations(100), clock=lambda: next(time))
    ...     wall_time.on_train_begin()
    ...     wall_time.on_train_end()
    ...     recorded_seconds(directory)
    4.0
    """

    file = _WALL_TIME

    def __init__(
        self,
        directory: str | os.PathLike[str],
        iterations: Iterations,
        *,
        resume: bool = False,
        every_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        super().__init__()
        self.path = pathlib.Path(directory, self.file)
        self.iterations = iterations
        self.every_seconds = every_seconds
        self.clock = clock
        self.stored = read_json(self.path) if resume and self.path.exists() else {}
        self._parts = self._earlier_parts()
        self._began = self._written_at = clock()

    @property
    def content(self) -> dict[str, Any]:
        """What the file holds."""
        return {"seconds": round(sum(part["seconds"] for part in self._parts), 1), "parts": self._parts}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._began = self._written_at = self.clock()
        self._parts.append({"iterations": [self.iterations.done] * 2, "seconds": 0.0})

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self.clock() - self._written_at >= self.every_seconds:
            self.write()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.on_train_batch_end(epoch)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.write()

    def write(self) -> None:
        """Writes the file."""
        self._written_at = self.clock()
        self._parts[-1]["iterations"][1] = self.iterations.done
        self._parts[-1]["seconds"] = round(self._written_at - self._began, 1)
        write_atomically(self.path, json.dumps(self.content) + "\n")

    def _earlier_parts(self) -> list[dict[str, Any]]:
        first = self.iterations.done
        try:
            return [
                {"iterations": [min(int(number), first) for number in part["iterations"]], "seconds": part["seconds"]}
                for part in self.stored.get("parts", [])
            ]
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"Expected the parts of a training. Received: others in {str(self.path)!r}") from error


def _write(line: str) -> None:
    if distribute.this_worker().is_chief:
        print(line, file=sys.stderr, flush=True)


def recorded_seconds(directory: str | os.PathLike[str]) -> float:
    """Reads what `WallTime` wrote: the seconds of a training, 0 if nothing was trained."""
    path = pathlib.Path(directory, _WALL_TIME)
    return read_json(path).get("seconds", 0.0) if path.exists() else 0.0


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
