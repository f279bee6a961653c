"""Tests of maml_tf.demo.navigation."""

import importlib.util
import unittest
from unittest import mock

import numpy as np
from absl.testing import absltest

if importlib.util.find_spec("bokeh") is None:
    raise unittest.SkipTest("the extra demo is not installed")

from tests.support import with_rl  # noqa: F401

# isort: split
from bokeh.events import Tap

from maml_tf.demo import navigation
from maml_tf.rl import adaptation


class NavigationTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.navigator = navigation.load()

    def test_walks_end_at_the_goal_after_gradient_steps_alone(self):
        goal = np.array([-0.3, 0.4])
        walks = self.navigator.walks(goal, seed=1)
        self.assertLen(walks, navigation.STEPS + 1)
        distances = []
        for walk in walks:
            self.assertLen(walk.paths, navigation.SHOWN)
            for path in walk.paths:
                np.testing.assert_array_equal(path[0], [0, 0])
                self.assertLessEqual(np.abs(np.diff(path, axis=0)).max(), 0.1 + 1e-6)
            distances.append(np.mean([np.linalg.norm(path[-1] - goal) for path in walk.paths]))
        self.assertGreater(distances[0], 0.3)
        self.assertLess(distances[-1], 0.05)
        self.assertGreater(walks[-1].mean_return, walks[0].mean_return + 30)

    def test_no_visitor_waits_for_a_graph_to_be_traced(self):
        with mock.patch.object(adaptation, "over_tasks", side_effect=AssertionError("a gradient step is traced")):
            for goal in ((0.0, 0.1), (0.5, 0.5), (-0.3, 0.4), (0.1, -0.2)):  # Rollouts of many lengths.
                self.navigator.walks(goal, seed=2)

    def test_a_goal_beyond_the_square_is_an_error(self):
        for goal in ((0.6, 0.0), (0.1,), (np.nan, 0.0)):
            with self.assertRaisesRegex(ValueError, "Expected a goal of two numbers from -0.5 to 0.5. Received: "):
                self.navigator.walks(goal)

    def test_a_visitor_sees_walks_to_the_goal_that_is_clicked(self):
        content = navigation.Tab(self.navigator).content
        source = content.select_one({"name": "walk_3"})
        first, plot = source.data, content.select_one({"name": "navigation_2"})
        plot._trigger_event(Tap(plot, x=-0.7, y=0.2))
        self.assertIn(
            "Goal (-0.50, 0.20). 3 gradient steps and 160 walks in",
            content.select_one({"name": "navigation_status"}).text,
        )
        self.assertIsNot(source.data, first)
        self.assertLess(np.hypot(np.array(source.data["x"]) + 0.5, np.array(source.data["y"]) - 0.2).mean(), 0.1)


if __name__ == "__main__":
    absltest.main()
