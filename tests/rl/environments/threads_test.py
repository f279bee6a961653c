"""Tests of maml_tf.rl.environments.threads."""

import os
from unittest import mock

from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.rl.environments.locomotion import HalfCheetah
from maml_tf.rl.environments.processes import ProcessVectorEnv
from maml_tf.rl.environments.threads import default_threads
from tests.support.walk import Walk


class DefaultThreadsTest(parameterized.TestCase):
    @parameterized.parameters(("3", 3), ("0", 0), (" 2 ", 2), ("", 0))
    def test_are_those_of_the_environment(self, text, threads):
        with mock.patch.dict(os.environ, MAML_TF_SIMULATION_THREADS=text):
            self.assertEqual(default_threads(), threads)

    def test_without_the_variable_are_0(self):
        with mock.patch.dict(os.environ):
            os.environ.pop("MAML_TF_SIMULATION_THREADS", None)
            self.assertEqual(default_threads(), 0)

    @parameterized.product(text=["two", "-1", "1.5"], make=[lambda: HalfCheetah(1), lambda: ProcessVectorEnv(Walk, 1)])
    def test_what_is_no_number_is_refused_with_the_name_of_the_variable(self, text, make):
        with (
            mock.patch.dict(os.environ, MAML_TF_SIMULATION_THREADS=text),
            self.assertRaisesRegex(ValueError, f"MAML_TF_SIMULATION_THREADS to be a whole.*Received: {text!r}"),
        ):
            make()


class ProcessesTest(absltest.TestCase):
    def test_are_as_many_as_the_environment_has(self):
        with mock.patch.dict(os.environ, MAML_TF_SIMULATION_THREADS="2"):
            vector = ProcessVectorEnv(Walk, 5)
        self.addCleanup(vector.close)
        self.assertLen(vector._workers, 2)


if __name__ == "__main__":
    absltest.main()
