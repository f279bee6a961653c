"""Tests of the estimators of the meta-gradient against exact expectations: which are unbiased, and which are not.

`python -m tests.estimators` measures more of them.
"""

from absl.testing import absltest

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.rl.objectives import dice, likelihood_ratio, reinforce
from tests.rl.tabular import Decisions, bias, moments


class InTheLimitTest(absltest.TestCase):
    def test_dice_alone_is_unbiased_with_a_baseline_too(self):
        problem = Decisions(horizon=2, step_size=2.0, baseline=(0.7, 1.3))
        exact = problem.gradient(problem.after_exact_step)
        self.assertLess(bias(problem.in_the_limit(dice), exact), 1e-12)
        for objective in (likelihood_ratio, reinforce):
            self.assertGreater(bias(problem.in_the_limit(objective), exact), 0.1)

    def test_the_likelihood_ratio_is_unbiased_where_a_rollout_is_one_step(self):
        problem = Decisions(horizon=1, step_size=2.0)
        exact = problem.gradient(problem.after_exact_step)
        self.assertLess(bias(problem.in_the_limit(likelihood_ratio), exact), 1e-12)
        self.assertGreater(bias(problem.in_the_limit(reinforce), exact), 0.1)


class OfSamplesTest(absltest.TestCase):
    def test_the_sampling_correction_alone_is_unbiased(self):
        problem = Decisions(horizon=2, step_size=2.0)
        exact = problem.gradient(lambda logits: problem.after_sampled_step(logits, 2))
        biases = [moments(*problem.of_samples(reinforce, 2, weight), exact)[0] for weight in (4.0, 1.0, None)]
        self.assertLess(biases[0], 1e-12)
        self.assertGreater(min(biases[1:]), 0.02)


if __name__ == "__main__":
    absltest.main()
