"""Tests of maml_tf.rl.environments.task_distribution."""

import numpy as np
from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.rl.environments import DirectionTasks, UniformTasks


class UniformTasksTest(parameterized.TestCase):
    def test_is_uniform_in_the_box(self):
        tasks = UniformTasks([0.0, -3.0], [2.0, 1.0]).sample(20_000, seed=3)
        self.assertEqual(tasks.dtype, np.float32)
        unit = (tasks.astype(np.float64) - [0.0, -3.0]) / [2.0, 4.0]
        self.assertBetween(unit.min(), 0.0, 0.001)
        self.assertBetween(unit.max(), 0.999, 1.0)
        # Five standard deviations of the means of u, u^2 and of the product of the two numbers.
        np.testing.assert_allclose(unit.mean(axis=0), 1 / 2, atol=5 * np.sqrt(1 / 12 / len(unit)))
        np.testing.assert_allclose((unit**2).mean(axis=0), 1 / 3, atol=5 * np.sqrt(4 / 45 / len(unit)))
        self.assertAlmostEqual(np.prod(unit - 1 / 2, axis=1).mean(), 0.0, delta=5 / 12 / np.sqrt(len(unit)))

    def test_is_a_function_of_the_seed(self):
        tasks = UniformTasks([0.0], [2.0])
        np.testing.assert_array_equal(tasks.sample(5, seed=1), tasks.sample(5, seed=1))
        np.testing.assert_array_equal(tasks.sample(5, seed=(1, 7))[:3], tasks.sample(3, seed=(1, 7)))
        seeds = (1, 2, (1, 7), (7, 1), (1, 8))
        self.assertLen({tasks.sample(5, seed).tobytes() for seed in seeds}, len(seeds))

    @parameterized.named_parameters(
        ("order", [1.0], [0.0]), ("sizes", [0.0], [1.0, 1.0]), ("scalars", 0.0, 1.0), ("nan", [np.nan], [1.0])
    )
    def test_refuses_what_is_no_box(self, low, high):
        with self.assertRaisesRegex(ValueError, "Received: low="):
            UniformTasks(low, high)

    def test_refuses_no_tasks(self):
        with self.assertRaisesRegex(ValueError, "Received: n=0"):
            UniformTasks([0.0], [1.0]).sample(0, 1)


class DirectionTasksTest(absltest.TestCase):
    def test_is_even(self):
        tasks = DirectionTasks().sample(20_000, seed=3)
        self.assertEqual((tasks.shape, tasks.dtype), ((20_000, 1), np.float32))
        self.assertEqual(set(tasks.ravel().tolist()), {-1.0, 1.0})
        self.assertAlmostEqual(tasks.mean(), 0.0, delta=5 / np.sqrt(len(tasks)))


if __name__ == "__main__":
    absltest.main()
