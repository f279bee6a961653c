"""Tests of maml_tf.experiments.meta_rl: which methods a run takes."""

import dataclasses
import pathlib
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.core.task_values import Evaluation
from maml_tf.experiments.meta_rl import evaluate as meta_rl
from maml_tf.experiments.meta_rl.config import MetaRLConfig
from maml_tf.methods import names
from maml_tf.rl.policy import gaussian_mlp_policy
from tests.support.keras_warnings import ignore_array_copy

CONFIG = MetaRLConfig(
    hidden=8, evaluation_steps=1, evaluation_rollouts=2, test_tasks=2, tune_step_size=False, iterations=1
)


class MethodsOfARunTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

    def test_a_method_named_twice_runs_once(self):
        ignore_array_copy()
        with mock.patch.object(meta_rl, "train", wraps=meta_rl.train) as train:
            rows = meta_rl.run(CONFIG, ["random", "random"], self.directory)
        train.assert_called_once()
        self.assertEqual([(row.method, row.step) for row in rows], [("random", 0), ("random", 1)])

    def test_all_is_every_method_once(self):
        with mock.patch.object(meta_rl, "open_logdir", side_effect=InterruptedError) as opened:
            with self.assertRaises(InterruptedError):
                meta_rl.run(CONFIG, ["oracle", "all", "oracle"], self.directory)
        self.assertEqual(opened.call_args.args[1], [f"{method}/checkpoints" for method in names("meta_rl")])

    def test_the_baselines_without_a_step_size_of_their_own_are_tuned_if_asked_for(self):
        ignore_array_copy()
        methods = ("maml", "pretrained", "random", "context_vector")
        policy = meta_rl.train("random", CONFIG, self.directory, False)
        evaluation = Evaluation({"return": np.ones((2, 2))})
        for tune, of_baselines in ((True, [0.7, 0.35]), (False, [0.1, 0.05])):
            config = dataclasses.replace(CONFIG, tune_step_size=tune)
            with (
                mock.patch.object(meta_rl, "train", return_value=policy),
                mock.patch.object(meta_rl, "tune_step_size", return_value=0.7),
                mock.patch.object(meta_rl, "write_figures"),
                mock.patch.object(meta_rl, "evaluate", return_value=evaluation) as measured,
            ):
                rows = meta_rl.run(config, methods, self.directory / str(tune))
            expected = [of_baselines if method in ("pretrained", "random") else [0.1, 0.05] for method in methods]
            self.assertEqual([list(call.args[-1]) for call in measured.call_args_list], expected)
            self.assertEqual([row.extra["step_sizes"] for row in rows[::2]], expected)
            self.assertEqual({row.shots for row in rows}, {2})

    @parameterized.parameters(([],), (["maml", "reptile"],))
    def test_other_methods_are_refused(self, methods):
        with self.assertRaisesRegex(ValueError, r"Received: \("):
            meta_rl.run(CONFIG, methods, self.directory)

    def test_random_weights_are_not_read_from_a_file(self):
        config = dataclasses.replace(CONFIG, initial_weights="policy.keras")
        for methods in (["maml", "random"], ["all"]):
            with self.assertRaisesRegex(ValueError, "no initial_weights with the method random. Received: .*policy.ke"):
                meta_rl.run(config, methods, self.directory)
        self.assertEmpty(list(self.directory.iterdir()))

    def test_initial_weights_that_fit_not_every_method_are_refused_before_any_training(self):
        ignore_array_copy()
        weights, logdir = self.directory / "policy.weights.h5", self.directory / "run"
        gaussian_mlp_policy(2, 2, (8, 8)).save_weights(weights)
        config = dataclasses.replace(CONFIG, initial_weights=str(weights))
        with mock.patch.object(meta_rl, "train", side_effect=InterruptedError) as train:
            with self.assertRaisesRegex(ValueError, "Received: .*policy.weights"):
                meta_rl.run(config, ["maml", "oracle"], logdir)
            self.assertFalse(logdir.exists())
            train.assert_not_called()
            # They fit; one that goes on needs no file any more.
            for methods, resume, of in ((["maml"], False, weights), (["maml", "oracle"], True, weights / "gone")):
                with self.assertRaises(InterruptedError):
                    meta_rl.run(dataclasses.replace(config, initial_weights=str(of)), methods, logdir, resume)


if __name__ == "__main__":
    absltest.main()
