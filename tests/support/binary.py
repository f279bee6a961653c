"""Runs the project's binaries as a user does: each in a process of its own.

Importing TensorFlow takes longer than most of these runs, so the processes are forked from one that has imported it,
and only that: each then runs the file in bin/ from its first line, with arguments and output of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import runpy
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

from tests.support.source_tree import PROJECT

# A binary that hangs fails its test instead of holding it up for ever.
_LONGEST_SECONDS = 600
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_FORKS = multiprocessing.get_context("forkserver")
# Other people's packages alone, and before any operation: TensorFlow starts its threads with the first one.
_FORKS.set_forkserver_preload(["keras", "matplotlib.pyplot", "tensorflow"])


class Finished(NamedTuple):
    """A process that ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def errors(self) -> list[str]:
        """What it said of why it failed, one element a message."""
        return [line for line in self.stderr.splitlines() if line.startswith("Error: ")]


class Running:
    """`bin/<name>.py` in a process; the caller waits for it with `finish`."""

    def __init__(self, name: str, *arguments: str | os.PathLike[str]):
        self._outputs = tempfile.TemporaryDirectory()
        self._files = [pathlib.Path(self._outputs.name, stream) for stream in ("stdout", "stderr")]
        command = [str(PROJECT / "bin" / f"{name}.py"), *map(str, arguments)]
        self._process = _FORKS.Process(target=_run, args=(command, self._files))
        self._process.start()

    @property
    def code(self) -> int | None:
        """The exit code, the negative number of the signal that killed it, or None while it runs."""
        return self._process.exitcode

    def said(self, stream: str = "stderr") -> str:
        """What it has written to stdout or stderr so far."""
        path = self._files[stream == "stderr"]
        return path.read_text() if path.exists() else ""

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)

    def stop_when(self, reached: Callable[[], object], number: signal.Signals = signal.SIGTERM) -> Finished:
        """Sends a signal as soon as `reached` holds, and waits for the process to end."""
        while not reached() and self.code is None:
            time.sleep(0.01)
        self.send_signal(number)
        return self.finish()

    def finish(self) -> Finished:
        """Waits for the process to end; ends it if it takes too long."""
        self._process.join(_LONGEST_SECONDS)
        self._process.kill()
        self._process.join()
        finished = Finished(self.code, *(path.read_text() for path in self._files))
        self.kill()
        return finished

    def kill(self) -> None:
        """Ends the process, if it runs, and forgets what it said."""
        self._process.kill()
        self._process.join()
        self._outputs.cleanup()


def _run(command: list[str], files: list[pathlib.Path]) -> None:
    for stream, path in enumerate([pathlib.Path(os.devnull), *files]):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(descriptor, stream)
        os.close(descriptor)
    sys.argv = command
    sys.path.insert(0, os.path.dirname(command[0]))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
    runpy.run_path(command[0], run_name="__main__")


def run(name: str, *arguments: str | os.PathLike[str]) -> Finished:
    """Runs `bin/<name>.py` to its end."""
    return Running(name, *arguments).finish()


def is_png(path: pathlib.Path) -> bool:
    """Whether a file has the first bytes of a PNG image, and more than them."""
    content = path.read_bytes()
    return content.startswith(PNG_SIGNATURE) and len(content) > 1000
