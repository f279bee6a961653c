"""Stopping by a signal: a training finishes its step and saves; everything else stops at once."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_PATIENCE_SECONDS = 8.0
# The command timeout, and some service managers, send a signal to the process and again to its group.
_SAME_SIGNAL_SECONDS = 0.5


class Stopped(SystemExit):
    """Ends the program because of a signal; the exit code is 128 + the signal's number, as in a shell.

    Args:
        number: Number of the signal.
    """

    def __init__(self, number: int):
        super().__init__(128 + number)
        self.number = number

    def __str__(self) -> str:
        return _message(self.number)


class _State:
    asked: int | None = None
    raised = False
    finishing = 0
    saved = ""


_state = _State()


@contextlib.contextmanager
def stop_on_signals(patience_seconds: float = _PATIENCE_SECONDS) -> Iterator[None]:
    """Raises `Stopped` on SIGINT, SIGTERM and SIGHUP: at once, or inside `finishing_steps` after the running step.

    If the program has not ended `patience_seconds` after the signal, or receives a second signal, the process ends at
    once. Signals that the process ignores, as under nohup, stay ignored. Outside of the main thread this does nothing.

    TensorFlow's C code may turn the `Stopped` of a signal that comes while it traces into an error of its own, or drop
    it. An error after `Stopped` was raised at once therefore counts as `Stopped`, and a program that goes on ends after
    `patience_seconds`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    _state.saved = ""
    # A thread, because Python runs handlers only between its own instructions, and not while TensorFlow compiles.
    threading.Thread(target=_watch, args=(reader, patience_seconds), daemon=True).start()
    wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, _handle) for number in caught}
    hook, sys.unraisablehook = sys.unraisablehook, _unless_stopped(sys.unraisablehook)
    try:
        yield
    except Exception as error:
        if _state.raised:
            raise Stopped(_state.asked) from error
        raise
    finally:
        sys.unraisablehook = hook
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        writer.close()
        _state.asked, _state.raised = None, False


@contextlib.contextmanager
def finishing_steps() -> Iterator[None]:
    """Inside, signals do not stop the program: the training calls `is_asked` after each step, saves, and stops."""
    _state.finishing += 1
    try:
        yield
    finally:
        _state.finishing -= 1
    if is_asked():
        stop()


def is_asked() -> bool:
    """Returns whether the program has received a signal to stop."""
    return _state.asked is not None


def asked() -> int:
    """Returns the number of the signal to stop that the program has received, 0 for none."""
    return _state.asked or 0


def stop(number: int | None = None) -> NoReturn:
    """Stops the program because of a signal.

    Args:
        number: Number of the signal, by default the one received.
    """
    raise Stopped(number or _state.asked)


def note_saved(iteration: int, directory: str | os.PathLike[str]) -> None:
    """Records where --resume continues, for the message of a stopped program.

    Args:
        iteration: Number of finished iterations.
        directory: Directory of the checkpoints.
    """
    _state.saved = f"; --resume continues from iteration {iteration:,} ({os.fspath(directory)})"


def _handle(number: int, frame: FrameType | None) -> None:
    if _state.asked is None:
        _state.asked = number
        if not _state.finishing:
            _state.raised = True
            stop()


def _unless_stopped(hook: Callable[[Any], object]) -> Callable[[Any], object]:
    """Returns a hook for exceptions that Python cannot raise, such as those in `__del__`, without those of a signal."""
    return lambda unraisable: None if isinstance(unraisable.exc_value, Stopped) else hook(unraisable)


def _watch(reader: socket.socket, patience_seconds: float) -> None:
    with reader:
        first, asked_at = None, 0.0
        while True:
            left = None if first is None else max(asked_at + patience_seconds - time.monotonic(), 0.0)
            if not select.select([reader], [], [], left)[0]:
                _end(first, f"a step that did not end within {patience_seconds:.0f} s was abandoned")
            received = reader.recv(1)
            if not received:
                return
            number = received[0]
            if number not in SIGNALS:
                continue
            if first is None:
                first, asked_at = number, time.monotonic()
            elif time.monotonic() - asked_at >= _SAME_SIGNAL_SECONDS:
                _end(number, "for the second time, without waiting for the step")


def _end(number: int, how: str) -> NoReturn:
    # The main thread may hold the lock of sys.stderr.
    os.write(2, f"{_message(number, how)}\n".encode())
    os._exit(128 + number)


def _message(number: int, how: str = "") -> str:
    return f"Stopped by {signal.Signals(number).name}{', ' if how else ''}{how}{_state.saved}"
