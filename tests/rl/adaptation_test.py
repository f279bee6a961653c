"""Tests of a policy's adaptation: the meta-gradient against finite differences, what adapts and what does not."""

import re
import warnings

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401

# isort: split
import maml_tf
from maml_tf.core.over_tasks import meta_gradient
from maml_tf.rl.adaptation import PolicyAdaptation, TaskExperience, thinned
from maml_tf.rl.objectives import ClippedSurrogate, dice, likelihood_ratio, low_variance_curvature, reinforce
from maml_tf.rl.policy import GaussianPolicy, PurePolicy
from tests.rl import examples


def surrogate(problem):
    return lambda params, task: (problem.loss(problem.outputs(params, task), task), ())


class MetaGradientTest(parameterized.TestCase):
    @parameterized.parameters(
        (0, reinforce, likelihood_ratio), (1, reinforce, likelihood_ratio), (2, reinforce, likelihood_ratio),
        (1, likelihood_ratio, likelihood_ratio), (1, reinforce, ClippedSurrogate(0.5)),
    )  # fmt: skip
    def test_equals_central_differences(self, inner_steps, objective, outer):
        error = self.relative_error(inner_steps, objective, outer, first_order=False)
        self.assertLess(error, 1e-6)

    def test_first_order_differs(self):
        self.assertGreater(self.relative_error(1, reinforce, likelihood_ratio, first_order=True), 1e-2)

    @parameterized.parameters((2, low_variance_curvature, likelihood_ratio), (1, dice, examples.products_of_ratios))
    def test_that_of_a_loss_with_constants_equals_central_differences_with_these_held(self, steps, objective, held):
        error = self.relative_error(steps, objective, likelihood_ratio, first_order=False, held=held)
        self.assertLess(error, 1e-6)

    def relative_error(self, inner_steps, objective, outer, first_order, held=None):
        pure = examples.policy()
        sampled, params = pure.parameters(), pure.parameters()
        adaptation = PolicyAdaptation(pure, [0.4, 0.2], objective=objective, first_order=first_order)
        blocks = examples.tasks(adaptation, sampled, inner_steps=inner_steps)
        # Away from the sampling parameters, where the surrogates are not all alike.
        random = np.random.default_rng(0)
        params = {name: value + 0.05 * random.normal(size=value.shape) for name, value in params.items()}
        loss = surrogate(adaptation.problem(outer))
        exact = meta_gradient(loss, params, blocks).gradients
        if held:
            blocks = examples.at_parameters(adaptation, params, blocks)
            adaptation = PolicyAdaptation(pure, [0.4, 0.2], objective=held)
            loss = surrogate(adaptation.problem(outer))
        direction = {name: random.normal(size=value.shape) for name, value in params.items()}
        along = sum(np.sum(exact[name] * direction[name]) for name in params)

        def at(step):
            moved = {name: value + step * direction[name] for name, value in params.items()}
            return float(meta_gradient(loss, moved, blocks).loss)

        differences = (at(1e-5) - at(-1e-5)) / 2e-5
        return abs(along - differences) / abs(differences)


