"""Tests of maml_tf.rl.environments.physics."""

import os

import numpy as np
from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.rl.environments.locomotion import Ant, HalfCheetah
from maml_tf.rl.environments.physics import engine_loop
from tests.support.mujoco_reference import Reference, model


class SimulationsTest(parameterized.TestCase):
    @parameterized.product(body=[("half_cheetah", HalfCheetah), ("ant", Ant)], threads=[1, 2])
    def test_equals_single_simulations_bit_for_bit(self, body, threads):
        name, make = body
        environment = make(3, threads=threads)
        environment.reset_batch()
        simulations = environment.simulations
        references = [Reference(name, simulations.qpos[i], simulations.qvel[i]) for i in range(3)]
        everyone = np.ones(3, bool)
        for controls in np.random.default_rng(0).uniform(-1, 1, (60, 3, simulations.model.nu)):
            simulations.step(controls, everyone)
            for i, reference in enumerate(references):
                data = reference.step(controls[i])
                np.testing.assert_array_equal(simulations.qpos[i], data.qpos)
                np.testing.assert_array_equal(simulations.qvel[i], data.qvel)
                np.testing.assert_array_equal(simulations.centre_of_mass[i], data.subtree_com[1])
                np.testing.assert_array_equal(simulations.velocity[i], data.subtree_linvel[1])
                if name == "ant":
                    np.testing.assert_array_equal(simulations.output("cfrc_ext")[i], data.cfrc_ext)
                    np.testing.assert_array_equal(simulations.output("xmat")[i, 1], data.xmat[1])

    def test_steps_those_named_alone(self):
        some, everyone = HalfCheetah(3), HalfCheetah(3)
        for environment in (some, everyone):
            environment.reset_batch()
        before, controls = some.simulations.qpos.copy(), np.random.default_rng(0).uniform(-1, 1, (3, 6))
        some.simulations.step(controls, np.array([True, False, True]))
        everyone.simulations.step(controls, np.ones(3, bool))
        np.testing.assert_array_equal(some.simulations.qpos[[0, 2]], everyone.simulations.qpos[[0, 2]])
        np.testing.assert_array_equal(some.simulations.qpos[1], before[1])
        self.assertFalse(np.array_equal(everyone.simulations.qpos[1], before[1]))

    def test_outputs_are_those_of_a_state_set(self):
        environment = HalfCheetah(2)
        environment.reset_batch()
        simulations = environment.simulations
        qpos, qvel = simulations.qpos[:1] + 0.5, simulations.qvel[:1] + 1.0
        simulations.set_state(np.array([False, True]), qpos, qvel)
        data = Reference("half_cheetah", qpos[0], qvel[0]).data
        np.testing.assert_array_equal(simulations.centre_of_mass[1], data.subtree_com[1])
        np.testing.assert_array_equal(simulations.velocity[1], data.subtree_linvel[1])

    def test_an_unstable_simulation_is_said_to_be_so_until_set_anew(self):
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.create_tempdir().full_path)  # MuJoCo writes its log there.
        environment = HalfCheetah(4)
        environment.reset_batch()
        simulations, everyone = environment.simulations, np.ones(4, bool)
        simulations.qvel[1, 0] = np.nan
        simulations.qpos[2, 3] = 1e11
        for _ in range(2):
            sound = simulations.step(np.zeros([4, 6]), everyone)
            self.assertEqual(sound.tolist(), [True, False, False, True])
        simulations.set_state(~sound, simulations.qpos[[0, 3]], simulations.qvel[[0, 3]])
        self.assertTrue(np.all(simulations.step(np.zeros([4, 6]), everyone)))


class ModelTest(parameterized.TestCase):
    @parameterized.parameters(("half_cheetah", HalfCheetah), ("ant", Ant))
    def test_is_gymnasiums_but_for_the_sensors(self, name, make):
        ours, theirs = make(1).simulations.model, model(name)
        compared = 0
        for field in dir(theirs):
            value = getattr(theirs, field)
            if isinstance(value, np.ndarray) and not field.startswith(("_", "sensor", "name")):
                np.testing.assert_array_equal(getattr(ours, field), value, err_msg=field)
                compared += 1
        self.assertGreater(compared, 200)

    @parameterized.parameters(
        (HalfCheetah, "paper", 0.01, 0.01), (HalfCheetah, "gymnasium", 0.01, 0.05),
        (Ant, "paper", 0.02, 0.02), (Ant, "gymnasium", 0.01, 0.05),
    )  # fmt: skip
    def test_time(self, make, physics, timestep, dt):
        environment = make(1, physics=physics)
        self.assertEqual((environment.simulations.model.opt.timestep, environment.dt), (timestep, dt))
        environment.reset_batch()
        environment.step_batch(np.zeros([1, environment.action_spec().shape[0]]))
        np.testing.assert_allclose(environment.simulations.output("time"), dt)

    def test_ants_contacts_are_soft_and_it_starts_low_in_the_papers_physics_alone(self):
        paper, gymnasium = Ant(1), Ant(1, physics="gymnasium")
        softness = np.unique(paper.simulations.model.geom_solimp[:, :3], axis=0)
        np.testing.assert_allclose(softness, [[0.8, 0.8, 0.01]])
        softness = np.unique(gymnasium.simulations.model.geom_solimp[:, :3], axis=0)
        np.testing.assert_allclose(softness, [[0.9, 0.95, 0.001]])
        for environment, height in ((paper, 0.55), (gymnasium, 0.75)):
            self.assertAlmostEqual(environment.reset_batch()[0, 2], height, delta=0.05)


class EngineLoopTest(parameterized.TestCase):
    @parameterized.parameters(HalfCheetah, Ant)
    def test_makes_the_steps_of_an_environment(self, body):
        environment = body(4)
        simulations = environment.simulations
        environment.reset_batch()
        start = simulations.qpos.copy(), simulations.qvel.copy()
        random = np.random.default_rng(0)
        controls = random.uniform(-1, 1, (50, 4, simulations.model.nu))
        # Each stops at a time of its own.
        running = np.arange(50)[:, np.newaxis] < [50, 20, 1, 50]
        for of_step, who in zip(controls, running, strict=True):
            simulations.step(of_step, who)
        loop = engine_loop(simulations.model, 4)
        for _ in range(2):  # From the start again.
            speed, qpos = loop(*start, controls, running)
            self.assertGreater(speed, 0)
            np.testing.assert_array_equal(qpos, simulations.qpos)


if __name__ == "__main__":
    absltest.main()
