"""Files: written so that a reader, or a process killed at any moment, never meets half of one, and read or refused."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import tempfile
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from absl import logging

try:
    import fcntl
except ImportError:  # Windows.
    fcntl = None

if TYPE_CHECKING:
    import keras

_UNFINISHED = ".unfinished-"
_LOCK = ".lock"


def writable_directory(path: str | os.PathLike[str]) -> pathlib.Path:
    """Creates a directory, with its parents, and makes sure that files can be written in it.

    Args:
        path: The directory; it may exist.

    Returns:
        The directory.

    Raises:
        ValueError: If it cannot be created or written to.
    """
    directory = pathlib.Path(path).expanduser()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise ValueError(
            f"Expected a directory that can be created and written to. Received: {str(path)!r} ({error.strerror})"
        ) from error
    return directory


def write_atomically(path: str | os.PathLike[str], content: bytes | str) -> pathlib.Path:
    """Writes a file under a temporary name and renames it: the path holds the old content or all of the new.

    Args:
        path: The file; it is replaced if it exists.
        content: Text is encoded in UTF-8.

    Returns:
        The path.
    """
    content = content.encode() if isinstance(content, str) else content
    return save_atomically(path, lambda temporary: temporary.write_bytes(content))


def save_atomically(path: str | os.PathLike[str], save: Callable[[pathlib.Path], object]) -> pathlib.Path:
    """Lets a function write a file under a temporary name and renames it, as `write_atomically` does.

    Args:
        path: The file; it is replaced if it exists.
        save: Writes the path that it is given, which has the suffixes of `path`, such as a model's `save` or
            `save_weights`.

    Returns:
        The path.

    Raises:
        OSError: If it cannot be written; the error has the path as its `filename`.

    Example:
    >>> import tempfile
    >>> from maml_tf.training import save_atomically
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     save_atomically(f"{directory}/note.txt", lambda path: path.write_text("new")).read_text()
    'new'
    """
    path = pathlib.Path(path)
    # The suffixes stay at the end: Keras chooses the format by them.
    temporary = path.with_name(f"{_UNFINISHED}{os.getpid()}-{threading.get_ident()}-{path.name}")
    try:
        save(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.filename:
            raise
        # Of a full disk the system says no more than that it is full.
        said = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(error.errno, said, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def remove_unfinished(directory: str | os.PathLike[str]) -> None:
    """Removes what `save_atomically` left in a directory and the folders in it when its process was killed."""
    for path in pathlib.Path(directory).rglob(f"{_UNFINISHED}*"):
        process = path.name.removeprefix(_UNFINISHED).partition("-")[0]
        if path.is_file() and process.isdecimal() and not _is_alive(int(process)):
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # Somebody else's.
        pass
    return True


def load_weights(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Sets a model's weights to those of a file, or raises one error that names it.

    Args:
        model: Built, and not compiled where the file holds no optimizer's state.
        path: Of what the `save_weights` or the `save` of such a model wrote: .weights.h5 or .keras.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is broken, or of another model's weights.
    """
    path = pathlib.Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"Expected a file of weights. Received: {str(path)!r}, which is none")
    try:
        with warnings.catch_warnings():
            # Of weights that do not fit Keras warns too, many times, before it raises.
            warnings.simplefilter("ignore", UserWarning)
            model.load_weights(path)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        said = " ".join(str(error).split())  # Keras says it in several lines.
        raise ValueError(f"Expected the weights of the same model. Received: {str(path)!r}: {said}") from error


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a file that holds a JSON object.

    Args:
        path: The file.

    Returns:
        The object.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds something else; the message names it.
    """
    try:
        content = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"Expected a whole file of JSON. Received: {os.fspath(path)!r}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"Expected a JSON object. Received: {type(content).__name__} in {os.fspath(path)!r}")
    return content


@contextlib.contextmanager
def exclusive(directory: pathlib.Path, does: str) -> Iterator[None]:
    """Keeps other processes from a directory while the block runs (not on Windows).

    Args:
        directory: It exists, and files can be written in it.
        does: What a process does there, for the messages, such as "trains in".

    Raises:
        ValueError: If another process is there.
    """
    # It stays behind: to remove it would let two processes each lock a file of that name.
    with open(directory / _LOCK, "a") as lock:
        try:
            if fcntl:  # Until the file is closed, or the process ends in whatever way.
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"Expected a directory that no other process {does}. "
                f"Received: {str(directory)!r}, where one does (it holds {_LOCK})"
            ) from error
        except OSError as error:  # A file system without locks.
            logging.warning("%s can't be locked (%s): make sure that no other process %s it.", directory, error, does)
        yield


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
    with exclusive(directory, "trains in"):
        remove_unfinished(directory)
        if not resume:
            for folder in checkpoints:
                if any((directory / folder).glob("checkpoint-*.index")):
                    raise ValueError(
                        "Expected a directory without checkpoints, or to resume from them (--resume). "
                        f"Received: {str(directory)!r} with checkpoints in {folder!r}"
                    )
        yield directory
