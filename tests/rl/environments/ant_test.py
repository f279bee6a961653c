"""Tests of maml_tf.rl.environments.locomotion."""

import numpy as np
from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.rl.environments.locomotion import Ant
from tests.support.mujoco_reference import Reference

STAND = np.array([0, 0, 0.55, 1, 0, 0, 0, 0, 1, 0, -1, 0, -1, 0, 1.0])
SPREAD = np.array([0, 0, 0.9, 1, 0, 0, 0, *[0.0] * 8])  # Its legs level: it touches nothing.


def put(environment, qpos, qvel=0.0):
    """Resets all ants of an environment to a state."""
    environment.reset_batch()
    count = environment.batch_size
    qpos, qvel = np.broadcast_to(qpos, [count, 15]), np.broadcast_to(qvel, [count, 14])
    environment.simulations.set_state(np.ones(count, bool), qpos, qvel)


def landed(environment, steps=50):
    """Resets the environment and lets the ants come to stand on the ground."""
    environment.reset_batch()
    for _ in range(steps):
        stepped = environment.step_batch(np.zeros([environment.batch_size, 8]))
    return stepped


class AntTest(parameterized.TestCase):
    def test_observation_layout(self):
        environment = Ant(2)
        observations, _, _ = landed(environment)
        self.assertEqual(observations.shape, (2, 125))
        simulations = environment.simulations
        np.testing.assert_array_equal(observations[:, :15], simulations.qpos.astype(np.float32))
        np.testing.assert_array_equal(observations[:, 15:29], simulations.qvel.astype(np.float32))
        forces = np.clip(simulations.output("cfrc_ext"), -1, 1).reshape(2, 84)
        np.testing.assert_array_equal(observations[:, 29:113], forces.astype(np.float32))
        data = Reference("ant", simulations.qpos[1], simulations.qvel[1]).data
        np.testing.assert_allclose(observations[1, 113:122], data.xmat[1], atol=1e-6)
        np.testing.assert_allclose(observations[1, 122:], data.subtree_com[1], atol=1e-6)

    def test_contact_forces_are_there_once_it_has_landed(self):
        environment = Ant(4)
        put(environment, SPREAD)
        in_the_air, _, _ = environment.step_batch(np.zeros([4, 8]))
        self.assertTrue(np.all(in_the_air[:, 29:113] == 0))
        observations, _, done = landed(environment)
        self.assertFalse(np.any(done))
        forces = observations[:, 29:113]
        self.assertTrue(np.all(np.count_nonzero(forces, axis=1) >= 6))
        self.assertLessEqual(np.abs(forces).max(), 1.0)
        # Together they carry the weight; the ones on the ground (the first body) are not counted.
        vertical = environment.simulations.output("cfrc_ext")[:, 1:, 5].sum(axis=1)
        weight = 9.81 * environment.simulations.model.body_subtreemass[1]
        np.testing.assert_allclose(vertical, weight, rtol=0.2)

    # a = (2 clipped to 1, -1, 0, 0, 0.5, 0, 0, 0): ||a||^2 = 2.25, and its cost is 0.01125.
    @parameterized.parameters(
        ("velocity", 2.5, lambda v: 1.0 - abs(v - 2.5) + 0.05),
        ("direction", 1.0, lambda v: v + 0.05),
        ("direction", -1.0, lambda v: -v + 0.05),
    )
    def test_reward_of_a_fixed_state(self, task, target, expected):
        qpos, qvel = STAND.copy(), np.linspace(0.9, -0.3, 14)
        qpos[2] = 0.4  # Low enough to touch the ground.
        environment = Ant(1, task)
        environment.set_tasks([[target]])
        put(environment, qpos, qvel)
        _, rewards, done = environment.step_batch([[2.0, -1.0, 0, 0, 0.5, 0, 0, 0]])
        data = Reference("ant", qpos, qvel).step([1.0, -1.0, 0, 0, 0.5, 0, 0, 0])
        contact = np.sum(np.clip(data.cfrc_ext, -1, 1) ** 2)
        self.assertGreater(contact, 1.0)
        by_hand = expected(data.subtree_linvel[1, 0]) - 0.01125 - 0.0005 * contact
        np.testing.assert_allclose(rewards, [by_hand], rtol=1e-6)
        self.assertFalse(done[0])

    def test_bonus_by_hand_at_the_target_velocity(self):
        for task, bonus in (("velocity", 1.05), ("direction", 0.05)):
            environment = Ant(1, task)
            put(environment, SPREAD)
            rewards, _ = environment._judge(np.zeros(1), np.zeros([1, 8]))
            np.testing.assert_allclose(rewards, [bonus])

    @parameterized.parameters((0.19, True), (0.3, False), (0.9, False), (1.05, True))
    def test_ends_when_the_height_leaves_its_range(self, height, ended):
        environment = Ant(2)
        qpos = np.tile(SPREAD, [2, 1])
        qpos[0, 2] = height
        put(environment, qpos)
        _, rewards, done = environment.step_batch(np.zeros([2, 8]))
        self.assertEqual(done.tolist(), [ended, False])
        self.assertNotEqual(rewards[0], 0.0)  # The terminating step's reward counts.

    def test_stands_at_rest_for_200_steps(self):
        environment = Ant(2)
        observations, _, done = landed(environment, 199)
        self.assertFalse(np.any(done))
        self.assertTrue(np.all((observations[:, 2] > 0.2) & (observations[:, 2] < 1.0)))
        self.assertTrue(np.all(environment.step_batch(np.zeros([2, 8]))[2]))

    def test_rotation_is_normalized_from_the_start(self):
        quaternions = Ant(8).reset_batch()[:, 3:7]
        np.testing.assert_allclose(np.linalg.norm(quaternions, axis=1), 1.0, rtol=1e-6)

    def test_target_velocities_are_up_to_3(self):
        tasks = Ant(1).sample_tasks(2000, seed=0)
        np.testing.assert_allclose([tasks.min(), tasks.max()], [0.0, 3.0], atol=0.01)


if __name__ == "__main__":
    absltest.main()
