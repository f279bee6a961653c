"""Tests of maml_tf.experiments.meta_rl.speed."""

from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.experiments.meta_rl.speed import sampling_speed


class SamplingSpeedTest(parameterized.TestCase):
    @parameterized.parameters("half_cheetah", "ant")
    def test_measures(self, body):
        found = sampling_speed(body, rollouts=32, seconds=0.0, least=2)
        self.assertEqual(found["calls"], 2)
        self.assertGreaterEqual(found["best_control_steps_per_second"], found["control_steps_per_second"])
        self.assertGreater(found["engine_steps_per_second"], 0)
        share = found["control_steps_per_second"] / found["engine_steps_per_second"]
        self.assertAlmostEqual(found["share_of_engine"], share, places=2)


if __name__ == "__main__":
    absltest.main()
