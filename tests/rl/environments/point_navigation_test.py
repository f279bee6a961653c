"""Tests of maml_tf.rl.environments.point_navigation."""

import numpy as np
from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401

# isort: split
from tf_agents.environments import utils

from maml_tf.rl.environments import PointNavigation, environments


class PointNavigationTest(parameterized.TestCase):
    def test_sizes(self):
        environment = PointNavigation(2)
        self.assertEqual((environment.observation_spec().shape, environment.action_spec().shape), ((2,), (2,)))
        self.assertEqual((environment.horizon, environment.distribution.size), (100, 2))
        self.assertEqual(PointNavigation(2, task_in_observation=True).observation_spec().shape, (4,))

    def test_goals_fill_the_square(self):
        goals = PointNavigation(1).sample_tasks(4000, seed=1)
        np.testing.assert_allclose([goals.min(axis=0), goals.max(axis=0)], [[-0.5] * 2, [0.5] * 2], atol=0.01)

    # From (0, 0) with a = (1, -0.5): the position is (0.1, -0.05), the goal (0.4, 0.35) is (0.3, 0.4) away.
    @parameterized.parameters(("distance", -0.5), ("squared", -0.25))
    def test_reward_by_hand(self, reward, expected):
        environment = PointNavigation(1, reward=reward)
        environment.set_tasks([[0.4, 0.35]])
        np.testing.assert_array_equal(environment.reset_batch(), [[0, 0]])
        observations, rewards, done = environment.step_batch([[1.0, -0.5]])
        np.testing.assert_allclose(observations, [[0.1, -0.05]], rtol=1e-6)
        np.testing.assert_allclose(rewards, [expected], rtol=1e-6)
        self.assertFalse(done[0])

    def test_a_move_is_at_most_a_tenth_in_each_direction(self):
        environment = PointNavigation(1)
        environment.reset_batch()
        np.testing.assert_allclose(environment.step_batch([[-5.0, 1.5]])[0], [[-0.1, 0.1]], rtol=1e-6)

    def test_ends_within_a_hundredth_of_the_goal(self):
        environment = PointNavigation(3)
        environment.set_tasks([[0.1, 0.1], [0.1095, 0.1], [0.1075, 0.1075]])
        environment.reset_batch()
        # The third is within 0.01 on each axis, but not by distance.
        self.assertEqual(environment.step_batch(np.ones([3, 2]))[2].tolist(), [True, True, False])

    def test_ends_where_each_coordinate_is_within_a_hundredth_of_a_square_goal(self):
        environment = PointNavigation(4, goal="square")
        environment.set_tasks([[0.1, 0.1], [0.1095, 0.0905], [0.1105, 0.1], [0.1, 0.0895]])
        environment.reset_batch()
        self.assertEqual(environment.step_batch(np.ones([4, 2]))[2].tolist(), [True, True, False, False])

    def test_a_done_point_rests(self):
        environment = PointNavigation(2)
        environment.set_tasks([[0.1, 0.0], [0.5, 0.0]])
        environment.reset_batch()
        for _ in range(3):
            observations, rewards, _ = environment.step_batch(np.tile([1.0, 0.0], [2, 1]))
        np.testing.assert_allclose(observations, [[0.1, 0.0], [0.3, 0.0]], rtol=1e-6)
        np.testing.assert_allclose(rewards, [0.0, -0.2], rtol=1e-6)

    def test_a_reset_brings_those_named_back_alone(self):
        environment = PointNavigation(2)
        environment.reset_batch()
        environment.step_batch(np.ones([2, 2]))
        np.testing.assert_allclose(environment.reset_batch(np.array([True, False])), [[0, 0], [0.1, 0.1]], rtol=1e-6)

    def test_the_return_of_standing_still_is_that_of_the_paper_before_adaptation(self):
        environment = PointNavigation(40)
        environment.set_tasks(environments["point_navigation"].test_tasks(40, 1))
        environment.reset_batch()
        returns = sum(environment.step_batch(np.zeros([40, 2]))[1] for _ in range(100))
        # -40.4 +- 4.2 in the paper's Figure 4, of a policy that has learned to wait for the first gradient step.
        self.assertAlmostEqual(returns.mean(), -40.4, delta=4.2)

    def test_the_goal_is_not_in_the_observation(self):
        here, there = PointNavigation(1), PointNavigation(1)
        here.set_tasks([[0.4, 0.4]])
        there.set_tasks([[-0.4, -0.1]])
        np.testing.assert_array_equal(here.reset_batch(), there.reset_batch())
        for action in np.random.default_rng(0).normal(size=(20, 1, 2)):
            np.testing.assert_array_equal(here.step_batch(action)[0], there.step_batch(action)[0])

    def test_conforms_to_tf_agents(self):
        utils.validate_py_environment(PointNavigation(3, horizon=20), episodes=20)

    def test_refuses_a_reward(self):
        with self.assertRaisesRegex(ValueError, "Received: reward='cubed'"):
            PointNavigation(1, reward="cubed")

    def test_refuses_a_goal(self):
        with self.assertRaisesRegex(ValueError, "Received: goal='cube'"):
            PointNavigation(1, goal="cube")


if __name__ == "__main__":
    absltest.main()
