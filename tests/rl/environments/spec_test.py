"""Tests of the registry of environments and of what it says of the paper's."""

import subprocess
import sys

import numpy as np
from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.methods import names
from maml_tf.rl.environments import EnvironmentSpec, TaskDistribution, environments
from tests.support.source_tree import PROJECT

PUBLISHED = tuple(name for name in environments if environments[name].returns)


class Letters(TaskDistribution):
    """Tasks that are strings."""

    def sample(self, n, seed):
        return [chr(97 + number) for number in np.random.default_rng(seed).integers(26, size=n)]


class RegistryTest(parameterized.TestCase):
    def test_names_need_no_simulation(self):
        heavy = ("tf_agents", "tensorflow_probability", "mujoco", "gymnasium")
        code = (
            f"import sys\nfor name in {heavy}: sys.modules[name] = None\n"
            "from maml_tf.rl.environments import environments\nprint(*environments)"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
        self.assertEqual(done.stdout.split(), list(environments.names()), done.stderr)
        self.assertLen(PUBLISHED, 6)

    def test_an_unknown_name_is_refused(self):
        with self.assertRaisesRegex(ValueError, "Received: 'walker'"):
            environments["walker"]

    def test_test_tasks_of_objects_are_drawn_from_the_distribution(self):
        spec = EnvironmentSpec(make=None, tasks=Letters())
        self.assertEqual(spec.test_tasks(5, 1), spec.test_tasks(5, 1))
        self.assertNotEqual(spec.test_tasks(5, 1), spec.test_tasks(5, 2))
        # Neither those of a training, (seed, iteration, 0), nor those of a tuning, (seed, number).
        for seed in (1, (1, 0), (1, 5)):
            self.assertNotEqual(spec.test_tasks(5, 1), spec.tasks.sample(5, seed))
        self.assertEmpty(spec.paper_returns(20))


class TestTasksTest(parameterized.TestCase):
    @parameterized.parameters(
        ("point_navigation", -0.5, 0.5), ("half_cheetah_velocity", 0.0, 2.0), ("ant_velocity", 0.0, 3.0)
    )
    def test_are_those_of_numpys_random_state(self, name, low, high):
        tasks = environments[name].test_tasks(40, 1)
        expected = np.random.RandomState(1).uniform(low, high, tasks.shape).astype(np.float32)
        np.testing.assert_array_equal(tasks, expected)

    def test_of_navigation(self):
        first = environments["point_navigation"].test_tasks(40, 1)[0]
        np.testing.assert_allclose(first, [-0.08297799, 0.22032449], rtol=1e-6)

    @parameterized.product(name=["half_cheetah_direction", "ant_direction"], seed=[1, 2])
    def test_of_directions_are_the_halves_of_a_uniform_range(self, name, seed):
        expected = np.where(np.random.RandomState(seed).uniform(0.0, 3.0, 40) < 1.5, -1.0, 1.0)
        np.testing.assert_array_equal(environments[name].test_tasks(40, seed)[:, 0], expected)


class PaperTest(parameterized.TestCase):
    @parameterized.parameters(
        ("point_navigation", 2, 2), ("point_navigation_squared", 2, 2), ("point_navigation_square_goal", 2, 2),
        ("half_cheetah_velocity", 20, 1), ("half_cheetah_direction", 20, 1), ("ant_velocity", 125, 1),
        ("ant_direction", 125, 1),
    )  # fmt: skip
    def test_environments_have_the_size_of_the_specification(self, name, observation, task):
        environment = environments[name].make(2)
        self.assertEqual(environment.observation_spec().shape, (observation,))
        self.assertEqual(environments[name].tasks.size, task)
        if hasattr(environment, "task"):
            self.assertEndsWith(name, f"_{environment.task}")

    @parameterized.parameters(
        ("point_navigation", "distance", "disc"),
        ("point_navigation_squared", "squared", "disc"),
        ("point_navigation_square_goal", "distance", "square"),
    )
    def test_the_reward_and_the_goal_of_navigation(self, name, reward, goal):
        environment = environments[name].make(1)
        self.assertEqual((environment.reward, environment.goal), (reward, goal))


class PaperReturnsTest(parameterized.TestCase):
    @parameterized.parameters(*PUBLISHED)
    def test_each_environment_has_its_methods_step_by_step(self, name):
        points = environments[name].paper_returns(20)
        self.assertContainsSubset({point.method for point in points}, names("meta_rl"))
        for method in ("maml", "pretrained", "random"):
            self.assertEqual([point.step for point in points if point.method == method], [0, 1, 2, 3])
        self.assertEqual([point.step for point in points if point.method == "oracle"], [0])
        maml = [point.mean for point in points if point.method == "maml"]
        self.assertGreater(min(maml[1:]), maml[0])
        self.assertEqual({point.shots for point in points}, {20})

    @parameterized.parameters(
        ("point_navigation", -11.68, -19.73, -57.96, -2.29),
        ("half_cheetah_velocity", -78.57, -135.39, -254.33, -54.47),
        ("half_cheetah_direction", 293.19, -24.75, 21.83, 442.69),
        ("ant_velocity", 96.74, 6.11, -62.81, 107.89),
        ("ant_direction", 499.15, 1.27, 9.25, 524.80),
    )
    def test_after_one_step_each_method_has_its_own_return(self, name, maml, pretrained, random, oracle):
        points = {(point.method, point.step): point.mean for point in environments[name].paper_returns(20)}
        adapted = {method: points[method, 1] for method in ("maml", "pretrained", "random")}
        self.assertEqual(adapted, {"maml": maml, "pretrained": pretrained, "random": random})
        self.assertEqual(points["oracle", 0], oracle)


if __name__ == "__main__":
    absltest.main()
