"""Tests of maml_tf.rl.video."""

import gc
import pathlib
import tempfile
import warnings
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401

# isort: split
import imageio.v3 as imageio

from maml_tf.rl.environments import PointNavigation, TaskEnvironment, UniformTasks
from maml_tf.rl.video import film, write_video


class FilmTest(absltest.TestCase):
    def test_ends_when_the_simulation_is_done(self):
        environment = PointNavigation(2)
        environment.set_tasks([[0.3, 0.0], [0.5, 0.5]])
        frames = film(environment, lambda observations: np.tile([1.0, 0.0], [2, 1]), every=2, width=96, height=64)
        # At the start, after 2 steps and after the third, which arrives.
        self.assertEqual((frames.shape, frames.dtype), ((3, 64, 96, 3), np.uint8))

    def test_shows_the_simulation_asked_for(self):
        environment = PointNavigation(2, horizon=1)
        environment.set_tasks([[0.3, 0.0], [0.5, 0.5]])
        films = []
        for simulation in range(2):
            with mock.patch.object(environment, "snapshot", wraps=environment.snapshot) as shot:
                films.append(film(environment, lambda _: np.zeros([2, 2]), simulation=simulation, width=96, height=64))
            self.assertEqual(shot.call_args_list, [mock.call(simulation)] * 2)
        self.assertTrue(np.any(films[0] != films[1]))

    def test_refuses_an_environment_that_cannot_be_drawn(self):
        with mock.patch.multiple(TaskEnvironment, __abstractmethods__=frozenset()):
            environment = TaskEnvironment(1, UniformTasks([0.0], [1.0]), observation_size=1, action_size=1, horizon=1)
        with self.assertRaisesRegex(TypeError, "Received: TaskEnvironment"):
            film(environment, lambda observations: np.zeros([1, 1]))

    def test_refuses_no_steps_between_pictures(self):
        with self.assertRaisesRegex(ValueError, "Received: every=0"):
            film(PointNavigation(1), lambda observations: np.zeros([1, 2]), every=0)


class WriteVideoTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

    @parameterized.parameters("gif", "mp4")
    def test_can_be_read_again(self, ending):
        frames = np.zeros([6, 64, 96, 3], np.uint8)
        frames[3:, :, :48] = 255
        path = write_video(self.directory / f"film.{ending}", frames, 10.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # The reader leaves its pipes open.
            read = np.asarray(imageio.imread(path, plugin="pillow" if ending == "gif" else "FFMPEG"))
            speed = imageio.immeta(path, plugin="pillow" if ending == "gif" else "FFMPEG")
            gc.collect()
        # A tenth of a second a picture; the GIF's first three are one.
        self.assertEqual(speed["duration" if ending == "gif" else "fps"], 300 if ending == "gif" else 10.0)
        # A GIF keeps a picture that repeats the one before once, for longer.
        self.assertEqual(read.shape, (2 if ending == "gif" else 6, 64, 96, 3))
        np.testing.assert_allclose(read[0], frames[0], atol=8)
        np.testing.assert_allclose(read[-1, :, :40], frames[-1, :, :40], atol=8)
        self.assertLen(list(self.directory.iterdir()), 1)

    @parameterized.parameters(
        ("film.avi", np.zeros([1, 8, 8, 3], np.uint8), "ends in .gif or .mp4. Received: 'film.avi'"),
        ("film.gif", np.zeros([1, 8, 8, 3], np.float32), r"uint8 \[frames, .*Received: float32 \[1, 8, 8, 3\]"),
        ("film.gif", np.zeros([0, 8, 8, 3], np.uint8), r"Received: uint8 \[0, 8, 8, 3\]"),
    )
    def test_refuses(self, name, frames, message):
        with self.assertRaisesRegex(ValueError, message):
            write_video(name, frames, 10.0)

    @parameterized.parameters(0, -5, np.nan, np.inf)
    def test_refuses_speeds(self, speed):
        with self.assertRaisesRegex(ValueError, f"Received: frames_per_second={speed}"):
            write_video(self.directory / "film.gif", np.zeros([1, 8, 8, 3], np.uint8), speed)


if __name__ == "__main__":
    absltest.main()
