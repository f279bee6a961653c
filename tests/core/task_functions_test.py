"""Tests of maml_tf.core.task_functions."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf.algorithms import Algorithm, MetaParameters
from maml_tf.core.selection import everything, head
from maml_tf.core.task_functions import TaskFunctions
from maml_tf.core.update_rules import SGD, LearnedStepSizes
from tests.support.small_learner import draw


def line(weight=2.0, bias=0.5, **options):
    """A model y = weight * x + bias."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, name="line", **options)], name="net")
    model.set_weights([np.array([[weight]], "float32"), np.array([bias], "float32")])
    return model


def make_tasks(model=None, rule=None, selection=everything):
    return TaskFunctions(model or line(), "mse", rule or SGD(0.1), selection)


def adapt(tasks, params, rule, number, support, steps):
    return Algorithm().adapt(tasks, MetaParameters(params, rule), number, support, steps)


X, Y = np.array([[1.0], [3.0]], "float32"), np.array([[0.0], [5.0]], "float32")


class TaskFunctionsTest(parameterized.TestCase):
    def test_the_loss_is_that_of_targets_and_outputs(self):
        tasks = make_tasks()
        params = {**tasks.parameters(), "net/line/bias": tf.constant([1.5])}
        loss, outputs, state, _ = tasks.loss(params, [], X, Y, training=True)
        np.testing.assert_allclose(outputs, 2.0 * X + 1.5)
        self.assertAlmostEqual(float(loss), np.mean((2.0 * X + 1.5 - Y) ** 2), places=5)
        self.assertEmpty(state)

    def test_the_models_own_losses_are_added(self):
        tasks = make_tasks(line(kernel_regularizer=keras.regularizers.L2(0.25)))
        loss, *_ = tasks.loss(tasks.parameters(), [], X, Y, training=True)
        self.assertAlmostEqual(float(loss), np.mean((2.0 * X + 0.5 - Y) ** 2) + 0.25 * 2.0**2, places=5)

    def test_losses_of_a_wider_type_than_the_outputs_are_added(self):
        wide = keras.layers.Dense(1, dtype="float64", kernel_regularizer=keras.regularizers.L2(0.25))
        model = keras.Sequential([keras.Input((1,)), wide, keras.layers.Dense(1)])
        tasks = make_tasks(model)
        loss, outputs, *_ = tasks.loss(tasks.parameters(), [], X, Y, training=True)
        self.assertEqual(loss.dtype, tf.float32)
        expected = np.mean((outputs - Y) ** 2) + 0.25 * wide.kernel.numpy().item() ** 2
        self.assertAlmostEqual(float(loss), expected, places=5)

    def test_a_step_of_adaptation_is_gradient_descent(self):
        residual = 2 * (2.0 * X + 0.5 - Y)
        adaptation = adapt(make_tasks(), make_tasks().parameters(), [], None, (X, Y), 1)
        self.assertAlmostEqual(
            adaptation.params["net/line/kernel"].numpy().item(), 2.0 - 0.1 * np.mean(residual * X), places=5
        )
        self.assertAlmostEqual(
            adaptation.params["net/line/bias"].numpy().item(), 0.5 - 0.1 * np.mean(residual), places=5
        )

    def test_what_is_not_selected_stays_and_counts_all_the_same(self):
        model = keras.Sequential(
            [keras.Input((1,)), keras.layers.Dense(2, name="body"), keras.layers.Dense(1, name="top")], name="net"
        )
        tasks = make_tasks(model, selection=head)
        self.assertEqual(tasks.adapted_names, ("net/top/kernel", "net/top/bias"))
        params = tasks.parameters()
        self.assertEqual(list(tasks.adapted(params)), ["net/top/kernel", "net/top/bias"])
        adaptation = adapt(tasks, params, tasks.rule_values(), None, (X, Y), 2)
        self.assertEqual(tuple(adaptation.params), tasks.adapted_names)
        self.assertTrue(all(np.any(value != params[name]) for name, value in adaptation.params.items()))
        doubled = {**params, "net/body/kernel": 2 * params["net/body/kernel"]}
        other = adapt(tasks, doubled, tasks.rule_values(), None, (X, Y), 2)
        self.assertNotEqual(float(adaptation.losses[0]), float(other.losses[0]))

    def test_values_bound_to_the_rule_are_those_it_uses(self):
        rule = LearnedStepSizes(0.1)
        tasks = make_tasks(rule=rule)
        self.assertLen(tasks.rule_values(), 2)
        params = tasks.parameters()
        none = [tf.zeros_like(value) for value in tasks.rule_values()]
        for name, value in adapt(tasks, params, none, None, (X, Y), 1).params.items():
            np.testing.assert_array_equal(value, params[name])
        moved = adapt(tasks, params, tasks.rule_values(), None, (X, Y), 1).params
        self.assertNotEqual(float(moved["net/line/bias"][0]), 0.5)

    def test_dropout_masks_follow_the_tasks_number(self):
        model = keras.Sequential([keras.Input((20,)), keras.layers.Dropout(0.5, seed=1), keras.layers.Dense(1)])
        tasks = make_tasks(model)
        support = draw(3, 20), draw(3, 1)
        params = tasks.parameters()
        losses = [float(adapt(tasks, params, [], number, support, 1).losses[0]) for number in (None, 0, 1, 1)]
        self.assertEqual(losses[0], losses[1])
        self.assertNotEqual(losses[1], losses[2])
        self.assertEqual(losses[2], losses[3])

    @parameterized.parameters(
        (lambda model: [], "Expected a trainable variable to adapt. Received: none in 'net'"),
        (
            lambda model: ["net/line/scale"],
            r"of \['net/line/kernel', 'net/line/bias'\]. Received: \['net/line/scale'\]",
        ),
    )
    def test_a_selection_of_nothing_or_of_what_is_not_there_is_an_error(self, selection, message):
        with self.assertRaisesRegex(ValueError, message):
            make_tasks(selection=selection)

    def test_a_selection_must_be_a_function(self):
        with self.assertRaisesRegex(TypeError, r"adapted to be maml_tf.everything, .*Received: 'head'"):
            make_tasks(selection="head")

    def test_an_unbuilt_model_is_an_error(self):
        with self.assertRaisesRegex(ValueError, "Expected a built model"):
            make_tasks(keras.Sequential([keras.layers.Dense(1)]))


if __name__ == "__main__":
    absltest.main()
