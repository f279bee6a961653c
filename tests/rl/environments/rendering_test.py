"""Tests of maml_tf.rl.environments.physics, and of the environments' render."""

import os
import subprocess
import sys
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401
from tests.support.source_tree import PROJECT

# isort: split
from maml_tf.rl.environments import PointNavigation, drawing
from maml_tf.rl.environments.locomotion import HalfCheetah


class RenderingTest(parameterized.TestCase):
    def test_draws_the_body_where_it_is(self):
        environment = HalfCheetah(1)
        environment.reset_batch()
        snapshots = np.stack([environment.snapshot(0)] * 3)
        snapshots[2, 3] += 1.0  # One joint.
        try:
            first, same, moved = environment.draw(snapshots, 96, 64)
        except RuntimeError as error:
            self.skipTest(str(error))
        self.assertEqual((first.shape, first.dtype), ((64, 96, 3), np.uint8))
        np.testing.assert_array_equal(first, same)
        self.assertGreater(np.count_nonzero(first != moved), 50)

    def test_draws_larger_than_mujocos_own_buffer(self):
        environment = HalfCheetah(1)
        environment.reset_batch()
        snapshots = environment.snapshot(0)[np.newaxis]
        try:
            environment.draw(snapshots, 96, 64)
        except RuntimeError as error:
            self.skipTest(str(error))
        self.assertEqual(environment.draw(snapshots, 800, 600).shape, (1, 600, 800, 3))

    @parameterized.parameters((0, 64, "width=0"), (96, -1, "height=-1"))
    def test_refuses_sizes(self, width, height, received):
        environment = HalfCheetah(1)
        environment.reset_batch()
        with self.assertRaisesRegex(ValueError, f"Received: {received}"):
            environment.draw(environment.snapshot(0)[np.newaxis], width, height)

    def test_navigation_renders_through_tf_agents_interface(self):
        environment = PointNavigation(2)
        environment.reset()
        self.assertEqual(environment.render().shape, (240, 320, 3))
        with self.assertRaisesRegex(ValueError, "Received: mode='human'"):
            environment.render("human")

    def test_says_what_to_install_where_nothing_can_draw(self):
        environment = HalfCheetah(1)
        environment.reset_batch()
        without = {name: value for name, value in os.environ.items() if name != "MUJOCO_GL"}
        with mock.patch.object(drawing, "_BACKENDS", ("nonsense",)), mock.patch.dict(os.environ, without, clear=True):
            with self.assertRaisesRegex(
                RuntimeError,
                "libegl1.*Received: nonsense: .*MUJOCO",
            ):
                environment.render()

    def test_the_environment_variable_chooses(self):
        environment = HalfCheetah(1)
        environment.reset_batch()
        with mock.patch.dict(os.environ, MUJOCO_GL="wrong"):
            with self.assertRaisesRegex(RuntimeError, "Received: wrong: .*wrong"):
                environment.render()

    def test_osmesa_draws_what_egl_does(self):
        environment = HalfCheetah(1)
        environment.reset_batch()
        drawn = {}
        for backend in ("egl", "osmesa"):
            with mock.patch.dict(os.environ, MUJOCO_GL=backend):
                try:
                    drawn[backend] = environment.draw(environment.snapshot(0)[np.newaxis], 96, 64).astype(int)
                except RuntimeError as error:
                    self.skipTest(str(error))
        self.assertLess(np.mean(np.abs(drawn["egl"] - drawn["osmesa"])), 1.0)

    def test_osmesa_is_not_loaded_beside_tensorflow(self):
        code = (
            "import sys, os, maml_tf.rl.environments.locomotion\n"
            "print(os.environ['MUJOCO_GL'], 'mujoco.osmesa' in sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=PROJECT,
            env={**os.environ, "MUJOCO_GL": "osmesa"},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual((done.stdout, done.returncode), ("osmesa False\n", 0), done.stderr)


if __name__ == "__main__":
    absltest.main()
