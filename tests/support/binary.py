"""Runs the project's binaries as a user does: each in a process of its own."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

from tests.support.source_tree import PROJECT

# A binary that hangs fails its test instead of holding it up for ever.
_LONGEST_SECONDS = 600
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Finished(NamedTuple):
    """A process that ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def errors(self) -> list[str]:
        """What it said of why it failed, one element a message."""
        return [line for line in self.stderr.splitlines() if line.startswith("Error: ")]


def start(name: str, *arguments: str | os.PathLike[str]) -> subprocess.Popen[str]:
    """Starts `bin/<name>.py`; the caller waits for it with `finish`."""
    path = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, PROJECT / "bin" / f"{name}.py", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "2"},
    )


def finish(process: subprocess.Popen[str]) -> Finished:
    """Waits for a process to end; ends it if it takes too long."""
    try:
        stdout, stderr = process.communicate(timeout=_LONGEST_SECONDS)
    finally:
        process.kill()
    return Finished(process.returncode, stdout, stderr)


def run(name: str, *arguments: str | os.PathLike[str]) -> Finished:
    """Runs `bin/<name>.py` to its end."""
    return finish(start(name, *arguments))


def is_png(path: pathlib.Path) -> bool:
    """Whether a file has the first bytes of a PNG image, and more than them."""
    content = path.read_bytes()
    return content.startswith(PNG_SIGNATURE) and len(content) > 1000
