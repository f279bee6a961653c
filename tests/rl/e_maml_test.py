"""Tests of E-MAML's sampling correction: the loss, its gradient, and errors."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.rl.adaptation import PolicyAdaptation
from maml_tf.rl.e_maml import SamplingCorrection
from maml_tf.rl.objectives import likelihood_ratio
from maml_tf.rl.policy import log_probability
from tests.rl import examples


def make(inner_steps=1, weight=1.0):
    """A problem with the correction, its policy's adaptation, parameters, and experience with outcomes."""
    pure = examples.policy()
    params = pure.parameters()
    adaptation = PolicyAdaptation(pure, [0.4, 0.2])
    blocks = examples.tasks(adaptation, params, inner_steps=inner_steps)
    blocks = blocks._replace(outcome=tf.constant([-0.8, 1.3], tf.float64))
    return adaptation.problem(of_path=SamplingCorrection(weight)), adaptation, params, blocks


class SamplingCorrectionTest(absltest.TestCase):
    def test_rewards_the_actions_before_each_inner_step(self):
        problem, adaptation, params, blocks = make(inner_steps=2, weight=3.0)
        task = examples.task(blocks, 1)
        expected = float(likelihood_ratio(
            adaptation.policy(adaptation.adapt(params, task.inner), task.outer.observations), task.outer
        ))  # fmt: skip
        for step, batch in enumerate(task.inner):
            gaussian = adaptation.policy(adaptation.adapt(params, task.inner[:step]), batch.observations)
            expected -= 3.0 * 1.3 * np.mean(log_probability(gaussian, batch.actions))
        np.testing.assert_allclose(problem.loss(problem.outputs(params, task), task), expected)

    def test_the_gradient_equals_central_differences(self):
        problem, adaptation, params, blocks = make(2)
        task = examples.task(blocks, 0)
        self.assertLess(examples.error_of_gradient(problem, params, task), 1e-6)
        self.assertGreater(examples.error_of_gradient(problem, params, task, adaptation.problem()), 1e-2)

    def test_padding_contributes_nothing(self):
        _, adaptation, params, _ = make()
        batch = examples.batch(adaptation.policy, params, padding=3)
        values = []
        for observations in (batch.observations, tf.where(batch.weights[:, None] > 0, batch.observations, 1e3)):
            task = examples.TaskExperience((batch,), batch, tf.constant(1.0, tf.float64))
            values.append(SamplingCorrection()((adaptation.policy(params, observations),), task))
        self.assertEqual(*map(float, values))

    def test_needs_an_outcome_and_a_weight(self):
        problem, _, params, blocks = make()
        task = examples.task(blocks, 0)._replace(outcome=())
        with self.assertRaisesRegex(ValueError, r"Received: outcome=\(\)"):
            problem.loss(problem.outputs(params, task), task)
        with self.assertRaisesRegex(ValueError, "weight=-1"):
            SamplingCorrection(-1)


if __name__ == "__main__":
    absltest.main()
