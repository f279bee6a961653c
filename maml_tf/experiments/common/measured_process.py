"""Runs a command and writes what it used, from a process that is small itself.

    python measured_process.py <file> <command>

A process starts with the memory of the one that it is made from as its peak, and a Python with TensorFlow is large.
This is run as a file, and imports nothing of the package.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def main(file: str, *command: str) -> int:
    """Runs a command; what it used is added to what the file holds of earlier ones.

    Args:
        file: JSON with "cpu_seconds" and "peak_mebibytes", which need not be there yet.
        *command: The command, whose standard output is dropped. Signals to stop are passed on to it. It is sent
            SIGTERM when standard input ends: where that is a pipe from the process that started this one, when that
            one has ended, however it did.

    Returns:
        Its exit code, as a shell has it: 128 + n for signal n.
    """
    process = None
    received: list[int] = []

    def send(number: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # It has just ended.
            os.kill(process.pid, number)

    def pass_on() -> None:
        while process and received:
            send(received.pop(0))

    def receive(number: int, _: object) -> None:
        received.append(number)
        pass_on()

    # Before the process is there: a signal that comes while it starts would end this one alone.
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, receive)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    pass_on()

    def end_with_input() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1024):
                pass
        send(signal.SIGTERM)

    threading.Thread(target=end_with_input, daemon=True).start()
    _, status, usage = os.wait4(process.pid, 0)
    path = pathlib.Path(file)
    before = json.loads(path.read_text()) if path.exists() else {"cpu_seconds": 0.0, "peak_mebibytes": 0.0}
    # Linux counts in KiB, macOS in bytes.
    peak = usage.ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
    after = {
        "cpu_seconds": round(before["cpu_seconds"] + usage.ru_utime + usage.ru_stime, 1),
        "peak_mebibytes": round(max(before["peak_mebibytes"], peak), 1),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".new").write_text(json.dumps(after) + "\n")
    path.with_suffix(".new").replace(path)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
