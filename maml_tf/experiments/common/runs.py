"""Runs, each in a folder of its own, by processes that end where this process ends and go on at the next time.

Nothing here imports TensorFlow.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import IO, NamedTuple

from absl import logging

from maml_tf import stopping
from maml_tf.files import exclusive, writable_directory

# In the folder of a run: what it said, and what its first process used, the training, and those after it.
LOG, USAGE, TEST_USAGE = "log.txt", "usage.json", "test_usage.json"
# Longer than a stopped run takes to save and end.
_PATIENCE_SECONDS = 30.0
_MEASURED = pathlib.Path(__file__).with_name("measured_process.py")


class Job(NamedTuple):
    """A run to make.

    Attributes:
        folder: The folder; created if need be. A run whose folder exists is resumed.
        commands: From whether the run is resumed to Python's arguments for each of its processes, which follow each
            other while they succeed. A ValueError says why there are none: the run has failed.
    """

    folder: pathlib.Path
    commands: Callable[[bool], Sequence[Sequence[str]]]


@contextlib.contextmanager
def open_runs(logdir: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Creates a directory of runs if need be, and keeps others from making runs in it inside the block.

    Raises:
        ValueError: If the directory cannot be written to, or another process makes runs in it.
    """
    directory = writable_directory(logdir)
    with exclusive(directory, "makes runs in"), stopping.stop_on_signals(_PATIENCE_SECONDS):
        yield directory


def make_runs(
    jobs: Iterable[Job], parallel: int = 1, note: Callable[[pathlib.Path, str], object] = lambda folder, state: None
) -> list[pathlib.Path]:
    """Makes runs, inside `open_runs`; a run that fails is no reason to stop.

    A signal is passed on to the runs, which save and end, and so does this function then. SIGKILL of this process makes
    them do the same.

    Args:
        jobs: The runs; the next one is taken when its turn comes.
        parallel: How many runs go on side by side.
        note: Is told the folder of a run and its state: "running", then "finished", "failed" or "stopped".

    Returns:
        The logs of the runs that failed.
    """
    if parallel > 1:  # A process would take all of a GPU's memory.
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    upcoming, failed = iter(jobs), []
    running: dict[pathlib.Path, Iterator[str]] = {}
    # Where it is left by an error, the runs' inputs close, which stops them.
    with stopping.finishing_steps(), contextlib.ExitStack() as held:
        while True:
            while len(running) < parallel and not stopping.is_asked() and (job := next(upcoming, None)):
                note(job.folder, "running")
                running[job.folder] = held.enter_context(contextlib.closing(_make(job)))
            if not running:
                return failed
            for folder, states in list(running.items()):
                if (state := next(states)) != "running":
                    del running[folder]
                    note(folder, state)
                    failed += [folder / LOG] if state == "failed" else []
            time.sleep(0.05)


def check_succeeded(failed: Sequence[pathlib.Path]) -> None:
    """Raises a ValueError if there are logs of runs that failed."""
    if failed:
        raise ValueError(
            f"Expected all runs to succeed. Received: {len(failed)} that failed, such as {failed[0]}: "
            f"{_last_words(failed[0])}"
        )


def _make(job: Job) -> Generator[str, None, None]:
    """Makes a run, and yields its state from time to time, at last what has become of it."""
    folder, began = job.folder, time.monotonic()
    resume = folder.exists()
    # What was killed together with the process that made the run is saving, and ends.
    while resume and _is_used(folder) and time.monotonic() < began + _PATIENCE_SECONDS and not stopping.is_asked():
        logging.log_every_n_seconds(logging.INFO, "waiting for the end of %s, which was killed", 5, folder)
        yield "running"
    folder.mkdir(parents=True, exist_ok=True)
    logging.info("%s %s", folder, "goes on" if resume else "begins")
    state = "finished"
    with open(folder / LOG, "ab", buffering=0) as log:
        try:
            commands = job.commands(resume)
        except ValueError as error:
            log.write(f"Error: {error}\n".encode())
            commands, state = (), "failed"
        for number, arguments in enumerate(commands):
            code = -stopping.asked() or (yield from _run(arguments, folder / (TEST_USAGE if number else USAGE), log))
            if code:
                # A process that the signal reaches before its handlers are there ends by the signal itself.
                stopped = stopping.is_asked() and code in (128 + stopping.asked(), -stopping.asked())
                state = "stopped" if stopped else "failed"
                break
    said = "" if state == "finished" else f": {_last_words(folder / LOG)}"
    logging.info("%s %s after %.0f s%s", folder, state, time.monotonic() - began, said)
    yield state


def _run(arguments: Sequence[str], usage: pathlib.Path, log: IO[bytes]) -> Generator[str, None, int]:
    """Runs Python in a process, which is sent SIGTERM if this one ends, by SIGKILL too, and returns its exit code."""
    log.write(f"running: python {' '.join(arguments)}\n".encode())
    command = [sys.executable, str(_MEASURED), str(usage), sys.executable, *arguments]
    told = False
    # In a session of its own: Ctrl+C then reaches this process alone, which passes it on once.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log, start_new_session=True) as process:
        while (code := process.poll()) is None:
            if stopping.is_asked() and not told:
                told = True
                process.send_signal(stopping.asked())
            yield "running"
    return code


def _is_used(folder: pathlib.Path) -> bool:
    try:
        with exclusive(folder, "trains in"):
            return False
    except ValueError:
        return True


def _last_words(path: pathlib.Path) -> str:
    """Returns the last line of a log that says why a run ended, or its last line."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line for line in lines if line.startswith(("Error: ", "Stopped by "))]
    return (said or lines or [""])[-1]
