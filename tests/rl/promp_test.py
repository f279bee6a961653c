"""Tests of ProMP: its loss and its gradient, and the adaptation of its penalty."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.rl.adaptation import PolicyAdaptation
from maml_tf.rl.hessian_products import linearized, loss_and_gradient
from maml_tf.rl.objectives import ClippedSurrogate, likelihood_ratio, mean_divergence
from maml_tf.rl.promp import ProMP
from tests.rl import examples


def make(inner_steps=1, hidden=(6,), activation="tanh", **options):
    """A ProMP of a small policy, its parameters moved away from those that sampled, and the experience."""
    pure = examples.policy(hidden=hidden, activation=activation)
    sampled = pure.parameters()
    adaptation = PolicyAdaptation(pure, [0.4, 0.2], objective=likelihood_ratio)
    blocks = examples.tasks(adaptation, sampled, inner_steps=inner_steps)
    random = np.random.default_rng(0)
    params = {name: value + 0.05 * random.normal(size=value.shape) for name, value in sampled.items()}
    return ProMP(adaptation, inner_steps=inner_steps, **options), adaptation, params, blocks


class ProMPTest(parameterized.TestCase):
    def test_the_loss_is_that_of_the_paper(self):
        promp, adaptation, params, blocks = make(inner_steps=2, penalty=0.7, clip=0.1)
        promp.penalties.assign([0.7, 0.2])
        task = examples.task(blocks, 1)
        divergences = [
            mean_divergence(adaptation.policy(adaptation.adapt(params, task.inner[:step]), batch.observations), batch)
            for step, batch in enumerate(task.inner)
        ]
        self.assertGreater(min(divergences), 1e-4)
        adapted = adaptation.policy(adaptation.adapt(params, task.inner), task.outer.observations)
        expected = ClippedSurrogate(0.1)(adapted, task.outer) + (0.7 * divergences[0] + 0.2 * divergences[1]) / 2
        outputs = promp.problem.outputs(params, task)
        np.testing.assert_allclose(promp.problem.loss(outputs, task), expected, rtol=1e-12)
        np.testing.assert_allclose(promp.problem.divergence(outputs, task), mean_divergence(adapted, task.outer))

    def test_its_gradient_equals_central_differences(self):
        promp, _, params, blocks = make(2, penalty=0.5, clip=0.5)
        task = examples.task(blocks, 0)
        self.assertLess(examples.error_of_gradient(promp.problem, params, task), 1e-6)
        # The penalty has a part in it.
        without, *_ = make(2, penalty=0.0, clip=0.5)
        gradients = [loss_and_gradient(problem, params, task)[1] for problem in (promp.problem, without.problem)]
        self.assertGreater(np.abs(gradients[0]["head/bias"] - gradients[1]["head/bias"]).max(), 1e-3)

    def test_the_closed_form_equals_automatic_differentiation(self):
        promp, _, params, blocks = make(hidden=(6, 6), activation="relu", penalty=0.5)
        task = examples.task(blocks, 0)
        self.assertIsNotNone(promp.problem.linearize)
        closed, automatic = promp.problem.linearize(params, task), linearized(promp.problem.outputs, params, task)
        random = np.random.default_rng(1)
        vector = {name: tf.constant(random.normal(size=value.shape)) for name, value in params.items()}
        cotangent = tf.nest.map_structure(lambda leaf: tf.constant(random.normal(size=leaf.shape)), closed.outputs)
        for one, other in (
            (closed.outputs, automatic.outputs),
            (closed.push(vector), automatic.push(vector)),
            (closed.pull(cotangent), automatic.pull(cotangent)),
        ):
            tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), one, other)

    def test_steps_measure_the_divergences_and_adapt_the_penalty(self):
        promp, adaptation, params, blocks = make(penalty=0.25, target=1e3, epochs=1)
        step = promp(params, blocks)
        measured = step.measurements()
        divergences = [
            mean_divergence(adaptation.policy(step.params, task.inner[0].observations), task.inner[0])
            for task in (examples.task(blocks, number) for number in range(2))
        ]
        self.assertAlmostEqual(measured["kl_before_adaptation"], float(np.mean(divergences)))
        self.assertEqual(measured["divergence_penalty"], 0.25)
        np.testing.assert_array_equal(promp.penalties, [0.125])
        self.assertIs(promp.state["divergence_penalties"], promp.penalties)

    def test_the_penalty_is_halved_below_the_target_and_doubled_above(self):
        promp, *_ = make(inner_steps=4, penalty=1.0, target=0.03)
        promp._finished(tf.constant([0.019, 0.021, 0.044, 0.046], tf.float64))
        np.testing.assert_array_equal(promp.penalties, [0.5, 1.0, 1.0, 2.0])
        fixed, *_ = make(penalty=1.0)
        fixed._finished(tf.constant([1.0], tf.float64))
        np.testing.assert_array_equal(fixed.penalties, [1.0])

    @parameterized.parameters(({"clip": 0.0}, "epsilon=0.0"), ({"penalty": -1.0}, "penalty=-1.0"))
    def test_bad_numbers_are_refused(self, options, message):
        with self.assertRaisesRegex(ValueError, message):
            make(**options)


if __name__ == "__main__":
    absltest.main()
