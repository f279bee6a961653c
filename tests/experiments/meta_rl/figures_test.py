"""Tests of maml_tf.experiments.meta_rl.figures: which paths and which of the paper's returns are drawn."""

import pathlib
from unittest import mock

import numpy as np
from absl.testing import absltest

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.experiments.meta_rl import figures
from maml_tf.experiments.meta_rl.config import FIGURES, MetaRLConfig
from maml_tf.experiments.meta_rl.methods import adapted
from maml_tf.experiments.meta_rl.methods import test_tasks as tasks_of_the_paper
from maml_tf.results import Row
from maml_tf.rl.environments import environments
from maml_tf.rl.methods import build_environment, build_policy
from maml_tf.rl.policy import PurePolicy


def shortened(*given):
    """Lets a policy adapt in rollouts that end after 50 steps."""
    phases, path = adapted(*given)
    for phase in phases:
        phase.rollouts.valid[..., 50:] = 0.0
    return phases, path


class WriteFiguresTest(absltest.TestCase):
    def test_paths_are_of_three_goals_before_and_after_the_first_step(self):
        config = MetaRLConfig(hidden=8, evaluation_rollouts=2, test_tasks=5)
        policy = PurePolicy(build_policy("maml", config, build_environment("maml", config, 1)))
        rows = [Row("pretrained", 2, step, "return", -9.0, 1.0, 0.1, 5) for step in range(2)]
        folder = pathlib.Path(self.create_tempdir().full_path)
        with (
            mock.patch.object(figures, "adapted", shortened),
            mock.patch.object(figures, "trajectories", wraps=figures.trajectories) as drawn,
            mock.patch.object(figures, "learning_curves", wraps=figures.learning_curves) as curves,
        ):
            policies = {"pretrained": (policy, (2.0,)), "random": (policy, (1.0,))}
            files = figures.write_figures(config, rows, policies, folder)
        self.assertEqual([file.name for file in files], ["returns.png", "trajectories.png"])
        np.testing.assert_equal(curves.call_args.kwargs["published"], environments["point_navigation"].paper_returns(2))
        [(label, paths)] = drawn.call_args.args[0].items()
        self.assertEqual(label, "pretrained")
        goals = np.stack([of_goal.goal for of_goal in paths])
        self.assertLen(np.unique(goals, axis=0), 3)
        self.assertTrue(np.isin(goals, tasks_of_the_paper(config)).all())
        phases, _ = adapted("pretrained", config, policy, goals, (2.0,), 1, config.stream(FIGURES))
        for number, of_goal in enumerate(paths):
            for phase, shown in zip(phases, (of_goal.before, of_goal.after), strict=True):
                self.assertLen(shown, 2)
                for row, path in enumerate(shown):
                    np.testing.assert_array_equal(path, phase.rollouts.observations[number, row, :50])


if __name__ == "__main__":
    absltest.main()
