"""Tests of the layout of rollouts."""

import numpy as np
from absl.testing import absltest

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.rl import rollouts
from tests.rl import examples


class RolloutsTest(absltest.TestCase):
    def test_a_rollout_goes_on_until_its_end_or_padding_or_the_next(self):
        example = examples.rollouts(tasks=1, rows=2, time=4)._replace(
            valid=np.array([[[1, 1, 0, 0], [1, 1, 1, 1]]], np.float32),
            elapsed=np.array([[[0, 1, 2, 3], [0, 1, 0, 1]]], np.int32),
        )
        np.testing.assert_array_equal(
            rollouts.continues(example), [[[True, False, False, False], [True, False, True, False]]]
        )
        self.assertEqual(example.steps, 6)

    def test_returns_are_means_over_rollouts_without_padding(self):
        example = examples.rollouts(tasks=2, rows=2, time=3)._replace(
            rewards=np.array([[[1, 2, 50], [3, 4, 5]], [[9, 9, 9], [9, 9, 9]]], np.float32),
            valid=np.array([[[1, 1, 0], [1, 1, 1]], np.zeros((2, 3))], np.float32),
            elapsed=np.array([[[0, 1, 0], [0, 1, 0]], [[0, 1, 2]] * 2], np.int32),
        )
        # Three rollouts: 1 + 2, 3 + 4 and 5; of the second task none counts.
        np.testing.assert_array_equal(rollouts.mean_returns(example), [5.0, np.nan])

    def test_pooling_keeps_every_step(self):
        example = examples.rollouts()
        pooled = rollouts.pooled(example)
        self.assertEqual(pooled.observations.shape, (1, 6, 5, 2))
        np.testing.assert_array_equal(pooled.rewards[0, 3:], example.rewards[1])
        np.testing.assert_array_equal(pooled.log_std, example.log_std[:1])
        self.assertIsNone(pooled.success)
        success = np.random.default_rng(0).integers(2, size=example.valid.shape) > 0
        np.testing.assert_array_equal(rollouts.pooled(example._replace(success=success)).success[0, 3:], success[1])


if __name__ == "__main__":
    absltest.main()
