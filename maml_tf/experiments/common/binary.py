"""What the binaries have in common: flags of every run, the start of TensorFlow, errors, the line at the end.

TensorFlow is imported when the flags are read and right, so that --help and a mistyped flag answer at once.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import logging as stdlib_logging
import os
import pathlib
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import logging

from maml_tf import stopping
from maml_tf.registry import import_file

if TYPE_CHECKING:
    from maml_tf.results import Row

# Flags of version 0.1.0.
_RENAMED = {
    "checkpoint": "logdir",
    "folder": "output",
    "iterations_per_call": "validate_every",
    "output_dir": "output",
    "tuning_tasks": "validation_tasks",
}
_HELP = ("--help", "-help", "-h", "--helpshort", "-helpshort", "-?", "--?")
_PACKAGE = pathlib.Path(__file__).resolve().parents[2]
_NODE = re.compile(r"\{\{\w*node .*?\}\}")
_DISK = [os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)]


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


def define_trained_flags(flags: Any) -> None:
    """Defines the flags `logdir`, `pretrained`, `method` and `batch_statistics`: which trained model is meant.

    Args:
        flags: The module `absl.flags` of the binary that defines them, or what else has its functions.
    """
    flags.disclaim_key_flags()
    flags.DEFINE_string("logdir", None, "Directory of a training: the --logdir of the binary that trained.")
    flags.DEFINE_string("pretrained", None, "Weights of the package: a name of pretrained.available().")
    flags.DEFINE_string("method", None, "Method of a --logdir that has several, by default maml.")
    flags.DEFINE_string(
        "batch_statistics",
        None,
        "Statistics of batch normalization in a prediction: transductive, of all examples of the call, or support, of "
        "the task's support set; by default the training's.",
    )


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
    *,
    workers: bool = False,
    tensorflow: bool = True,
    help_text: Callable[[], str] | None = None,
) -> None:
    """Runs a binary: reads its flags, starts TensorFlow, and writes what the experiment returns.

    Defines the flag `register`, whose files are imported before the other flags are read: names registered by a file
    are then known.

    What a user can mend ends the process with one line on stderr and the exit code 1; --verbosity=1 adds the
    traceback. A fault keeps its traceback. SIGINT and SIGTERM stop a training after its step, with a checkpoint, and
    anything else at once; the exit code is 130 or 143.

    Args:
        app: The module `absl.app` of the binary.
        flags: Its module `absl.flags`.
        experiment: A function from the flags' values to the text for stdout.
        environment: A function from the flags' values to environment variables that TensorFlow reads when it is
            imported; what the user has set stays.
        workers: Whether several processes may run it together, as TF_CONFIG describes them; only the chief writes text
            then. Elsewhere TF_CONFIG is an error.
        tensorflow: Whether to start TensorFlow.
        help_text: What --help writes, by default absl's text.
    """
    flags.disclaim_key_flags()
    flags.DEFINE_multi_string(
        "register",
        [],
        "Python file that registers algorithms, methods, data sets or environments; imported before flags are read.",
    )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    def main(arguments):
        if len(arguments) > 1:
            sys.exit(f"Error: Expected flags alone, each with two dashes. Received: {' '.join(arguments[1:])}")
        logging.set_verbosity(max(logging.get_verbosity(), logging.INFO))
        for logger in (logging.get_absl_logger(), stdlib_logging.getLogger("tensorflow")):
            logger.addFilter(_is_no_chatter)
        values = flags.FLAGS.flag_values_dict()
        for name, value in environment(values).items():
            os.environ.setdefault(name, value)
        try:
            with stopping.stop_on_signals():
                if tensorflow:
                    _start_tensorflow(bool(values.get("task_a_thread")), bool(values.get("in_task_order")))
                with _among_workers(workers) as speaks:
                    text = experiment(values)
        except stopping.Stopped as stopped:
            sys.stderr.write(f"{stopped}\n")
            raise
        except Exception as error:
            answer = answer_of(error)
            if answer is None:
                raise
            logging.debug("The error below was raised here:", exc_info=True)
            sys.exit(f"Error: {answer}")
        if speaks and text:
            sys.stdout.write(text + "\n")

    app.run(main, flags_parser=flags_parser(flags, help_text))


@contextlib.contextmanager
def _among_workers(allowed: bool) -> Iterator[bool]:
    """Runs the block as one of the workers that TF_CONFIG describes; yields whether this one says what comes out."""
    if not os.environ.get("TF_CONFIG"):
        yield True
        return
    from maml_tf import distribute

    with distribute.strategy_from_environment().scope():
        worker = distribute.this_worker()
        if worker.count == 1:
            yield True
            return
        if not allowed:
            raise ValueError(f"Expected no TF_CONFIG: this binary is one process. Received: {worker.count} workers")
        logging.info("worker %d of %d: waiting for the others", worker.index, worker.count)
        distribute.agreed(0)
        if not worker.is_chief:
            logging.set_verbosity(min(logging.get_verbosity(), logging.WARNING))
        # TensorFlow has put a handler of its own in the place of the one for SIGTERM.
        with stopping.stop_on_signals():
            yield worker.is_chief
            distribute.agreed(0)  # A worker that leaves earlier looks like one that is lost.


def _start_tensorflow(task_a_thread: bool, in_task_order: bool) -> None:
    """Imports TensorFlow and sets its threads and optimizations."""
    gc.disable()  # A fifth of the time of the imports is the garbage collector's.
    with _without_notices():
        import keras  # noqa: F401
        import tensorflow as tf

        if task_a_thread:
            tf.config.threading.set_intra_op_parallelism_threads(1)
            tf.config.threading.set_inter_op_parallelism_threads(os.cpu_count() or 1)
        if in_task_order:
            # They turn divisions into products in some graphs and not in others.
            options = {"constant_folding": False, "arithmetic_optimization": False}
            tf.config.optimizer.set_experimental_options(options)
        tf.config.list_physical_devices()
    # The garbage collector would look through a million objects of the imported packages at every trace.
    gc.freeze()
    gc.enable()


# TensorFlow writes these whatever TF_CPP_MIN_LOG_LEVEL is. Error 303: the machine has no driver of a GPU. Version 2.18
# registers the factories of cuFFT, cuDNN and cuBLAS twice.
_NOTICE = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog|[IW]\d{4} .*\.cc:\d+\]"
    rb"|.*(cuInit.*\(303\)|Unable to register cu\w+ factory)"
)


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


_CHATTER = ("tf.function retracing", "with ops with unsaved custom gradients")


def _is_no_chatter(record: stdlib_logging.LogRecord) -> bool:
    """Returns whether a record of the log is not TensorFlow's own about checkpoints, traces or loaded functions."""
    if "tensorflow" not in pathlib.Path(record.pathname).parts:
        return True
    return record.levelno > stdlib_logging.INFO and not any(said in record.getMessage() for said in _CHATTER)


