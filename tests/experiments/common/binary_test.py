"""Tests of maml_tf.experiments.common.binary."""

import contextlib
import io
import logging as stdlib_logging
import pathlib
import re
import signal
import subprocess
import sys
import types
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl import flags as absl_flags
from absl import logging
from absl.testing import absltest

from maml_tf.checks import whole_number
from maml_tf.experiments.common import binary
from maml_tf.results import Row
from maml_tf.training import load_weights, read_json
from maml_tf.training.progress import format_duration


class Values(absl_flags.FlagValues):
    """Flags' values of a binary's own; as with absl's, --help ends the process with 1."""

    def __call__(self, arguments, known_only=False):
        if "--help" in arguments:
            raise SystemExit(1)
        return super().__call__(arguments, known_only)


class Usage:
    """A binary in this process: its flags are its own, and its absl.app runs it without ending the process."""

    def __init__(self, experiment):
        self.experiment = experiment
        values = Values()
        self.flags = types.SimpleNamespace(FLAGS=values, Error=absl_flags.Error, disclaim_key_flags=lambda: None)
        for name in ("DEFINE_bool", "DEFINE_multi_string", "DEFINE_string"):
            define = getattr(absl_flags, name)
            setattr(self.flags, name, lambda *given, define=define: define(*given, flag_values=values))
        binary.define_training_flags(self.flags, "runs", "Directory.")

    def run(self, *arguments):
        """Returns the exit code, or the message that stands for it, and what went to stdout."""
        app = types.SimpleNamespace(
            run=lambda main, flags_parser: main(flags_parser(["binary", *arguments])),
        )
        written, code = io.StringIO(), 0
        with (
            contextlib.redirect_stdout(written),
            mock.patch.object(tf.config.threading, "set_intra_op_parallelism_threads") as intra,
            mock.patch.object(tf.config.threading, "set_inter_op_parallelism_threads"),
        ):
            try:
                binary.run(app, self.flags, self.experiment)
            except SystemExit as stopped:
                code = stopped.code
        self.intra_op = intra.call_args
        return code, written.getvalue()


