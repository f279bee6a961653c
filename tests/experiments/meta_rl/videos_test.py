"""Tests of the videos of maml_tf.experiments.meta_rl.figures."""

import os
import pathlib
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401

# isort: split
import imageio.v3 as imageio

from maml_tf.experiments.meta_rl import figures as videos
from maml_tf.experiments.meta_rl.config import FIGURES, MetaRLConfig
from maml_tf.experiments.meta_rl.methods import adapted
from maml_tf.experiments.meta_rl.methods import test_tasks as tasks_of_the_paper
from maml_tf.rl.environments import environments
from maml_tf.rl.methods import build_environment, build_policy
from maml_tf.rl.policy import PurePolicy

SMALL = {"hidden": 8, "evaluation_rollouts": 2, "test_tasks": 4}


def policy_of(method, config):
    return PurePolicy(build_policy(method, config, build_environment(method, config, 1)))


class WriteVideosTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()), "videos")

    @parameterized.parameters(("maml", 644), ("oracle", 320))
    def test_films_two_tasks_before_and_after(self, method, width):
        config = MetaRLConfig(**SMALL)
        with mock.patch.object(videos, "_NAVIGATION_STEPS_PER_FRAME", 50):
            files = videos.write_videos(method, config, policy_of(method, config), (0.1,), self.directory)
        goals = tasks_of_the_paper(config)
        outermost = goals[[goals[:, 0].argmin(), goals[:, 0].argmax()]]
        self.assertEqual(
            [file.name for file in files], [f"{method}_task_{x:.2f}_{y:.2f}.gif" for x, y in outermost.tolist()]
        )
        for file in files:
            self.assertEqual(imageio.imread(file, plugin="pillow").shape[1:], (240, width, 3))

    def test_before_its_step_is_on_the_left_and_after_it_on_the_right_from_the_same_start(self):
        config = MetaRLConfig(**SMALL)
        policy, shown, starts = policy_of("maml", config), [], set()
        observations = np.array([[0.3, -0.2]], np.float32)

        def film(environment, acting, every):
            shown.append((environment.tasks[0], acting(observations)))
            starts.add(environment._random.random())
            return np.full([1, 8, 8, 3], len(shown), np.uint8)

        side_by_side = mock.patch.object(videos, "side_by_side", wraps=videos.side_by_side)
        with mock.patch.object(videos, "film", film), side_by_side as joined:
            videos.write_videos("maml", config, policy, (5.0,), self.directory)
        self.assertEqual(
            [[film[0, 0, 0, 0] for film in call.args[0]] for call in joined.call_args_list], [[1, 2], [3, 4]]
        )
        self.assertLen(starts, 1)
        goals = np.stack([shown[0][0], shown[2][0]])
        _, [after] = adapted("maml", config, policy, goals, (5.0,), 1, config.stream(FIGURES))
        for number, goal in enumerate(goals):
            of_task = {name: value[number] for name, value in after.items()}
            for (task, means), params in zip(shown[2 * number :], (policy.parameters(), of_task), strict=False):
                np.testing.assert_array_equal(task, goal)
                np.testing.assert_allclose(means, policy(params, observations).mean, rtol=1e-5)
        self.assertGreater(np.abs(shown[1][1] - shown[3][1]).max(), 1e-3)

    def test_a_machine_that_cannot_draw_writes_nothing_and_says_so(self):
        config = MetaRLConfig("half_cheetah_direction", **SMALL)
        policy = policy_of("oracle", config)
        with mock.patch.dict(os.environ, MUJOCO_GL="nonsense"), self.assertLogs(level="WARNING") as logs:
            files = videos.write_videos("oracle", config, policy, (0.1,), self.directory)
        self.assertEqual(files, [])
        self.assertIn("oracle: no video: Expected EGL or OSMesa", logs.output[0])


class SideBySideTest(absltest.TestCase):
    def test_the_shorter_film_stands_still_at_its_end(self):
        short, long = np.full([2, 4, 6, 3], 10, np.uint8), np.full([3, 4, 6, 3], 20, np.uint8)
        short[1] = 15
        joined = videos.side_by_side([short, long])
        self.assertEqual(joined.shape, (3, 4, 16, 3))
        self.assertEqual(joined[:, 0, 0, 0].tolist(), [10, 15, 15])
        self.assertEqual(joined[:, 0, -1, 0].tolist(), [20, 20, 20])
        self.assertEqual(joined[:, 0, 6:10, 0].tolist(), [[255] * 4] * 3)

    def test_locomotion_is_shown_in_real_time(self):
        for name, expected in (("half_cheetah_velocity", (4, 25.0)), ("ant_velocity", (2, 25.0))):
            every, speed = videos._pace(environments[name].make(1))
            self.assertEqual((every, round(speed, 6)), expected)


if __name__ == "__main__":
    absltest.main()
