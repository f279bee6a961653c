"""Tests of what of Meta-World's environments needs no Meta-World; `python -m tests.meta_world` has the others."""

import importlib.util
import pickle
import types
import unittest
from typing import NamedTuple
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.rl.environments import environments, meta_world
from maml_tf.rl.environments.meta_world import benchmarks

HERE = importlib.util.find_spec("metaworld") is not None


class Task(NamedTuple):
    """A task as Meta-World has them."""

    env_name: str
    data: bytes


def goals(kinds, count, first=0):
    return [
        Task(kind, pickle.dumps({"rand_vec": np.array([first + number, place, 0.5])}))
        for place, kind in enumerate(kinds)
        for number in range(count)
    ]


BENCHMARK = types.SimpleNamespace(
    train_classes=dict.fromkeys(["reach", "push", "sweep"]),
    test_classes=dict.fromkeys(["push", "lever"]),
    train_tasks=goals(["reach", "push", "sweep"], 4),
    test_tasks=goals(["push", "lever"], 3, first=10),
)


class TasksTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.enter_context(mock.patch.object(benchmarks, "_benchmark", lambda benchmark, name: BENCHMARK))
        self.tasks = benchmarks.MetaWorldTasks("ML10")

    def test_a_draw_goes_through_the_kinds_and_repeats_no_goal_before_all_have_come(self):
        drawn = self.tasks.sample(24, (1, 2))
        for begin in range(0, 24, 3):
            self.assertLen({task.env_name for task in drawn[begin : begin + 3]}, 3)
        self.assertEqual(set(drawn[:12]), set(BENCHMARK.train_tasks))
        self.assertEqual(drawn[12:], drawn[:12])

    def test_a_draw_is_a_function_of_its_seed_and_begins_a_larger_one(self):
        self.assertEqual(self.tasks.sample(5, (1, 2)), self.tasks.sample(11, (1, 2))[:5])
        self.assertNotEqual(self.tasks.sample(5, (1, 2)), self.tasks.sample(5, (1, 3)))

    def test_test_tasks_are_others_and_no_more_than_there_are(self):
        self.assertEqual(set(self.tasks.test_tasks(6, 1)), set(BENCHMARK.test_tasks))
        self.assertLen({task.env_name for task in self.tasks.test_tasks(2, 1)}, 2)
        with self.assertRaisesRegex(ValueError, "at most the 6 test tasks of ML10.*Received: 7"):
            self.tasks.test_tasks(7, 1)

    def test_an_oracle_is_told_the_kind_and_the_places(self):
        [row] = self.tasks.features([BENCHMARK.test_tasks[4]])
        self.assertEqual(row.tolist(), [0, 0, 0, 1, *11 * [0], 11, 1, 0.5, 0, 0, 0])
        alone = benchmarks.MetaWorldTasks("ML1", "reach-v3")
        self.assertEqual(alone.features(BENCHMARK.train_tasks[:1]).tolist(), [[0, 0, 0.5, 0, 0, 0]])

    def test_tasks_of_others_are_refused(self):
        self.assertEqual(self.tasks.checked(BENCHMARK.test_tasks), BENCHMARK.test_tasks)
        for wrong in (Task("hammer", b""), [0.0, 1.0]):
            with self.assertRaisesRegex(ValueError, "of the kinds .*'lever'.*Received: "):
                self.tasks.checked([BENCHMARK.test_tasks[0], wrong])


class SpecTest(parameterized.TestCase):
    @parameterized.parameters(*meta_world.NAMES)
    def test_names_the_benchmark_and_the_rewards(self, name):
        details = environments[name].details
        self.assertStartsWith(name.replace("_", " "), details["benchmark"].lower().removesuffix("-v3").split("-")[0])
        self.assertEqual(details["rewards"], "v2")

    @unittest.skipIf(HERE, "Meta-World is here")
    @parameterized.parameters(*meta_world.NAMES)
    def test_without_the_package_it_is_said_how_to_get_it(self, name):
        spec = environments[name]
        for use in (lambda: spec.make(2), lambda: spec.test_tasks(2, 1), lambda: spec.tasks.sample(2, 1)):
            with self.assertRaisesRegex(ImportError, "run: python3 bin/bootstrap.py meta_world.*Received: .*metaworld"):
                use()


if __name__ == "__main__":
    absltest.main()
