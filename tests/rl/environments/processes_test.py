"""Tests of maml_tf.rl.environments.processes: sub-environments in worker processes."""

import gc
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import threading
from unittest import mock

import numpy as np
from absl.testing import absltest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.registry import import_file
from maml_tf.rl.environments import GymnasiumEnvironment, UniformTasks
from maml_tf.rl.environments.processes import ProcessVectorEnv
from maml_tf.stopping import SIGNALS
from tests.support.source_tree import PROJECT
from tests.support.walk import Walk

COUNT = 5
ACTIONS = np.random.default_rng(0).uniform(-1, 1, (6, COUNT, 1)).astype(np.float32)


def assert_same(one, other):
    """Two results of a vector environment, with their infos."""
    for mine, its in zip(one, other, strict=True):
        np.testing.assert_equal(mine, its)


class ProcessVectorEnvTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.vector = ProcessVectorEnv(Walk, COUNT, processes=2)
        cls.addClassCleanup(cls.vector.close)

    def setUp(self):
        super().setUp()
        self.other = SyncVectorEnv([Walk] * COUNT, autoreset_mode=AutoresetMode.DISABLED)

    def test_results_and_infos_are_those_of_one_process(self):
        self.assertEqual(self.vector.single_observation_space, self.other.single_observation_space)
        self.assertEqual(self.vector.action_space, self.other.action_space)
        assert_same(self.vector.reset(seed=7), self.other.reset(seed=7))
        ended = np.zeros(COUNT, bool)
        for actions in ACTIONS:
            if ended.any():
                options = {"reset_mask": ended.copy()}, {"reset_mask": ended.copy()}
                assert_same(self.vector.reset(seed=3, options=options[0]), self.other.reset(seed=3, options=options[1]))
            mine, its = self.vector.step(actions), self.other.step(actions)
            assert_same(mine, its)
            ended = mine[2]
        self.assertTrue(mine[4]["success"].any())

    def test_methods_are_called_in_the_order_of_the_sub_environments(self):
        observations, _ = self.vector.reset(seed=1)
        goals = [0.0, 1.0, 2.0, 3.0, 4.0]
        np.testing.assert_array_equal(self.vector.call_each("set_goal", goals), goals + observations[:, 0])
        np.testing.assert_array_equal(self.vector.step(np.zeros((COUNT, 1)))[0][:, 1], goals)
        self.assertEqual(self.vector.call_one(3, "set_goal", 9.0), 9.0 + observations[3, 0])
        np.testing.assert_array_equal(self.vector.step(np.zeros((COUNT, 1)))[0][:, 1], [0.0, 1.0, 2.0, 9.0, 4.0])
        np.testing.assert_array_equal(self.vector.call("set_goal", 0.0), observations[:, 0])

    def test_attributes_are_those_of_gymnasium(self):
        goals = [0.0, 1.0, 2.0, 3.0, 4.0]
        for vector in (self.vector, self.other):
            vector.reset(seed=1)
            vector.set_attr("goal", goals)
            self.assertEqual(vector.get_attr("goal"), tuple(goals))
            np.testing.assert_array_equal(vector.step(np.zeros((COUNT, 1)))[0][:, 1], goals)
            vector.set_attr("goal", np.array([7.0, 8.0]))  # Neither a list nor a tuple: one value for all.
            self.assertEqual([goal.tolist() for goal in vector.get_attr("goal")], [[7.0, 8.0]] * COUNT)
            vector.set_attr("goal", 0.5)
            self.assertEqual(vector.call("goal"), (0.5,) * COUNT)
        self.assertTrue(self.vector.is_method("set_goal"))
        self.assertFalse(self.vector.is_method("goal"))

    def test_one_value_for_each_is_needed(self):
        for give in (self.vector.set_attr, self.vector.call_each):
            with self.assertRaisesRegex(ValueError, "each of 5 sub-environments. Received: 4 values"):
                give("set_goal", [0.0] * 4)

    def test_serves_as_a_batch_of_tasks(self):
        rollouts = []
        for vector in (self.vector, self.other):
            environment = GymnasiumEnvironment(vector, UniformTasks([0.0], [1.0]), lambda *_: None, horizon=6, seed=2)
            rollouts.append([environment.reset_batch()])
            for actions in ACTIONS:
                rollouts[-1] += [*environment.step_batch(actions), environment.succeeded]
        for one, other in zip(*rollouts, strict=True):
            np.testing.assert_array_equal(one, other)


class StoppedTest(absltest.TestCase):
    def test_signals_to_all_processes_of_a_program_leave_the_workers_running(self):
        vector = ProcessVectorEnv(Walk, 2, processes=2)
        self.addCleanup(vector.close)
        vector.reset(seed=1)
        for number in SIGNALS:
            for worker in vector._workers:
                os.kill(worker.pid, number)
        self.assertLen(vector.step(np.zeros((2, 1)))[0], 2)

    def test_a_program_that_does_not_close_it_ends(self):
        program = pathlib.Path(self.create_tempdir().full_path, "program.py")
        program.write_text(
            "import weakref\n\n"
            "class Other:\n    pass\n\n"
            "if __name__ == '__main__':\n"
            "    other = Other()\n"
            "    weakref.finalize(other, str)  # Registers weakref's own exit function before multiprocessing's.\n"
            "    from maml_tf.rl.environments.processes import ProcessVectorEnv\n"
            "    from tests.support.walk import Walk\n"
            "    vector = ProcessVectorEnv(Walk, 2, processes=2)\n"
            "    vector.reset()\n"
            "    print('made')\n"
        )
        done = subprocess.run(
            [sys.executable, program],
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            capture_output=True, text=True, check=False, timeout=100,
        )  # fmt: skip
        self.assertEqual((done.returncode, done.stdout), (0, "made\n"), done.stderr)


