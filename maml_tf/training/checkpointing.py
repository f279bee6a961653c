"""Checkpoints that survive a kill at any moment, and a resume that equals never having stopped."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from maml_tf import distribute, stopping
from maml_tf.checks import number, whole_number
from maml_tf.configuration import differences
from maml_tf.files import read_json, writable_directory, write_atomically
from maml_tf.training.iterations import Iterations, Place

_PREFIX = "checkpoint"
_CONFIG = "config.json"
_WILDCARDS = set("*?[]")


class AtomicCheckpoint(keras.callbacks.Callback):
    """Saves a training every few seconds and restores the newest whole checkpoint.

    TensorFlow writes a checkpoint's data under temporary names and its index last, and each carries
    checksums; the last two or more checkpoints are kept. So whatever a kill leaves behind, `restore` finds a
    whole one: it goes from the newest on, and passes over, with a warning, one that is damaged.

    With data whose element i is a function of (seed, i), resume is exact: build the objects anew, `restore`, and call
    `iterations.fit` with the data from iteration `iterations.done` on. A training stopped inside an epoch keeps the
    metrics of its part.

    Args:
        directory: Where to save; created if it does not exist.
        iterations: The counter of the training; it is saved and restored.
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
    >>> from maml_tf.training import AtomicCheckpoint, Iterations
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> optimizer = keras.optimizers.Adam()
    >>> optimizer.build(model.trainable_variables)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     checkpoint = AtomicCheckpoint(directory, Iterations(100), {"seed": 1}, model=model, optimizer=optimizer)
    ...     checkpoint.restore()
    0
    """

    place = Place.SAVE

    def __init__(
        self,
        directory: str | os.PathLike[str],
        iterations: Iterations,
        config: Any,
        *,
        every_seconds: float = 60.0,
        keep: int = 2,
        clock: Callable[[], float] = time.monotonic,
        **objects: Any,
    ):
        super().__init__()
        for name, value in objects.items():
            if not getattr(value, "built", True):
                raise ValueError(f"Expected built objects: nothing to restore into. Received: {name} with built=False")
        self.directory = writable_directory(directory)
        if set(str(self.directory)) & _WILDCARDS:
            raise ValueError(
                "Expected a directory without the wildcards *?[], which TensorFlow would expand to other directories. "
                f"Received: {str(self.directory)!r}"
            )
        self.iterations = iterations
        self.every_seconds = number("every_seconds", every_seconds, minimum=0)
        self.clock = clock
        self._config = _as_json(config)
        self._variables = [iterations.variable, *(each for value in objects.values() for each in _variables(value))]
        self._checkpoint = tf.train.Checkpoint(
            iteration=iterations.variable, **{name: _state(value) for name, value in objects.items()}
        )
        self._manager = self._make_manager(whole_number("keep", keep, minimum=2))
        self._metrics_restored = False
        self._restore_called = False
        self._saved_iteration: int | None = None
        self._saved_at = clock()

    def restore(self) -> int:
        """Restores the newest whole checkpoint into the objects and the counter.

        Returns:
            The iterations done when it was saved; 0, with the objects as they were, if there is none.

        Raises:
            ValueError: If the checkpoints are of another config or a longer training, do not fit the objects, or all
                of them are damaged.
        """
        self._restore_called = True
        worker = distribute.this_worker()
        if worker.is_chief:
            distribute.outside_of_strategy(self._restore_newest)
        if worker.count > 1:
            self._take_from_chief()
        self._note_saved(self.iterations.done)
        return self.iterations.done

    def _restore_newest(self) -> None:
        paths = self._paths()
        for unfinished in self.directory.glob(f"{_PREFIX}-*_temp"):
            shutil.rmtree(unfinished)
        if paths:
            self._check_config()
        whole = next((path for path in paths if self._read(path)), None)
        if whole is None and len(paths) > 1:
            # A kill during the first save leaves one that is not whole; more than one is damage.
            raise ValueError(f"Expected a whole checkpoint in {str(self.directory)!r}. Received: {len(paths)} damaged")
        self._saved_iteration = self.iterations.done if whole else None

    def _take_from_chief(self) -> None:
        """Takes over what the chief has restored: the workers need no file system in common."""
        metrics = getattr(self._checkpoint, "epoch_metrics", [])
        values = distribute.from_chief([variable.numpy() for variable in [*self._variables, *metrics]])
        own = len(self._variables)
        for variable, value in zip(self._variables, values[:own], strict=True):
            variable.assign(value)
        self._hold_metrics(values[own:])
        self._metrics_restored = hasattr(self._checkpoint, "epoch_metrics")

    def save(self) -> str:
        """Saves the objects now, under a name that holds the iterations done.

        Of several workers the chief saves, and all of them must call it.

        Returns:
            The checkpoint's path; of a worker that is not the chief "".

        Raises:
            OSError: If the file cannot be written, such as on a full disk.
        """
        done = self.iterations.done
        # Between epochs there are none to keep: Keras sets them to 0 when an epoch begins.
        inside = self.model is not None and done % self.iterations.per_epoch
        self._hold_metrics(self.model.metrics_variables if inside else ())
        # The workers' metrics are added up where they are read, so all of them read.
        if distribute.this_worker().is_chief:
            return distribute.outside_of_strategy(self._save)
        return ""

    def _save(self) -> str:
        done = self.iterations.done
        if not self._manager.checkpoints:
            write_atomically(self.directory / _CONFIG, json.dumps(self._config, indent=2, sort_keys=True) + "\n")
        try:
            path = self._manager.save(checkpoint_number=done)
        except tf.errors.OpError as error:
            said = re.sub(r"\{\{.*?\}\}|\[Op:\w+\]", "", error.message).strip()  # Without the names of operations.
            raise OSError(f"Expected room for a checkpoint. Received: {said}") from error
        self._saved_iteration, self._saved_at = done, self.clock()
        self._note_saved(done)
        return path

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if not self._restore_called and self._saved_iteration is None and self._paths():
            raise ValueError(
                "Expected a directory without checkpoints, or a call of restore() before the training. "
                f"Received: {str(self.directory)!r} with checkpoints"
            )
        self._saved_at = self.clock()
        self._note_saved(self._saved_iteration or 0)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._metrics_restored:
            for variable, value in zip(self.model.metrics_variables, self._checkpoint.epoch_metrics, strict=True):
                variable.assign(value)
            self._metrics_restored = False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.clock() - self._saved_at >= self.every_seconds:
            self.save()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self.iterations.done != (self._saved_iteration or 0):
            self.save()

    def _note_saved(self, iteration: int) -> None:
        if distribute.this_worker().is_chief:
            stopping.note_saved(iteration, self.directory)

    def _make_manager(self, keep: int) -> tf.train.CheckpointManager:
        arguments = dict(directory=str(self.directory), max_to_keep=keep, checkpoint_name=_PREFIX)
        try:
            return tf.train.CheckpointManager(self._checkpoint, **arguments)
        except ValueError:  # TensorFlow's record of the checkpoints is damaged; `restore` needs none.
            (self.directory / "checkpoint").unlink()
            return tf.train.CheckpointManager(self._checkpoint, **arguments)

    def _hold_metrics(self, values: Sequence[Any]) -> None:
        """Makes values of metrics part of the checkpoint, or none, which is how checkpoints without them are read."""
        if hasattr(self._checkpoint, "epoch_metrics"):
            del self._checkpoint.epoch_metrics
        if values:
            values = [np.asarray(value) for value in values]
            self._checkpoint.epoch_metrics = distribute.outside_of_strategy(
                lambda: [tf.Variable(value, trainable=False) for value in values]
            )

    def _read(self, path: str) -> bool:
        """Restores a checkpoint, or returns False, with the objects as they were, where it is damaged."""
        done = int(path.rpartition("-")[2])
        if done > self.iterations.total:
            raise ValueError(
                f"Expected at least the {done} iterations that the training has done. "
                f"Received: {self.iterations.total} ({str(self.directory)!r})"
            )
        try:
            self._hold_metrics(_stored_metrics(path))
            self._checkpoint.restore(path).assert_consumed()
        except (tf.errors.OpError, IndexError, RuntimeError) as error:
            logging.warning("Passing over the checkpoint %s, which is damaged: %s", path, error)
            return False
        except (AssertionError, ValueError) as error:
            raise ValueError(f"Expected a checkpoint of the same objects. Received: {path!r}: {error}") from error
        self._metrics_restored = hasattr(self._checkpoint, "epoch_metrics")
        return True

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


def _variables(value: Any) -> list[Any]:
    """Lists the variables of an object to checkpoint."""
    if isinstance(value, (list, tuple)):
        return [variable for one in value for variable in _variables(one)]
    return list(getattr(value, "variables", [value]))


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


def _stored_metrics(path: str) -> list[np.ndarray]:
    """Reads the metrics of the epoch in which a training was stopped, if it was."""
    reader = tf.train.load_checkpoint(path)
    count = sum(name.startswith("epoch_metrics/") for name in reader.get_variable_to_shape_map())
    return [reader.get_tensor(f"epoch_metrics/{number}/.ATTRIBUTES/VARIABLE_VALUE") for number in range(count)]
