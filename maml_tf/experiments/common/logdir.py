"""The directory that an experiment writes to."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import TextIO

from absl import logging

from maml_tf.files import remove_unfinished, writable_directory

try:
    import fcntl
except ImportError:  # Windows.
    fcntl = None

_LOCK = ".lock"


@contextlib.contextmanager
def open_logdir(logdir: str | os.PathLike[str], checkpoints: Iterable[str], resume: bool) -> Iterator[pathlib.Path]:
    """Creates the directory if need be, and makes sure that nothing in it is trained over, before any training.

    Args:
        logdir: The directory.
        checkpoints: The folders in it that the run keeps its checkpoints in.
        resume: Whether the run is to go on from them.

    Yields:
        Its path, while no other process trains in it (not on Windows).

    Raises:
        ValueError: If it cannot be written to, another process trains in it, or it holds checkpoints and `resume` is
            False.
    """
    directory = writable_directory(logdir)
    # It stays behind: to remove it would let two processes each lock a file of that name.
    with open(directory / _LOCK, "a") as lock:
        _lock(lock, directory)
        remove_unfinished(directory)
        if not resume:
            for folder in checkpoints:
                if any((directory / folder).glob("checkpoint-*.index")):
                    raise ValueError(
                        "Expected a directory without checkpoints, or to resume from them (--resume). "
                        f"Received: {str(directory)!r} with checkpoints in {folder!r}"
                    )
        yield directory


def _lock(lock: TextIO, directory: pathlib.Path) -> None:
    """Locks a file until it is closed, or the process ends in whatever way."""
    if not fcntl:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ValueError(
            "Expected a directory that no other process trains in. "
            f"Received: {str(directory)!r}, where one does (it holds {_LOCK})"
        ) from error
    except OSError as error:  # A file system without locks.
        logging.warning("%s can't be locked (%s): make sure that no other process trains there.", directory, error)
