"""The directory that an experiment writes to."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable

from maml_tf.training.files import writable_directory


def open_logdir(logdir: str | os.PathLike[str], checkpoints: Iterable[str], resume: bool) -> pathlib.Path:
    """Creates the directory if need be, and makes sure that nothing in it is trained over, before any training.

    Args:
        logdir: The directory.
        checkpoints: The folders in it that the run keeps its checkpoints in.
        resume: Whether the run is to go on from them.

    Returns:
        Its path.

    Raises:
        ValueError: If it cannot be written to, or holds checkpoints and `resume` is False.
    """
    directory = writable_directory(logdir)
    if not resume:
        for folder in checkpoints:
            if any((directory / folder).glob("checkpoint-*.index")):
                raise ValueError(
                    "Expected a directory without checkpoints, or to resume from them (--resume). "
                    f"Received: {str(directory)!r} with checkpoints in {folder!r}"
                )
    return directory
