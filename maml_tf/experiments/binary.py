"""What the binaries of the experiments have in common: flags of every run, threads, errors, the line at the end."""

from __future__ import annotations

import gc
import logging as stdlib_logging
import os
import pathlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from maml_tf.results import Row, format_table

_INTERRUPTED = 130


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
    return f"{format_table(rows, percent=percent)}\n\nWritten to {logdir}"


def run(app: Any, flags: Any, experiment: Callable[[Mapping[str, Any]], str]) -> None:
    """Runs a binary: reads its flags, sets up logging and threads, and writes what the experiment returns.

    What a user can mend, an `OSError`, a `ValueError` or a failure inside TensorFlow's graphs (a loss that is not
    finite, a full disk), ends the process with one line on stderr and the exit code 1, Ctrl-C with one and the code
    130, as a shell has it.

    Args:
        app: The module `absl.app` of the binary.
        flags: Its module `absl.flags`.
        experiment: A function from the flags' values to the text for stdout.
    """

    def main(arguments):
        if len(arguments) > 1:
            raise app.UsageError(f"Expected flags alone. Received: {arguments[1:]}")
        logging.set_verbosity(logging.INFO)
        logging.get_absl_logger().addFilter(_is_no_chatter)
        values = flags.FLAGS.flag_values_dict()
        if values.get("task_a_thread"):
            tf.config.threading.set_intra_op_parallelism_threads(1)
            tf.config.threading.set_inter_op_parallelism_threads(os.cpu_count() or 1)
        # The garbage collector would look through a million objects of the imported packages at every trace.
        gc.freeze()
        gc.enable()
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


def _is_no_chatter(record: stdlib_logging.LogRecord) -> bool:
    """Returns whether a record of the log is a warning or not TensorFlow's own, which times its checkpoints."""
    return record.levelno > stdlib_logging.INFO or "tensorflow" not in pathlib.Path(record.pathname).parts


def _said_by_the_graph(message: str) -> str:
    """Returns what a TensorFlow error says without the stack in which its operation was made."""
    assertion = re.search(r"assertion failed: (.*?)(?=\[\[\{\{node|\Z)", message, re.DOTALL)
    said = assertion[1] if assertion else message.strip().rpartition("\n")[-1]
    return " ".join(said.split())


def flags_parser(app: Any, flags: Any) -> Callable[[Sequence[str]], list[str]]:
    """Makes the `flags_parser` of `absl.app.run` under which `--help` exits with 0; absl's own exits with 1.

    Args:
        app: The module `absl.app` of the binary.
        flags: Its module `absl.flags`.

    Returns:
        A function of a binary's arguments that returns what is left after the flags.
    """

    def parse(arguments):
        try:
            return flags.FLAGS(arguments)
        except SystemExit:  # The flags of help alone exit here.
            raise SystemExit(0) from None
        except flags.Error as error:
            sys.exit(f"Error: {error}")

    return parse
