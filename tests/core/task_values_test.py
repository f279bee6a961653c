"""Tests of maml_tf.core.task_values."""

import math

import numpy as np
from absl.testing import absltest

from maml_tf.core.task_values import Evaluation


class PrintedTest(absltest.TestCase):
    def test_steps_are_rows_and_metrics_columns(self):
        values = {"loss": np.array([[2.0, 4.0], [0.5, 1e9]]), "accuracy": np.array([[0.0, 0.5], [1.0, 1.0]])}
        head, _, *table = str(Evaluation(values, divergence=100.0)).splitlines()
        self.assertIn("2 tasks", head)
        self.assertEqual([line.split()[0] for line in table], ["step", "0", "1"])
        self.assertEqual(table[0].split()[1:], ["loss", "accuracy"])
        self.assertEqual(table[1].split()[1:], ["3.000", "+-", "1.960", "0.250", "+-", "0.490"])
        self.assertIn("5.00e+08 +- 9.80e+08 (median 5.00e+08, 1 of 2 diverged)  1.000 +- 0.000", table[2])
        self.assertEqual(table[0].index("accuracy"), table[1].index("0.250"))

    def test_a_metric_without_a_mean_is_named(self):
        values = {"loss": np.ones((1, 2)), "prediction": np.ones((1, 2, 5))}
        self.assertIn("prediction has values [5] of each task, and no mean", str(Evaluation(values)))
        self.assertNotIn("step", str(Evaluation({"prediction": np.ones((1, 2, 5))})))


class EvaluationTest(absltest.TestCase):
    def test_statistics_by_hand(self):
        values = np.array([[1.0, 2.0, 6.0, 7.0], [1.0, 1.0, 1.0, 2.0]])
        summary = Evaluation({"mse": values}).summary("mse", 0)
        sd = math.sqrt((9 + 4 + 4 + 9) / 3)
        self.assertEqual((summary.metric, summary.step, summary.tasks, summary.diverged), ("mse", 0, 4, 0))
        self.assertAlmostEqual(summary.mean, 4.0, places=14)
        self.assertAlmostEqual(summary.sd, sd, places=14)
        self.assertAlmostEqual(summary.ci95, 1.96 * sd / 2, places=14)
        self.assertAlmostEqual(summary.median, 4.0, places=14)

    def test_every_metric_and_step(self):
        evaluation = Evaluation({"a": np.ones((3, 2)), "b": np.zeros((3, 2))})
        order = [(summary.metric, summary.step, summary.mean) for summary in evaluation.summaries()]
        self.assertEqual(order, [("a", step, 1.0) for step in range(3)] + [("b", step, 0.0) for step in range(3)])

    def test_one_task_has_no_spread(self):
        summary = Evaluation({"a": np.ones((1, 1))}).summary("a", 0)
        self.assertEqual(summary.mean, 1.0)
        self.assertTrue(math.isnan(summary.sd) and math.isnan(summary.ci95))

    def test_diverged_tasks_are_counted_and_stay_in_the_mean(self):
        values = np.array([[1.0, 50.0, np.inf, 2.0], [1.0, np.nan, 3.0, 2.0], [1.0, 50.0, 3.0, 2.0]])
        evaluation = Evaluation({"mse": values}, divergence=10.0)
        first, second, third = evaluation.summaries()
        self.assertEqual((first.diverged, first.mean), (2, math.inf))
        self.assertEqual(second.diverged, 1)
        self.assertTrue(math.isnan(second.mean))
        self.assertEqual(second.median, 2.5)  # Of 1, 2, 3 and a NaN, the largest.
        self.assertEqual((third.diverged, third.mean, third.median), (1, 14.0, 2.5))
        self.assertEqual([s.diverged for s in Evaluation({"mse": values}).summaries()], [1, 1, 0])
        # Tasks, whenever they diverged, and not steps.
        self.assertEqual(evaluation.diverged("mse"), 2)

    def test_the_threshold_itself_is_not_over_it(self):
        self.assertEqual(Evaluation({"mse": np.array([[10.0, 10.5]])}, divergence=10.0).diverged("mse"), 1)


if __name__ == "__main__":
    absltest.main()