class RegisteredTest(absltest.TestCase):
    def registered(self, name, text):
        """Imports a file as --register does; returns its path and its module."""
        file = pathlib.Path(self.create_tempdir().full_path, name)
        file.write_text(f"from tests.support.walk import Walk\n\n{text}\n")
        import_file(file)
        [module] = [key for key, module in sys.modules.items() if getattr(module, "__file__", None) == str(file)]
        self.addCleanup(sys.modules.pop, module)
        return file, sys.modules[module]

    def test_workers_import_the_files_that_this_process_did(self):
        _, hills = self.registered("hills.py", "class Hills(Walk):\n    goal = 4.0")
        vector = ProcessVectorEnv(hills.Hills, 1)
        self.addCleanup(vector.close)
        self.assertEqual(vector.get_attr("goal"), (4.0,))

    def test_what_workers_cannot_import_is_said(self):
        with self.assertRaisesRegex(ValueError, "top of a module.*Received: <function .*lambda"):
            ProcessVectorEnv(lambda: Walk(), 1)
        file, gone = self.registered("gone.py", "class Gone(Walk):\n    pass")
        file.write_text("")
        with self.assertRaisesRegex(RuntimeError, "Received from a worker:\n(.*\n)*AttributeError: .*Gone"):
            ProcessVectorEnv(gone.Gone, 1)


class FailureTest(absltest.TestCase):
    def test_what_fails_in_a_worker_is_said_and_ends_it(self):
        vector = ProcessVectorEnv(Walk, 1)
        [worker] = vector._workers
        with self.assertRaisesRegex(RuntimeError, "Received from a worker:\n(.*\n)*ArithmeticError: odd"):
            vector.call("fail", "odd")
        self.assertFalse(worker.is_alive())
        with self.assertRaisesRegex(RuntimeError, "all worker processes to live"):
            vector.reset()

    def test_a_worker_that_ends_is_noticed(self):
        vector = ProcessVectorEnv(Walk, 1)
        with self.assertRaisesRegex(RuntimeError, r"all worker processes to live. Received: exit codes \[3\]"):
            vector.call("fail", "end")

    def test_what_cannot_be_sent_is_said(self):
        vector = ProcessVectorEnv(Walk, 1)
        with self.assertRaisesRegex(RuntimeError, "Received from a worker:\n(.*\n)*.*[Cc]an't pickle"):
            vector.call("unpicklable")
        vector = ProcessVectorEnv(Walk, 2, processes=2)
        self.addCleanup(vector.close)
        with self.assertRaisesRegex(Exception, "[Cc]an't pickle"):
            vector.call_each("set_goal", [1.0, lambda: None])
        self.assertEqual(vector.get_attr("goal"), (0.0, 0.0))

    def test_an_attribute_is_not_called_with_a_value(self):
        with self.assertRaisesRegex(RuntimeError, "Expected a method.*Received: the attribute 'goal'"):
            ProcessVectorEnv(Walk, 1).call_each("goal", [1.0])

    def test_exit_codes_are_known_where_a_worker_had_to_be_killed(self):
        vector = ProcessVectorEnv(Walk, 2, processes=2)
        first, second = vector._workers
        os.kill(first.pid, signal.SIGKILL)
        os.kill(second.pid, signal.SIGSTOP)  # It does not notice the end of its pipe.

        def kill_late(its):
            threading.Timer(0.5, os.kill, (its.pid, signal.SIGKILL)).start()

        with (
            mock.patch.object(type(second), "kill", kill_late),
            self.assertRaisesRegex(RuntimeError, r"exit codes \[-9, -9\]"),
        ):
            vector.reset()

    def test_workers_end_where_a_later_one_cannot_start(self):
        started, start = [], multiprocessing.context.SpawnProcess.start

        def once(its):
            if started:
                raise OSError("no more processes")
            start(its)
            started.append(its)

        with (
            mock.patch.object(multiprocessing.context.SpawnProcess, "start", once),
            self.assertRaisesRegex(OSError, "no more processes"),
        ):
            ProcessVectorEnv(Walk, 2, processes=2)
        gc.collect()
        self.assertLen(started, 1)
        self.assertFalse(started[0].is_alive())

    def test_workers_end_when_the_vector_environment_is_forgotten(self):
        vector = ProcessVectorEnv(Walk, 1)
        [worker] = vector._workers
        del vector
        gc.collect()
        self.assertFalse(worker.is_alive())

    def test_numbers_out_of_range_are_refused(self):
        for arguments, received in (((0,), "count=0"), ((2, -1), "processes=-1")):
            with self.assertRaisesRegex(ValueError, f"Received: {received}"):
                ProcessVectorEnv(Walk, *arguments)


if __name__ == "__main__":
    absltest.main()
