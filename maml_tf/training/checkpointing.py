"""Checkpoints that survive a kill at any moment, and a resume that equals never having stopped."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from maml_tf.configuration import differences
from maml_tf.training.files import read_json, writable_directory, write_atomically

_PREFIX = "checkpoint"
_CONFIG = "config.json"
_WILDCARDS = set("*?[]")


class AtomicCheckpoint(keras.callbacks.Callback):
    """Saves a training every few seconds and restores the newest whole checkpoint.

    TensorFlow writes a checkpoint's data under temporary names and its index last, and each carries
    checksums; the last two or more checkpoints are kept. So whatever a kill leaves behind, `restore` finds a
    whole one: it reads each from the newest on, and passes over, with a warning, one that is not whole.

    With data whose element i is a function of (seed, i), resume is exact: build the objects anew, `restore`,
    and call `fit(dataset from the iteration on, initial_epoch=iteration // iterations_per_epoch)`.

    Args:
        directory: Where to save; created if it does not exist.
        iterations_per_epoch: Iterations of an epoch of `fit`.
        config: What the training depends on, a dataclass or a mapping that JSON can hold. It is stored beside
            the checkpoints, and a resume with another one is refused.
        every_seconds: Save at the end of an epoch so many seconds after the last save, 0 for every epoch. The end of
            the training is always saved.
        keep: Number of checkpoints kept, at least 2.
        clock: Seconds, increasing.
        **objects: What to save, each under its name: Keras models, built optimizers, `BestWeights.state`,
            variables.

    Raises:
        ValueError: If the directory cannot be written to, a number is out of range, or an optimizer is not
            built.

    Example:
    >>> import tempfile
    >>> import keras
    >>> from maml_tf.training import AtomicCheckpoint
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> optimizer = keras.optimizers.Adam()
    >>> optimizer.build(model.trainable_variables)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     checkpoint = AtomicCheckpoint(directory, 100, {"seed": 1}, model=model, optimizer=optimizer)
    ...     checkpoint.restore()
    0
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        iterations_per_epoch: int,
        config: Any,
        *,
        every_seconds: float = 60.0,
        keep: int = 2,
        clock: Callable[[], float] = time.monotonic,
        **objects: Any,
    ):
        super().__init__()
        if keep < 2:
            raise ValueError(f"Expected keep to be at least 2: one may be half-written. Received: keep={keep}")
        if iterations_per_epoch < 1 or every_seconds < 0:
            raise ValueError(
                "Expected iterations_per_epoch >= 1 and every_seconds >= 0. "
                f"Received: iterations_per_epoch={iterations_per_epoch}, every_seconds={every_seconds}"
            )
        for name, value in objects.items():
            if not getattr(value, "built", True):
                raise ValueError(f"Expected built objects: nothing to restore into. Received: {name} with built=False")
        self.directory = writable_directory(directory)
        if set(str(self.directory)) & _WILDCARDS:
            raise ValueError(
                "Expected a directory without the wildcards *?[], which TensorFlow would expand to other directories. "
                f"Received: {str(self.directory)!r}"
            )
        self.iterations_per_epoch = iterations_per_epoch
        self.every_seconds = every_seconds
        self.clock = clock
        self._config = _as_json(config)
        self._iteration = tf.Variable(0, dtype=tf.int64)
        self._checkpoint = tf.train.Checkpoint(
            iteration=self._iteration, **{name: _state(value) for name, value in objects.items()}
        )
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, str(self.directory), max_to_keep=keep, checkpoint_name=_PREFIX
        )
        self._restore_called = False
        self._saved_iteration: int | None = None
        self._saved_at = clock()

    def restore(self, iterations: int | None = None) -> int:
        """Restores the newest whole checkpoint into the objects.

        Args:
            iterations: How long the training is to be; None for any length.

        Returns:
            The iterations done when it was saved; 0, with the objects as they were, if there is none.

        Raises:
            ValueError: If the checkpoints are of another config or a longer training, do not fit the objects, or none
                of them is whole.
        """
        paths = self._paths()
        whole = next((path for path in paths if _is_whole(path)), None)
        self._restore_called = True
        for unfinished in self.directory.glob(f"{_PREFIX}-*_temp"):
            shutil.rmtree(unfinished)
        if paths:
            self._check_config()
        if whole is None:
            if len(paths) > 1:
                # A kill during the first save leaves one that is not whole; more than one is damage.
                raise ValueError(
                    f"Expected a whole checkpoint in {str(self.directory)!r}. Received: {len(paths)} damaged"
                )
            return 0
        done = int(whole.rpartition("-")[2])
        if iterations is not None and done > iterations:
            raise ValueError(
                f"Expected at least the {done} iterations that the training has done. "
                f"Received: iterations={iterations} ({str(self.directory)!r})"
            )
        try:
            self._checkpoint.restore(whole).assert_consumed()
        except (AssertionError, ValueError) as error:
            raise ValueError(f"Expected a checkpoint of the same objects. Received: {whole!r}: {error}") from error
        self._saved_iteration = int(self._iteration)
        return self._saved_iteration

    def save(self, iteration: int) -> str:
        """Saves the objects now.

        Args:
            iteration: Iterations done, which names the checkpoint.

        Returns:
            The checkpoint's path.
        """
        if not self._manager.checkpoints:
            write_atomically(self.directory / _CONFIG, json.dumps(self._config, indent=2, sort_keys=True) + "\n")
        self._iteration.assign(iteration)
        path = self._manager.save(checkpoint_number=iteration)
        self._saved_iteration, self._saved_at = iteration, self.clock()
        return path

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if not self._restore_called and self._saved_iteration is None and self._paths():
            raise ValueError(
                "Expected a directory without checkpoints, or a call of restore() before the training. "
                f"Received: {str(self.directory)!r} with checkpoints"
            )
        self._saved_at = self.clock()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        iteration = (epoch + 1) * self.iterations_per_epoch
        self._iteration.assign(iteration)
        if self.clock() - self._saved_at >= self.every_seconds:
            self.save(iteration)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if int(self._iteration) != (self._saved_iteration or 0):
            self.save(int(self._iteration))

    def _paths(self) -> list[str]:
        """The checkpoints in the directory, newest first, whole or not, recorded or not."""
        numbers = (re.fullmatch(rf"{_PREFIX}-(\d+)\.index", entry.name) for entry in self.directory.iterdir())
        newest_first = sorted((int(match[1]) for match in numbers if match), reverse=True)
        return [str(self.directory / f"{_PREFIX}-{number}") for number in newest_first]

    def _check_config(self) -> None:
        differing = differences(read_json(self.directory / _CONFIG), self._config)
        if differing:
            raise ValueError(
                "Expected the config with which the checkpoints were made, or another directory. "
                f"Received: a config that differs in {differing} ({str(self.directory)!r})"
            )


def _state(value: Any) -> Any:
    """Returns what to checkpoint of an object."""
    # TensorFlow follows Keras' attributes and misses the state of random seeds; the list of variables has it.
    if isinstance(value, (keras.layers.Layer, keras.optimizers.Optimizer)):
        return list(value.variables)
    return value


def _as_json(config: Any) -> dict[str, Any]:
    """Returns the config as JSON gives it back, nested keys joined by dots."""
    if dataclasses.is_dataclass(config):
        config = dataclasses.asdict(config)
    return dict(_flat(json.loads(json.dumps(config))))


def _flat(config: Mapping[str, Any], prefix: str = ""):
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _is_whole(path: str) -> bool:
    """Whether every tensor of a checkpoint can be read and has its checksum."""
    try:
        reader = tf.train.load_checkpoint(path)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
        logging.warning("Passing over the checkpoint %s, which is not whole: %s", path, error)
        return False
    return True
