"""A training's directory where several processes train: the chief's is kept, the others' are scratch."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import tensorflow as tf

import maml_tf
from maml_tf import distribute
from maml_tf.configuration import Configuration
from maml_tf.files import open_logdir


@contextlib.contextmanager
def open_training(
    logdir: str | os.PathLike[str], checkpoints: Iterable[str], resume: bool, config: Configuration, **more: Any
) -> Iterator[pathlib.Path]:
    """Opens the directory of a training, after all workers were found to run the same one.

    Every worker runs the same program, which writes files: those of the chief into its `logdir`, those of each other
    worker into a directory of its own, which is removed at the end.

    Args:
        logdir: The directory.
        checkpoints: The folders in it that the run keeps its checkpoints in.
        resume: Whether the run is to go on from them.
        config: The experiment's configuration.
        **more: What else the workers must have in common.

    Yields:
        The directory to write to.

    Raises:
        ValueError: As `maml_tf.files.open_logdir`, and if a worker has other settings or versions than the chief.
    """
    versions = {"maml_tf": maml_tf.__version__, "tensorflow": tf.__version__, "keras": keras.__version__}
    distribute.require_same({**versions, **config.results_identity(), **more, "resume": resume})
    if distribute.this_worker().is_chief:
        with open_logdir(logdir, checkpoints, resume) as directory:
            yield directory
    else:
        with tempfile.TemporaryDirectory() as scratch:
            yield pathlib.Path(scratch)
