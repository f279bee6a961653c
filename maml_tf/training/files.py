"""Writing files so that a reader, or a process killed at any moment, never meets half of one."""

from __future__ import annotations

import os
import pathlib
import tempfile


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
    path = pathlib.Path(path)
    content = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
