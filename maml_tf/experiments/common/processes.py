"""Commands in processes of their own, which end where this process ends."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from typing import IO

_MEASURED = pathlib.Path(__file__).with_name("measured_process.py")


def start(
    arguments: Sequence[str], usage: str | os.PathLike[str], log: IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    """Starts a Python process; it is sent SIGTERM if this process ends, by SIGKILL too.

    Args:
        arguments: Python's arguments, such as `["-m", "maml_tf", "sinusoid"]`.
        usage: JSON file to which "cpu_seconds" are added and the greatest "peak_mebibytes" is written.
        log: File for what the process says on stderr, by default this process' own. What it says on stdout is dropped.

    Returns:
        The process: signals to stop are passed on, and its exit code is 128 + n where signal n ended it. Its standard
        input must stay open.
    """
    command = [sys.executable, str(_MEASURED), os.fspath(usage), sys.executable, *arguments]
    # In a session of its own: Ctrl+C then reaches this process alone, which passes it on once.
    return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log, start_new_session=True)
