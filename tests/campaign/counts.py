"""What the trials of a part came to, and what counts as one clear error."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import tensorflow as tf

LONGEST_MESSAGE = 900
_OF_A_STACK = re.compile(
    r"Traceback|Stack trace|Graph execution error|File \"|\{\{(function_)?node|Exception encountered when calling"
)
# What Keras writes around the message of an error in a call of a layer or model.
_OF_A_CALL = re.compile(
    r"Exception encountered when calling \S+\s+\x1b\[1m(.*?)\x1b\[0m\s+Arguments received by .*", re.DOTALL
)


# Keras' own sentences about a name or an input, and Python's about a type, are as clear as ours.
_SAYS_WHAT = re.compile(
    r"Expected.*Received|expected.*received|expected shape=.*found shape=|Could not interpret \w+ identifier"
    r"|object is not iterable|expected .*, not |Data cardinality is ambiguous"
    r"|Failed to convert a NumPy array to a Tensor \(Unsupported object",
    re.DOTALL,
)


@dataclasses.dataclass
class Counts:
    """A row of the campaign's table.

    Attributes:
        part: The part's name.
        right: Trials that came to what an independent program says.
        clear_error: Trials that ended in one clear error where there is no right result.
        refused: Errors where there is a right result.
        silent: Results where there is none, wrong ones, and a learner that an error left changed.
        stack: Errors that are not one clear sentence.
        bits: Results that differ where they must be the same bit for bit.
        failures: Each trial that went wrong: how, the call, and what came.
    """

    part: str
    right: int = 0
    clear_error: int = 0
    refused: int = 0
    silent: int = 0
    stack: int = 0
    bits: int = 0
    failures: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)

    @property
    def trials(self) -> int:
        return self.right + self.clear_error + self.refused + self.silent + self.stack + self.bits

    def add(self, outcome: str, call: str, received: Any = "") -> None:
        """Counts a trial: `outcome` is the name of a column."""
        setattr(self, outcome, getattr(self, outcome) + 1)
        if outcome not in ("right", "clear_error"):
            self.failures.append((outcome, call, " ".join(str(received).split())[:600]))
            print(f"  {self.part}: {outcome}: {call}: {self.failures[-1][-1]}", flush=True)

    def error(self, call: str, error: BaseException, expected: str = "") -> None:
        """Counts a trial that ended in an error where one was due; `expected` is a pattern of what it must name."""
        self.add("clear_error" if is_clear(error, expected) else "stack", call, f"{type(error).__name__}: {error}")


COLUMNS = ("trials", "right", "clear_error", "refused", "silent", "stack", "bits")


def is_clear(error: BaseException, expected: str = "") -> bool:
    """Whether an error is a user's: one sentence that says what was expected and received, and names the value."""
    # meta_gradients is called in the user's own functions, where TensorFlow alone can raise.
    kinds = (ValueError, TypeError, LookupError, OSError, tf.errors.InvalidArgumentError)
    message = _OF_A_CALL.sub(r"\1", str(error))
    return (
        isinstance(error, kinds)
        and message.count("\n") <= 3
        and len(message) <= LONGEST_MESSAGE
        # The system's errors say what was not there, and where.
        and (_SAYS_WHAT.search(message) or (isinstance(error, OSError) and error.filename))
        and not _OF_A_STACK.search(message)
        and re.search(expected, message) is not None
    )


def table(rows: list[Counts]) -> str:
    """Formats the counts, one line a part."""
    lines = [["part", *(column.replace("_", " ") for column in COLUMNS)]]
    lines += [[row.part, *(str(getattr(row, column)) for column in COLUMNS)] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def received(call: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """Calls; returns the result and the error, one of which is None."""
    try:
        return call(), None
    except Exception as error:
        return None, error
