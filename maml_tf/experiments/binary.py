"""What the binaries have in common: flags of every run, the start of TensorFlow, errors, the line at the end.

TensorFlow is imported when the flags are read and right, so that --help and a mistyped flag answer at once.
"""

from __future__ import annotations

import contextlib
import gc
import logging as stdlib_logging
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import logging

from maml_tf.registry import import_file

if TYPE_CHECKING:
    from maml_tf.results import Row

_INTERRUPTED = 130
# Flags of version 0.1.0.
_RENAMED = {
    "checkpoint": "logdir",
    "folder": "output",
    "iterations_per_call": "validate_every",
    "output_dir": "output",
    "tuning_tasks": "validation_tasks",
}


def define_task_a_thread(flags: Any) -> None:
    """Defines the flag `task_a_thread`, which `run` obeys.

    Args:
        flags: The module `absl.flags` of the binary that defines it, or what else has its functions.
    """
    flags.disclaim_key_flags()  # To --help they are the binary's own.
    flags.DEFINE_bool(
        "task_a_thread",
        True,
        "Whether to give each operation one thread and to run tasks side by side, the fastest way on a CPU.",
    )


def define_training_flags(flags: Any, logdir: str | None, logdir_text: str) -> None:
    """Defines the flags `logdir`, `resume` and `task_a_thread`.

    Args:
        flags: The module `absl.flags` of the binary that defines them, or what else has its functions.
        logdir: Default of the first.
        logdir_text: What is said of it.
    """
    flags.disclaim_key_flags()
    flags.DEFINE_string("logdir", logdir, logdir_text)
    flags.DEFINE_bool("resume", False, "Whether to go on from the checkpoints in --logdir.")
    define_task_a_thread(flags)


def report(rows: Sequence[Row], logdir: str, percent: bool = False) -> str:
    """Formats what an experiment says at its end.

    Args:
        rows: Its results.
        logdir: Where it wrote them.
        percent: Whether the values are shares, to be shown in percent.

    Returns:
        The table of the results and a line with the directory.
    """
    from maml_tf.results import format_table

    return f"{format_table(rows, percent=percent)}\n\nWritten to {logdir}"


