"""Several workers of one training, each a process of this machine, which meet on the loopback."""

from __future__ import annotations

import json
import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Sequence

from tests.support.source_tree import PROJECT

# Workers that wait for each other for ever fail their test instead.
_LONGEST_SECONDS = 300


def start(count: int, arguments: Sequence[Sequence[str]], folder: pathlib.Path) -> list[subprocess.Popen]:
    """Starts workers of Python programs.

    Args:
        count: How many.
        arguments: What each is called with, a program's path or "-c" first.
        folder: For what they write to stdout and stderr, files `out0`, `err0` and on.

    Returns:
        The processes.
    """
    addresses = [f"127.0.0.1:{port}" for port in _free_ports(count)]
    processes = []
    for index in range(count):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        environment["PYTHONPATH"] = os.pathsep.join([str(PROJECT), *filter(None, [environment.get("PYTHONPATH")])])
        if count > 1:
            environment["TF_CONFIG"] = json.dumps(task)
        with open(folder / f"out{index}", "w") as out, open(folder / f"err{index}", "w") as err:
            processes.append(
                subprocess.Popen(
                    [sys.executable, *arguments[index]], env=environment, cwd=PROJECT, stdout=out, stderr=err
                )
            )
    return processes


def wait(processes: Sequence[subprocess.Popen]) -> list[int]:
    """Waits for workers, and kills what has not ended in time; returns the exit codes."""
    try:
        return [process.wait(_LONGEST_SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