class RunTest(absltest.TestCase):
    def test_the_experiment_gets_the_flags_and_its_text_is_written(self):
        usage = Usage(lambda values: f"{values['logdir']} {values['resume']}")
        self.assertEqual(usage.run("--logdir=there", "--resume"), (0, "there True\n"))

    def test_operations_have_one_thread_unless_the_user_says_otherwise(self):
        self.assertEqual((usage := Usage(lambda values: "")).run(), (0, ""))
        self.assertEqual(usage.intra_op, mock.call(1))
        self.assertEqual((usage := Usage(lambda values: "")).run("--notask_a_thread"), (0, ""))
        self.assertIsNone(usage.intra_op)

    def test_what_the_project_answers_is_one_line(self):
        answers = (
            lambda values: whole_number("steps", 1.5),
            lambda values: read_json(__file__),
            lambda values: load_weights(None, "no/such.keras"),
            lambda values: pathlib.Path("no/such/file").read_text(),
        )
        for experiment, named in zip(answers, ("steps=1.5", __file__, "no/such.keras", "no/such/file"), strict=True):
            code, written = Usage(experiment).run()
            self.assertRegex(code, f"^Error: .*{re.escape(named)}")
            self.assertNotIn("\n", code)
            self.assertEqual(written, "")

    def test_a_fault_keeps_its_traceback(self):
        def planted(*arguments, **keywords):
            return int("no number", 16)

        def train(values):
            model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
            model.compile(keras.optimizers.Adam(), "mse")
            model.fit(np.ones([2, 1]), np.ones([2, 1]), verbose=0)

        with mock.patch.object(keras.optimizers.Adam, "update_step", planted), self.assertRaises(ValueError):
            Usage(train).run()
        for fault in (KeyError("a fault"), OSError("a fault"), ValueError("Expected a fault")):
            with self.assertRaises(type(fault)):
                Usage(mock.Mock(side_effect=fault)).run()
        with self.assertRaises(ValueError):  # In a module of the project, but not by a check of its own.
            Usage(lambda values: format_duration(float("nan"))).run()

    def test_failures_inside_graphs_are_one_line(self):
        @tf.function
        def finite(x):
            tf.debugging.Assert(x < 1.0, ["Expected finite losses. Received:", x])

        code, _ = Usage(lambda values: finite(tf.constant(2.0))).run()
        self.assertStartsWith(code, "Error: Expected finite losses. Received: [2]")
        self.assertNotIn("\n", code)

        def full(values):
            raise tf.errors.ResourceExhaustedError(
                None, None, "Graph execution error:\n\nthere; No space left on device\n"
            )

        self.assertEqual(Usage(full).run(), ("Error: there; No space left on device", ""))
        with self.assertRaises(tf.errors.InvalidArgumentError):
            Usage(lambda values: tf.reshape(tf.ones([2]), [3])).run()

    def test_the_log_is_without_tensorflow_s_chatter(self):
        def experiment(values):
            tf.train.Checkpoint(step=tf.Variable(1)).write(f"{values['logdir']}/checkpoint")
            logging.info("training")
            return ""

        said = io.StringIO()
        handler = stdlib_logging.StreamHandler(said)
        logger = logging.get_absl_logger()
        logger.addHandler(handler)
        self.addCleanup(logger.removeHandler, handler)
        self.addCleanup(logging.set_verbosity, logging.get_verbosity())
        self.assertEqual(Usage(experiment).run(f"--logdir={self.create_tempdir().full_path}"), (0, ""))
        self.assertEqual(said.getvalue(), "training\n")

    def test_start_up_lines_of_tensorflow_are_left_out_and_others_kept(self):
        file = pathlib.Path(self.create_tempdir().full_path, "notices.py")
        lines = [
            "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
            "I0000 00:00:1795902867.369584   15091 port.cc:153] oneDNN custom operations are on.",
            "E0000 00:00:1795906224.942895   30268 cuda_dnn.cc:8310] Unable to register cuDNN factory: Attempting to",
            "2026-11-28 22:50:24.845182: E external/cuda_fft.cc:477] Unable to register cuFFT factory: Attempting to",
            "E0000 00:00:1795902906.039326   15466 cuda_platform.cc:52] failed call to cuInit: UNKNOWN ERROR (303)",
            "E0000 00:00:1795902906.039326   15466 cuda_platform.cc:52] failed call to cuInit: no memory (2)",
            "my own line",
        ]
        file.write_text(f"import os\nos.write(2, {chr(10).join([*lines, ''])!r}.encode())\n")
        code = "import sys; from maml_tf.experiments.common import binary; binary.import_registered(sys.argv[1:])"
        finished = subprocess.run(
            [sys.executable, "-c", code, f"--register={file}"], capture_output=True, text=True, check=True
        )
        self.assertEqual(finished.stderr.splitlines(), lines[-2:])

    def test_a_signal_is_one_line(self):
        written = io.StringIO()
        with contextlib.redirect_stderr(written):
            self.assertEqual(Usage(lambda values: signal.raise_signal(signal.SIGINT)).run(), (130, ""))
        self.assertEqual(written.getvalue(), "Stopped by SIGINT\n")

    def test_help_is_a_success_and_a_wrong_argument_none(self):
        experiment = mock.Mock()
        self.assertEqual(Usage(experiment).run("--help"), (0, ""))
        for argument in ("--shots=1", "--resume=perhaps"):
            code, _ = Usage(experiment).run(argument)
            self.assertStartsWith(code, "Error: ")
            self.assertIn(argument.strip("-").partition("=")[0], code)
        code, _ = Usage(experiment).run("more", "and")
        self.assertEqual(code, "Error: Expected flags alone, each with two dashes. Received: more and")
        experiment.assert_not_called()


class ReportTest(absltest.TestCase):
    def test_the_table_and_the_directory(self):
        row = Row("maml", 1, 0, "accuracy", 0.5, 0.1, 0.02, 600)
        table, empty, last = binary.report([row], "runs/a", percent=True).rsplit("\n", 2)
        self.assertIn("50.0 +- 2.0", table)
        self.assertEqual((empty, last), ("", "Written to runs/a"))


if __name__ == "__main__":
    absltest.main()