def answer_of(error: Exception) -> str | None:
    """Returns the line for a user who can mend an error; None for a fault, whose traceback is needed.

    A user can mend what is wrong with a file that the error names, and what the project checks: it answers wrong input
    by a `raise` statement of its own. No class of errors marks these, because every check would have to know it.
    """
    if isinstance(error, OSError) and error.filename is not None:
        return str(error)
    checked = (ImportError, OSError, ValueError, TypeError, LookupError)
    if isinstance(error, checked) and _is_raised_by_the_project(error):
        return str(error)
    import tensorflow as tf

    if isinstance(error, tf.errors.OpError):
        lost = tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError
        if os.environ.get("TF_CONFIG") and isinstance(error, lost):
            said = next((line for line in error.message.splitlines() if "ollective" in line), type(error).__name__)
            said = _NODE.sub("", said).strip()
            return f"Expected all workers until the end; start each of them again with --resume. Received: {said}"
        assertion = re.search(r"assertion failed: \[(Expected .*?)(?=\[\[\{\{node|\Z)", error.message, re.DOTALL)
        lines = [line for line in error.message.splitlines() if any(said in line for said in _DISK)]
        if assertion or lines:
            answer = assertion[1].replace(":]", ":", 1) if assertion else _NODE.sub("", lines[0])
            return " ".join(answer.split())
    return None


def _is_raised_by_the_project(error: Exception) -> bool:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    own = (_PACKAGE, pathlib.Path(sys.argv[0]).resolve())
    return any(pathlib.Path(frame.filename).resolve().is_relative_to(path) for path in own) and (
        frame.line or ""
    ).startswith("raise ")


def flags_parser(flags: Any, help_text: Callable[[], str] | None = None) -> Callable[[Sequence[str]], list[str]]:
    """Makes the `flags_parser` of `absl.app.run`: `--register` comes first, and `--help` exits with 0.

    Args:
        flags: The module `absl.flags` of the binary.
        help_text: What --help writes, by default absl's text.

    Returns:
        A function of a binary's arguments that returns what is left after the flags.
    """

    def parse(arguments):
        import_registered(arguments[1:])
        before_dashes = arguments[1 : arguments.index("--")] if "--" in arguments else arguments[1:]
        if help_text and {*_HELP} & {*before_dashes}:
            sys.stdout.write(help_text())
            raise SystemExit(0)
        try:
            return flags.FLAGS(arguments)
        except SystemExit:  # The flags of help alone exit here.
            raise SystemExit(0) from None
        except flags.Error as error:
            name = getattr(error, "flagname", None)  # Of an unknown flag.
            sys.exit(f"Error: --{name} is --{_RENAMED[name]} now" if name in _RENAMED else f"Error: {error}")

    return parse


def import_registered(arguments: Sequence[str]) -> None:
    """Imports the files of `--register`, before the flags are read; a file that is not there ends the process.

    Args:
        arguments: A binary's arguments, without its own name.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for path in early("register", arguments):
        if not pathlib.Path(path).expanduser().is_file():
            sys.exit(f"Error: Expected a Python file. Received: --register={path}")
        with _without_notices():
            import_file(path)
            if tensorflow := sys.modules.get("tensorflow"):  # A file with an algorithm imports it.
                tensorflow.config.list_physical_devices()


def early(name: str, arguments: Sequence[str]) -> list[str]:
    """Reads a flag before flags are.

    Args:
        name: The flag's name.
        arguments: A binary's arguments, without its own name.

    Returns:
        The values given, in their order.

    Example:
    >>> from maml_tf.experiments.common.binary import early
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