class AdaptationTest(parameterized.TestCase):
    def test_warns_of_layers_without_second_derivatives(self):
        for layer, expected in ((keras.layers.LayerNormalization, 1), (maml_tf.layers.LayerNormalization, 0)):
            network = keras.Sequential([keras.Input((3,)), layer(name="norm"), keras.layers.Dense(2)])
            policy = PurePolicy(GaussianPolicy(network))
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                PolicyAdaptation(policy, 0.1)
                PolicyAdaptation(policy, 0.1, first_order=True)
            warned = [str(warning.message) for warning in caught if "norm: " in str(warning.message)]
            self.assertLen(warned, expected)

    def setUp(self):
        super().setUp()
        self.pure = examples.policy()
        self.params = self.pure.parameters()

    def test_is_gradient_descent_on_the_objective(self):
        adaptation = PolicyAdaptation(self.pure, 0.3)
        batch = examples.batch(self.pure, self.params)
        with tf.GradientTape() as tape:
            tape.watch(self.params)
            loss = reinforce(self.pure(self.params, batch.observations), batch)
        gradient = tape.gradient(loss, self.params)
        adapted = adaptation.adapt(self.params, [batch])
        for name, value in self.params.items():
            np.testing.assert_allclose(adapted[name], value - 0.3 * gradient[name])
            self.assertGreater(np.abs(gradient[name]).max(), 0)  # The standard deviation adapts, too.

    def test_steps_of_many_tasks_equal_those_of_each(self):
        adaptation = PolicyAdaptation(self.pure, [0.3, 0.1])
        blocks = examples.tasks(adaptation, self.params, count=3, inner_steps=2)
        stacked = tf.nest.map_structure(lambda value: tf.stack([value] * 3), self.params)
        for step in range(2):
            stacked = adaptation.step(stacked, blocks.inner[step], step)
        for number in range(3):
            expected = adaptation.adapt(self.params, examples.task(blocks, number).inner)
            for name, value in expected.items():
                np.testing.assert_allclose(stacked[name][number], value)

    def test_the_first_step_of_many_adaptations_is_nothing_to_warn_of(self):
        params = {name: value[tf.newaxis] for name, value in self.params.items()}
        batches = tf.nest.map_structure(lambda value: value[tf.newaxis], examples.batch(self.pure, self.params))
        with self.assertNoLogs("tensorflow", "WARNING"):
            for _ in range(6):
                PolicyAdaptation(self.pure, 0.1).step(params, batches, 0)

    def test_only_the_selected_parameters_change(self):
        adaptation = PolicyAdaptation(self.pure, 0.3, adapted=maml_tf.matching("log_std|head"))
        adapted = adaptation.adapt(self.params, [examples.batch(self.pure, self.params)])
        changed = {name for name in self.params if not np.array_equal(adapted[name], self.params[name])}
        self.assertEqual(changed, {"policy/log_std", "head/kernel", "head/bias"})
        blocks = examples.tasks(adaptation, self.params)
        stacked = tf.nest.map_structure(lambda value: tf.stack([value] * 2), self.params)
        stepped = adaptation.step(stacked, blocks.inner[0], 0)
        self.assertEqual(set(stepped), set(self.params))
        self.assertEqual({name for name in stepped if not np.array_equal(stepped[name], stacked[name])}, changed)

    @parameterized.parameters(([],), (["head/kernel", "tail/kernel"],))
    def test_names_of_no_parameter_are_refused(self, names):
        message = re.escape(f"of {list(self.params)}. Received: {names}")
        with self.assertRaisesRegex(ValueError, message):
            PolicyAdaptation(self.pure, adapted=lambda model: names)

    def test_a_name_twice_counts_once(self):
        pure = examples.policy(hidden=(6, 6), activation="relu")
        params = pure.parameters()
        twice = PolicyAdaptation(pure, 0.3, adapted=lambda model: [*list(params)[1:], "head/bias"])
        once = PolicyAdaptation(pure, 0.3, adapted=lambda model: list(params)[1:])
        self.assertEqual(twice.adapted, once.adapted)
        # All of them have the closed form, all but one have not.
        self.assertIsNone(twice.problem().linearize)

    def test_step_sizes_may_be_an_array(self):
        batches = [examples.batch(self.pure, self.params, seed=seed) for seed in range(2)]
        expected = PolicyAdaptation(self.pure, [0.3, 0.1]).adapt(self.params, batches)
        adapted = PolicyAdaptation(self.pure, np.array([0.3, 0.1])).adapt(self.params, batches)
        for name, value in expected.items():
            np.testing.assert_array_equal(adapted[name], value)
        for step_sizes in (np.ones([2, 2]), [[0.1], [0.2]]):
            with self.assertRaisesRegex(ValueError, "Received: step_sizes"):
                PolicyAdaptation(self.pure, step_sizes)

    def test_padding_contributes_nothing_to_the_meta_gradient(self):
        adaptation = PolicyAdaptation(self.pure, 0.3)
        batches = [examples.batch(self.pure, self.params, seed=seed, padding=3) for seed in range(2)]
        shortened = [
            batch._replace(
                **{
                    name: getattr(batch, name)[:5]
                    for name in ("observations", "actions", "advantages", "weights", "mean")
                }
            )
            for batch in batches
        ]
        gradients = []
        for inner, outer in (batches, shortened):
            block = tf.nest.map_structure(lambda leaf: leaf[tf.newaxis], TaskExperience((inner,), outer))
            gradients.append(meta_gradient(surrogate(adaptation.problem()), self.params, block).gradients)
        for name in self.params:
            np.testing.assert_allclose(gradients[0][name], gradients[1][name], rtol=1e-10, atol=1e-14)

    def test_thinning_keeps_every_other_step_and_the_weights_sum(self):
        adaptation = PolicyAdaptation(self.pure, 0.3)
        task = examples.task(examples.tasks(adaptation, self.params), 0)
        thin = thinned(task, 3)
        for before, after in ((task.inner[0], thin.inner[0]), (task.outer, thin.outer)):
            np.testing.assert_array_equal(after.actions, before.actions[::3])
            np.testing.assert_allclose(tf.reduce_sum(after.weights), 1.0)
            np.testing.assert_array_equal(after.log_std, before.log_std)

    def test_thinning_may_leave_padding_alone(self):
        batch = examples.batch(self.pure, self.params)
        batch = batch._replace(weights=tf.constant([0.0, 1.0] * 4, tf.float64))
        np.testing.assert_array_equal(thinned(TaskExperience((), batch), 2).outer.weights, np.zeros(4))

    def test_the_outer_loss_is_the_one_asked_for(self):
        adaptation = PolicyAdaptation(self.pure, 0.3)
        inner, outer = (examples.batch(self.pure, self.params, seed=seed, shift=0.3) for seed in range(2))
        adapted = self.pure(adaptation.adapt(self.params, [inner]), outer.observations)
        for objective in (reinforce, ClippedSurrogate(0.01)):
            problem, task = adaptation.problem(objective), TaskExperience((inner,), outer)
            loss = problem.loss(problem.outputs(self.params, task), task)
            np.testing.assert_allclose(loss, objective(adapted, outer))
            self.assertNotAlmostEqual(float(loss), float(likelihood_ratio(adapted, outer)), places=3)


if __name__ == "__main__":
    absltest.main()
