"""Files: written completely or not at all, even if the process is killed; read with clear errors; and locked."""

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
    """Creates a directory and its parents, and checks that files can be written in it.

    Args:
        path: The directory; it may exist.

    Returns:
        The directory.

    Raises:
        ValueError: If the directory cannot be created or written to.
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
    """Writes a file under a temporary name and renames it: the path holds either the old or the new content.

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
        save: Function that writes to a path, such as a model's `save` or `save_weights`. The path that it gets has the
            suffixes of `path`.

    Returns:
        The path.

    Raises:
        OSError: If the file cannot be written; the error has the path as its `filename`.

    Example:
    >>> import tempfile
    >>> from maml_tf.training import save_atomically
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     save_atomically(f"{directory}/note.txt", lambda path: path.write_text("new")).read_text()
    'new'
    """
    path = pathlib.Path(path)
    # The suffixes stay at the end, because Keras chooses the format by them.
    temporary = path.with_name(f"{_UNFINISHED}{os.getpid()}-{threading.get_ident()}-{path.name}")
    try:
        save(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.filename:
            raise
        # The system's error for a full disk does not name the file.
        said = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(error.errno, said, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def remove_unfinished(directory: str | os.PathLike[str]) -> None:
    """Removes temporary files of killed processes, left by `save_atomically` in a directory or its subfolders."""
    for path in pathlib.Path(directory).rglob(f"{_UNFINISHED}*"):
        process = path.name.removeprefix(_UNFINISHED).partition("-")[0]
        if path.is_file() and process.isdecimal() and not _is_alive(int(process)):
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # A process of another user.
        pass
    return True


def load_weights(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Sets a model's weights to those of a file, or raises an error that names the file.

    Args:
        model: A built model; if the file holds no optimizer state, not compiled.
        path: File that `save_weights` or `save` of such a model wrote: .weights.h5 or .keras.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is broken, or holds another model's weights.
    """
    path = pathlib.Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"Expected a file of weights. Received: {str(path)!r}, which is not a file")
    try:
        with warnings.catch_warnings():
            # For weights that do not fit, Keras warns many times before it raises.
            warnings.simplefilter("ignore", UserWarning)
            model.load_weights(path)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        said = " ".join(str(error).split())  # Keras' message has several lines.
        raise ValueError(f"Expected the weights of the same model. Received: {str(path)!r}: {said}") from error


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a file that holds a JSON object.

    Args:
        path: The file.

    Returns:
        The object.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file holds something else; the message names the file.
    """
    try:
        content = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"Expected a complete JSON file. Received: {os.fspath(path)!r}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"Expected a JSON object. Received: {type(content).__name__} in {os.fspath(path)!r}")
    return content


@contextlib.contextmanager
def exclusive(directory: pathlib.Path, does: str) -> Iterator[None]:
    """Keeps other processes from a directory while the block runs (not on Windows).

    Args:
        directory: An existing directory in which files can be written.
        does: What a process does in it, for the messages, such as "trains in".

    Raises:
        ValueError: If another process uses the directory.
    """
    # The file is never removed: otherwise two processes could each lock a file of this name.
    with open(directory / _LOCK, "a") as lock:
        try:
            if fcntl:  # The lock lasts until the file is closed, or the process ends in any way.
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"Expected a directory that no other process {does}. "
                f"Received: {str(directory)!r}, where one does (it holds {_LOCK})"
            ) from error
        except OSError as error:  # A file system without locks.
            logging.warning("%s cannot be locked (%s): make sure that no other process %s it.", directory, error, does)
        yield


@contextlib.contextmanager
def one_at_a_time(directory: pathlib.Path) -> Iterator[None]:
    """Waits until no other process is in such a block with the same directory (not on Windows).

    Args:
        directory: An existing directory.
    """
    if not fcntl:
        yield
        return
    # The directory itself is locked, so that no other file is in it.
    lock = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:  # A file system without locks of directories.
            logging.warning("%s cannot be locked (%s): another process may do the same.", directory, error)
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def open_logdir(logdir: str | os.PathLike[str], checkpoints: Iterable[str], resume: bool) -> Iterator[pathlib.Path]:
    """Creates a training's directory if needed, and checks that the training does not overwrite an earlier one.

    Args:
        logdir: The directory.
        checkpoints: The folders in it for the run's checkpoints.
        resume: Whether the run resumes from the checkpoints.

    Yields:
        The path of the directory, in which no other process can train meanwhile (except on Windows).

    Raises:
        ValueError: If the directory cannot be written to, another process trains in it, or it holds checkpoints and
            `resume` is False.
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
