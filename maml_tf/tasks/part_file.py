"""A file under a temporary name, which one process at a time writes."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator

from absl import logging

try:
    import fcntl
except ImportError:  # Windows.
    fcntl = None


@contextlib.contextmanager
def alone(part: pathlib.Path) -> Iterator[None]:
    """Waits until no other process writes to `part` (not on Windows), and creates it.

    What a killed process wrote to it is still there. At the end it is removed if it is empty.

    Args:
        part: The file, in a folder that exists. Whoever holds it may rename or remove it.

    Yields:
        Nothing, once no other process holds it.
    """
    while True:
        with open(part, "ab") as file:
            if fcntl:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX)
                except OSError as error:  # A file system without locks.
                    logging.warning("%s can't be locked (%s): make sure that no other process writes it.", part, error)
                # Whoever had it may have renamed or removed it: that is another file by now.
                if not part.exists() or not os.path.samestat(os.fstat(file.fileno()), part.stat()):
                    continue
            try:
                yield
            finally:
                if part.exists() and not part.stat().st_size:
                    part.unlink()
            return
