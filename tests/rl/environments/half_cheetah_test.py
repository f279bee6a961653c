"""Tests of maml_tf.rl.environments.locomotion."""

import numpy as np
from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.rl.environments.locomotion import HalfCheetah
from tests.support.mujoco_reference import Reference


class HalfCheetahTest(parameterized.TestCase):
    def test_observation_is_the_state_without_x_then_the_centre_of_mass(self):
        environment = HalfCheetah(2)
        observations = [environment.reset_batch(), environment.step_batch(np.full([2, 6], 0.3))[0]]
        self.assertEqual(observations[0].shape, (2, 20))
        simulations = environment.simulations
        np.testing.assert_array_equal(observations[1][:, :8], simulations.qpos[:, 1:].astype(np.float32))
        np.testing.assert_array_equal(observations[1][:, 8:17], simulations.qvel.astype(np.float32))
        data = Reference("half_cheetah", simulations.qpos[1], simulations.qvel[1]).data
        np.testing.assert_array_equal(observations[1][1, 17:], data.subtree_com[1].astype(np.float32))

    # With action a = (1, -1, 1, 0, 0, 3 clipped to 1): ||a||^2 = 4, so the cost is 0.05 * 4 = 0.2.
    @parameterized.parameters(
        ("velocity", 0.7, lambda v: -abs(v - 0.7) - 0.2),
        ("velocity", 1.9, lambda v: -abs(v - 1.9) - 0.2),
        ("direction", 1.0, lambda v: v - 0.2),
        ("direction", -1.0, lambda v: -v - 0.2),
    )
    def test_reward_of_a_fixed_state(self, task, target, expected):
        qpos, qvel = np.linspace(-0.2, 0.2, 9), np.linspace(1.2, -0.5, 9)
        environment = HalfCheetah(1, task)
        environment.set_tasks([[target]])
        environment.reset_batch()
        environment.simulations.set_state(np.ones(1, bool), qpos[np.newaxis], qvel[np.newaxis])
        _, rewards, _ = environment.step_batch([[1.0, -1.0, 1.0, 0.0, 0.0, 3.0]])
        data = Reference("half_cheetah", qpos, qvel).step([1.0, -1.0, 1.0, 0.0, 0.0, 1.0])
        velocity = data.subtree_linvel[1, 0]
        self.assertGreater(abs(velocity), 0.1)
        np.testing.assert_allclose(rewards, [expected(velocity)], rtol=1e-6)

    def test_the_velocity_is_the_instantaneous_one_of_the_whole_body(self):
        environment = HalfCheetah(1, "direction")
        environment.set_tasks([[1.0]])
        environment.reset_batch()
        at_rest, moving = np.zeros([1, 9]), np.zeros([1, 9])
        moving[0, 0] = 1.5
        environment.simulations.set_state(np.ones(1, bool), at_rest, moving)
        self.assertAlmostEqual(environment.simulations.velocity[0, 0], 1.5, places=12)

    def test_runs_for_200_steps(self):
        environment = HalfCheetah(2)
        environment.reset_batch()
        done = [environment.step_batch(np.ones([2, 6]))[2] for _ in range(200)]
        self.assertEqual(environment.horizon, 200)
        self.assertFalse(np.any(done[:-1]))
        self.assertTrue(np.all(done[-1]))

    def test_target_velocities_are_up_to_2(self):
        tasks = HalfCheetah(1).sample_tasks(2000, seed=0)
        np.testing.assert_allclose([tasks.min(), tasks.max()], [0.0, 2.0], atol=0.01)


if __name__ == "__main__":
    absltest.main()
