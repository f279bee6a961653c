"""The wall time of a training, over all the processes that it was resumed in."""

from __future__ import annotations

import json
import os
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras

from maml_tf.training.files import read_json, write_atomically

_FILE = "wall_time.json"


class TimedParts:
    """Counts the seconds of a training's parts: the first process's, and each resume's.

    What a killed process did after its last checkpoint is done again. Those iterations then belong to the later part;
    the seconds were spent, and stay. A part without a checkpoint of its own is forgotten.

    Args:
        before: The parts that a resumed training had, as `parts` gives them.
        first: The iterations done before.
        clock: Seconds, increasing.

    Attributes:
        parts: For each part `iterations`, the first and the one after the last, and `seconds`.

    Example:
    >>> from maml_tf.training.wall_time import TimedParts
    >>> time = iter([0.0, 5.0, 9.0])
    >>> timed = TimedParts([{"iterations": [0, 120], "seconds": 60.0}], first=100, clock=lambda: next(time))
    >>> timed.start()
    >>> timed.reach(150)
    >>> timed.parts
    [{'iterations': [0, 100], 'seconds': 60.0}, {'iterations': [100, 150], 'seconds': 4.0}]
    >>> timed.seconds
    64.0
    """

    def __init__(
        self, before: Sequence[dict[str, Any]] = (), first: int = 0, clock: Callable[[], float] = time.monotonic
    ):
        self.clock = clock
        self.parts = [
            {"iterations": [part["iterations"][0], min(part["iterations"][1], first)], "seconds": part["seconds"]}
            for part in before
            if part["iterations"][0] < first
        ]
        self.parts.append({"iterations": [first, first], "seconds": 0.0})
        self._began = clock()

    def start(self) -> None:
        """Starts the clock of the newest part."""
        self._began = self.clock()

    def reach(self, iteration: int) -> None:
        """Notes the iterations done by now.

        Args:
            iteration: Their number, those before a resume included.
        """
        self.parts[-1]["iterations"][1] = iteration
        self.parts[-1]["seconds"] = round(self.clock() - self._began, 1)

    @property
    def seconds(self) -> float:
        """The seconds of all parts."""
        return round(sum(part["seconds"] for part in self.parts), 1)


class WallTime(keras.callbacks.Callback):
    """Keeps wall_time.json up to date with the seconds of a training; a resumed one adds its part.

    Args:
        directory: Of the training.
        iterations_per_epoch: Iterations of an epoch of `fit`.
        first: The iterations done before, 0 for a training from the start.
        clock: Seconds, increasing.

    Example:
    >>> import tempfile
    >>> from maml_tf.training.wall_time import WallTime, recorded_seconds
    >>> time = iter([0.0, 5.0, 9.0])
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     wall_time = WallTime(directory, 100, clock=lambda: next(time))
    ...     wall_time.on_train_begin()
    ...     wall_time.on_epoch_end(0)
    ...     recorded_seconds(directory)
    4.0
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        iterations_per_epoch: int,
        *,
        first: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ):
        super().__init__()
        self.path = pathlib.Path(directory, _FILE)
        self.iterations_per_epoch = iterations_per_epoch
        before = read_json(self.path)["parts"] if first and self.path.exists() else ()
        self._timed = TimedParts(before, first, clock)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._timed.start()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._timed.reach((epoch + 1) * self.iterations_per_epoch)
        content = {"seconds": self._timed.seconds, "parts": self._timed.parts}
        write_atomically(self.path, json.dumps(content) + "\n")


def recorded_seconds(directory: str | os.PathLike[str]) -> float:
    """Reads what `WallTime` wrote.

    Args:
        directory: Of the training.

    Returns:
        The seconds of all its parts; 0 if nothing was trained.
    """
    path = pathlib.Path(directory, _FILE)
    return read_json(path)["seconds"] if path.exists() else 0.0
