"""Tests of maml_tf.experiments.sinusoid.config."""

import dataclasses
import itertools

from absl.testing import absltest, parameterized

from maml_tf.experiments.sinusoid import config
from maml_tf.experiments.sinusoid.config import METHODS, SinusoidConfig


class SinusoidConfigTest(parameterized.TestCase):
    def test_defaults_are_the_papers(self):
        config = SinusoidConfig()
        self.assertEqual((config.hidden, config.inner_learning_rate, config.inner_steps), ((40, 40), 0.01, 1))
        self.assertEqual((config.iterations, config.meta_batch_size, config.shots), (70_000, 25, 10))
        self.assertEqual((config.evaluation_shots, config.evaluation_steps, config.test_tasks), ((5, 10, 20), 10, 600))

    @parameterized.parameters(
        ({"methods": ("maml", "mamml")}, "Received: methods='mamml'"),
        ({"methods": ()}, r"Received: methods=\(\)"),
        ({"iterations": 1500, "iterations_per_call": 1000}, "iterations_per_call=1000 .*Received: iterations=1500"),
        ({"evaluation_shots": ()}, r"Received: evaluation_shots=\(\)"),
        ({"evaluation_shots": (5, 0)}, "Received: evaluation_shots=0"),
        ({"grid_points": 1}, "Received: grid_points=1"),
        ({"checkpoint_seconds": -1.0}, "Received: checkpoint_seconds=-1"),
        ({"multi_task_l2": -1e-4}, "Received: multi_task_l2=-0.0001"),
        ({"multi_task_mean": float("inf")}, "Received: multi_task_mean=inf"),
        ({"inner_learning_rate": -0.1}, "Received: inner_learning_rate=-0.1"),
        ({"meta_learning_rate": 0.0}, "Received: meta_learning_rate=0.0"),
        ({"multi_task_learning_rate": -1.0}, "Received: multi_task_learning_rate=-1.0"),
        ({"checkpoint_seconds": float("nan")}, "Received: checkpoint_seconds=nan"),
    )
    def test_what_cannot_be_run_is_an_error(self, fields, message):
        with self.assertRaisesRegex(ValueError, message):
            SinusoidConfig(**fields)

    @parameterized.parameters(
        "iterations", "meta_batch_size", "shots", "inner_steps", "evaluation_steps", "test_tasks", "validation_tasks",
        "iterations_per_call", "multi_task_networks", "multi_task_iterations", "multi_task_points",
    )  # fmt: skip
    def test_counts_below_one_are_an_error(self, name):
        with self.assertRaisesRegex(ValueError, f"Received: {name}=0"):
            SinusoidConfig(**{name: 0})

    @parameterized.parameters((70_000, 1000), (100, 100), (1500, 750))
    def test_the_interval_that_is_not_given_follows_the_iterations(self, iterations, expected):
        self.assertEqual(SinusoidConfig(iterations=iterations).iterations_per_call, expected)

    def test_all_means_every_method_and_a_repeated_one_counts_once(self):
        self.assertEqual(SinusoidConfig(methods=("all",)).methods, METHODS)
        self.assertEqual(SinusoidConfig(methods=("oracle", "maml", "oracle")).methods, ("oracle", "maml"))

    def test_every_method_alone_is_a_configuration(self):
        for method in METHODS:
            self.assertEqual(SinusoidConfig(methods=(method,)).methods, (method,))

    def test_no_two_streams_share_a_seed(self):
        names = ("TRAINING", "VALIDATION", "TEST", "FIGURES", "NETWORKS")
        purposes = [getattr(config, name) for name in names]
        streams = [SinusoidConfig(seed=seed).stream(p) for seed, p in itertools.product(range(20), purposes)]
        self.assertLen(set(streams), 20 * len(names))

    def test_it_cannot_change(self):
        with self.assertRaises(dataclasses.FrozenInstanceError):
            SinusoidConfig().seed = 2


if __name__ == "__main__":
    absltest.main()