def run(
    app: Any,
    flags: Any,
    experiment: Callable[[Mapping[str, Any]], str],
    environment: Callable[[Mapping[str, Any]], Mapping[str, str]] = lambda values: {},
) -> None:
    """Runs a binary: reads its flags, starts TensorFlow, and writes what the experiment returns.

    Defines the flag `register`, whose files are imported before the other flags are read: names registered by a file
    are then known.

    What a user can mend, an `OSError`, a `ValueError` or a failure inside TensorFlow's graphs (a loss that is not
    finite, a full disk), ends the process with one line on stderr and the exit code 1, Ctrl-C with one and the code
    130, as a shell has it.

    Args:
        app: The module `absl.app` of the binary.
        flags: Its module `absl.flags`.
        experiment: A function from the flags' values to the text for stdout.
        environment: A function from the flags' values to environment variables that TensorFlow reads when it is
            imported; what the user has set stays.
    """
    if "register" not in flags.FLAGS:
        flags.disclaim_key_flags()
        flags.DEFINE_multi_string(
            "register", [], "Python file that registers methods, data sets or environments; imported before all flags."
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    def main(arguments):
        if len(arguments) > 1:
            raise app.UsageError(f"Expected flags alone. Received: {arguments[1:]}")
        logging.set_verbosity(logging.INFO)
        for logger in (logging.get_absl_logger(), stdlib_logging.getLogger("tensorflow")):
            logger.addFilter(_is_no_chatter)
        values = flags.FLAGS.flag_values_dict()
        for name, value in environment(values).items():
            os.environ.setdefault(name, value)
        tf = _start_tensorflow(bool(values.get("task_a_thread")))
        try:
            text = experiment(values)
        except (OSError, ValueError) as error:
            sys.exit(f"Error: {error}")
        except tf.errors.OpError as error:
            sys.exit(f"Error: {_said_by_the_graph(error.message)}")
        except KeyboardInterrupt:
            goes_on = ": --resume goes on from the last checkpoint" if "resume" in values else ""
            sys.stderr.write(f"Interrupted{goes_on}\n")
            sys.exit(_INTERRUPTED)
        sys.stdout.write(text + "\n")

    app.run(main, flags_parser=flags_parser(app, flags))


def _start_tensorflow(task_a_thread: bool) -> Any:
    """Imports TensorFlow and sets its threads."""
    gc.disable()  # A fifth of the time of the imports is the garbage collector's.
    with _without_notices():
        import keras  # noqa: F401
        import tensorflow as tf

        if task_a_thread:
            tf.config.threading.set_intra_op_parallelism_threads(1)
            tf.config.threading.set_inter_op_parallelism_threads(os.cpu_count() or 1)
        tf.config.list_physical_devices()
    # The garbage collector would look through a million objects of the imported packages at every trace.
    gc.freeze()
    gc.enable()
    return tf


# TensorFlow writes these whatever TF_CPP_MIN_LOG_LEVEL is. Error 303: the machine has no driver of a GPU.
_NOTICE = re.compile(rb"WARNING: All log messages before absl::InitializeLog|[IW]\d{4} .*\.cc:\d+\]|.*cuInit.*\(303\)")


@contextlib.contextmanager
def _without_notices() -> Iterator[None]:
    """Keeps TensorFlow's start-up lines from stderr; other lines come when the block ends."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            written.seek(0)
            for line in written:
                if not _NOTICE.match(line):
                    os.write(2, line)


def _is_no_chatter(record: stdlib_logging.LogRecord) -> bool:
    """Returns whether a record of the log is not TensorFlow's own about checkpoints or traces."""
    if "tensorflow" not in pathlib.Path(record.pathname).parts:
        return True
    return record.levelno > stdlib_logging.INFO and "tf.function retracing" not in record.getMessage()


def _said_by_the_graph(message: str) -> str:
    """Returns what a TensorFlow error says without the stack in which its operation was made."""
    assertion = re.search(r"assertion failed: (.*?)(?=\[\[\{\{node|\Z)", message, re.DOTALL)
    said = assertion[1] if assertion else message.strip().rpartition("\n")[-1]
    return " ".join(said.split())


def flags_parser(app: Any, flags: Any) -> Callable[[Sequence[str]], list[str]]:
    """Makes the `flags_parser` of `absl.app.run`: `--register` comes first, and `--help` exits with 0.

    Args:
        app: The module `absl.app` of the binary.
        flags: Its module `absl.flags`.

    Returns:
        A function of a binary's arguments that returns what is left after the flags.
    """

    def parse(arguments):
        for path in early("register", arguments[1:]):
            if not pathlib.Path(path).expanduser().is_file():
                sys.exit(f"Error: Expected a Python file. Received: --register={path}")
            import_file(path)
        try:
            return flags.FLAGS(arguments)
        except SystemExit:  # The flags of help alone exit here.
            raise SystemExit(0) from None
        except flags.Error as error:
            name = getattr(error, "flagname", None)  # Of an unknown flag.
            sys.exit(f"Error: --{name} is --{_RENAMED[name]} now" if name in _RENAMED else f"Error: {error}")

    return parse


def early(name: str, arguments: Sequence[str]) -> list[str]:
    """Reads a flag before flags are.

    Args:
        name: The flag's name.
        arguments: A binary's arguments, without its own name.

    Returns:
        The values given, in their order.

    Example:
    >>> from maml_tf.experiments.binary import early
    >>> early("register", ["--register=a.py", "--ways=5", "--register", "b.py"])
    ['a.py', 'b.py']
    """
    found = []
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        flag, equals, value = argument.partition("=")
        if argument == "--":
            break
        if flag in (f"-{name}", f"--{name}"):
            found.append(value if equals else following)
    return found
