"""Tests of maml_tf.stopping: programs that are sent signals."""

import signal
import subprocess
import sys
import time

from absl.testing import absltest, parameterized

from maml_tf import stopping
from maml_tf.stopping import Stopped, finishing_steps, stop_on_signals

# A training of steps of some seconds. The module is loaded by its path, because its package takes TensorFlow long.
PROGRAM = """
import importlib.util, sys, time
spec = importlib.util.spec_from_file_location("stopping", sys.argv[2])
stopping = importlib.util.module_from_spec(spec)
spec.loader.exec_module(stopping)

def train(step):
    with stopping.finishing_steps():
        print("started", flush=True)
        for iteration in range(1, 1000):
            time.sleep(step)
            if stopping.is_asked():
                stopping.note_saved(iteration, "run/checkpoints")
                stopping.stop()

try:
    with stopping.stop_on_signals():
        stopping.note_saved(0, "run/checkpoints")
        step = float(sys.argv[1])
        if step:
            train(step)
        else:
            print("started", flush=True)
            time.sleep(60)
except stopping.Stopped as stopped:
    print(stopped, file=sys.stderr)
    raise
"""


class Program:
    def __init__(self, test, step):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(step), stopping.__file__],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        test.addCleanup(self.process.kill)
        assert self.process.stdout.readline() == "started\n"

    def end(self):
        """Returns the exit code, the last line on stderr and the seconds that it took."""
        began = time.monotonic()
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said.splitlines()[-1], time.monotonic() - began


class StopOnSignalsTest(parameterized.TestCase):
    @parameterized.parameters((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129))
    def test_a_step_is_finished(self, number, code):
        program = Program(self, step=0.5)
        program.process.send_signal(number)
        returned, said, _ = program.end()
        self.assertEqual(returned, code)
        self.assertRegex(said, rf"{number.name}.*--resume continues from iteration [1-9]\d* \(run/checkpoints\)$")

    def test_a_step_that_does_not_end_is_abandoned(self):
        program = Program(self, step=60)
        program.process.send_signal(signal.SIGTERM)
        code, said, seconds = program.end()
        self.assertEqual(code, 143)
        self.assertRegex(said, r"SIGTERM.* 8 s .*abandoned; --resume continues from iteration 0 ")
        self.assertBetween(seconds, 7, 10)

    def test_a_second_signal_ends_it_at_once(self):
        program = Program(self, step=60)
        program.process.send_signal(signal.SIGTERM)
        time.sleep(1)
        program.process.send_signal(signal.SIGINT)
        code, said, seconds = program.end()
        self.assertEqual(code, 130)
        self.assertRegex(said, "SIGINT.*; --resume continues from iteration 0 ")
        self.assertLess(seconds, 4)

    def test_one_signal_sent_twice_is_one(self):
        program = Program(self, step=1.5)
        for _ in range(2):
            program.process.send_signal(signal.SIGTERM)
            time.sleep(0.05)
        code, said, _ = program.end()
        self.assertEqual(code, 143)
        self.assertNotIn("iteration 0", said)

    def test_what_is_no_training_stops_at_once(self):
        program = Program(self, step=0)
        program.process.send_signal(signal.SIGINT)
        code, said, seconds = program.end()
        self.assertEqual(code, 130)
        self.assertRegex(said, "SIGINT; --resume continues from iteration 0 ")
        self.assertLess(seconds, 4)

    def test_ignored_signals_stay_ignored(self):
        handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGHUP, handler)
        with stop_on_signals(), finishing_steps():
            signal.raise_signal(signal.SIGHUP)

    def test_a_signal_in_the_last_step_stops_after_it(self):
        before = signal.getsignal(signal.SIGTERM)
        reached = []
        with self.assertRaises(Stopped), stop_on_signals():
            with finishing_steps():
                signal.raise_signal(signal.SIGTERM)
                reached.append("end of the training")
            reached.append("evaluation")
        self.assertEqual(reached, ["end of the training"])
        self.assertEqual(signal.getsignal(signal.SIGTERM), before)

    def test_an_error_in_the_place_of_a_signals_is_the_signals(self):
        with self.assertRaises(Stopped) as stopped, stop_on_signals():
            try:
                signal.raise_signal(signal.SIGINT)
            except Stopped:
                # TensorFlow's C code does so, such as "bad argument to internal function".
                raise SystemError("bad argument") from None
        self.assertEqual(stopped.exception.code, 130)
        with self.assertRaises(SystemError), stop_on_signals():
            raise SystemError("bad argument")

    def test_an_error_while_a_step_is_finished_is_that_error(self):
        with self.assertRaisesRegex(OSError, "disk is full"), stop_on_signals(), finishing_steps():
            signal.raise_signal(signal.SIGTERM)
            raise OSError("The disk is full")

    def test_a_signal_in_a_destructor_is_no_traceback(self):
        class Freed:
            def __del__(self):
                signal.raise_signal(signal.SIGINT)

        said, hook = [], sys.unraisablehook
        self.addCleanup(setattr, sys, "unraisablehook", hook)
        sys.unraisablehook = said.append
        with stop_on_signals():
            Freed()
            self.assertTrue(stopping.is_asked())
        self.assertEqual(said, [])


if __name__ == "__main__":
    absltest.main()
