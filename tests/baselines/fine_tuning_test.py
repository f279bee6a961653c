"""Tests of maml_tf.baselines.fine_tuning."""

import functools
import re

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest

from maml_tf.baselines.fine_tuning import tune_step_size
from maml_tf.core.selection import matching
from maml_tf.evaluation import Evaluator
from maml_tf.layers import BatchNormalization
from maml_tf.learner import MAML


def line_through_zero(slope):
    """y = slope * x: a model whose adaptation is arithmetic."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([np.full((1, 1), slope, "float32")])
    return model


def tasks_at(x, tasks=2):
    """Tasks of the target 0 at x: the loss is (slope x)^2, and a step takes slope to slope (1 - 2 rate x^2)."""
    inputs, targets = np.full((tasks, 1, 1), x, "float32"), np.zeros((tasks, 1, 1), "float32")
    return ((inputs, targets, inputs), targets)


def mean_loss(slope, x, rate, steps):
    slopes = [slope * (1 - 2 * rate * x**2) ** step for step in range(1, steps + 1)]
    return np.mean([(value * x) ** 2 for value in slopes])


class TuneStepSizeTest(absltest.TestCase):
    def test_each_set_gets_the_step_size_that_is_best_by_hand(self):
        step_sizes = (0.05, 0.125, 0.5)
        tuned = tune_step_size(line_through_zero(3.0), "mse", [[tasks_at(1.0)], [tasks_at(2.0)]], 2, step_sizes)
        self.assertEqual([step_size for step_size, _ in tuned], [0.5, 0.125])
        for x, (_, losses) in zip((1.0, 2.0), tuned, strict=True):
            expected = [mean_loss(3.0, x, rate, steps=2) for rate in step_sizes]
            np.testing.assert_allclose(losses, expected, rtol=1e-5, atol=1e-10)

    def test_the_steps_before_the_last_count_and_the_zeroth_does_not(self):
        # After 1 and 2 steps: 0.25 and 0.0625 with the first rate; 0.36 and 0.1296 with the second.
        [(step_size, losses)] = tune_step_size(line_through_zero(1.0), "mse", [[tasks_at(1.0)]], 2, (0.25, 0.2))
        self.assertEqual(step_size, 0.25)
        np.testing.assert_allclose(losses, [(0.25 + 0.0625) / 2, (0.36 + 0.1296) / 2], rtol=1e-5)

    def test_all_meta_batches_of_a_set_count(self):
        # Alone, the task at 1 asks for 0.5; the three at 2 outweigh it.
        tasks = [tasks_at(1.0, tasks=1), tasks_at(2.0, tasks=3)]
        [(step_size, losses)] = tune_step_size(line_through_zero(1.0), "mse", [tasks], 1, (0.5, 0.125))
        self.assertEqual(step_size, 0.125)
        expected = [(mean_loss(1, 1, rate, 1) + 3 * mean_loss(1, 2, rate, 1)) / 4 for rate in (0.5, 0.125)]
        np.testing.assert_allclose(losses, expected, rtol=1e-5)

    def test_the_model_stays_as_it_is(self):
        model = line_through_zero(3.0)
        tune_step_size(model, "mse", [[tasks_at(1.0)]], 3, (0.1,))
        np.testing.assert_array_equal(model.get_weights()[0], [[3.0]])

    def test_a_step_size_that_diverges_loses(self):
        # To infinity with the first, to what is not a number with the second.
        [(step_size, losses)] = tune_step_size(line_through_zero(1.0), "mse", [[tasks_at(1.0)]], 4, (1e12, 1e30, 0.01))
        self.assertEqual(step_size, 0.01)
        np.testing.assert_array_equal(losses[:2], [np.inf, np.inf])

    def test_only_what_is_adapted_changes(self):
        # y = slope * (2 x): with the first layer fixed, the second one's adaptation is that of a line at 2 x.
        first = keras.layers.Dense(1, use_bias=False, kernel_initializer=keras.initializers.Constant(2.0))
        last = keras.layers.Dense(1, use_bias=False, kernel_initializer=keras.initializers.Constant(3.0), name="last")
        model = keras.Sequential([keras.Input((1,)), first, last])
        step_sizes = (0.05, 0.1, 0.2)
        [(_, losses)] = tune_step_size(model, "mse", [[tasks_at(1.0)]], 2, step_sizes, adapted=matching("last"))
        np.testing.assert_allclose(losses, [mean_loss(3.0, 2.0, rate, steps=2) for rate in step_sizes], rtol=1e-5)

    def test_what_is_least_is_the_error_that_is_asked_for(self):
        # The greatest output is that of the smallest step; the loss asks for the largest.
        tune = functools.partial(tune_step_size, line_through_zero(3.0), "mse", [[tasks_at(1.0)]], 1, (0.4, 0.1))
        [(step_size, errors)] = tune(error=lambda targets, outputs: -tf.reduce_mean(outputs))
        self.assertEqual(step_size, 0.1)
        np.testing.assert_allclose(errors, [-3.0 * (1 - 2 * rate) for rate in (0.4, 0.1)], rtol=1e-5)
        self.assertEqual(tune()[0][0], 0.4)

    def test_batch_statistics_are_the_support_sets_where_the_layer_keeps_the_last_batchs(self):
        normalize = BatchNormalization(momentum=0.0)
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3), normalize, keras.layers.Dense(1)])
        x = np.random.default_rng(0).normal(size=(2, 4, 2)).astype("float32")
        tasks = [((x, x[..., :1], 3 * x), x[..., :1])]
        evaluator = Evaluator(MAML(model, "mse", 0.1, first_order=True))
        expected = evaluator(tasks, 2).values["loss"][1:].mean()
        np.testing.assert_allclose(tune_step_size(model, "mse", [tasks], 2, (0.1,))[0][1], [expected], rtol=1e-6)

    def test_a_best_step_size_at_the_end_of_those_tried_is_noticed(self):
        for step_sizes, outermost in (((0.1, 0.2), 0.2), ((0.8, 0.9), 0.8)):
            with self.assertLogs("absl", level="WARNING") as logs:
                tune_step_size(line_through_zero(1.0), "mse", [[tasks_at(1.0)]], 1, step_sizes)
            self.assertRegex(logs.output[0], f"{outermost}\\b.*{re.escape(str(step_sizes))}")
        for step_sizes in ((0.5, 0.4, 0.7), (0.1,)):  # With one there is nothing to choose from.
            with self.assertNoLogs("absl", level="WARNING"):
                tune_step_size(line_through_zero(1.0), "mse", [[tasks_at(1.0)]], 1, step_sizes)

    def test_no_step_size_that_does_not_diverge_is_an_error(self):
        sets = [[tasks_at(0.0)], [tasks_at(1.0)]]  # At 0 nothing diverges, and one set is enough to fail.
        with self.assertRaisesRegex(ValueError, r"no validation task diverges. Received: \(1e\+20, 1e\+25\)"):
            tune_step_size(line_through_zero(1.0), "mse", sets, 4, (1e20, 1e25))

    def test_no_step_is_an_error(self):
        with self.assertRaisesRegex(ValueError, "at least 1. Received: steps=0"):
            tune_step_size(line_through_zero(1.0), "mse", [[tasks_at(1.0)]], 0)


if __name__ == "__main__":
    absltest.main()
