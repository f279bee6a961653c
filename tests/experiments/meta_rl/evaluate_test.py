"""Tests of maml_tf.experiments.meta_rl.evaluate."""

import json
import pathlib

import numpy as np
from absl.testing import absltest

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf import configuration as config_module
from maml_tf.experiments.meta_rl.config import MetaRLConfig
from maml_tf.experiments.meta_rl.evaluate import TrainedPolicy
from maml_tf.rl.policy import gaussian_mlp_policy
from tests.support.keras_warnings import ignore_array_copy

CONFIG = MetaRLConfig(seed=3, hidden=5)


class TrainedPolicyTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        ignore_array_copy()
        self.logdir = pathlib.Path(self.create_tempdir().full_path)

    def _write_results(self, config):
        (self.logdir / "results.json").write_text(json.dumps({"config": config, "rows": []}))

    def test_the_policy_of_a_method_is_found_and_loaded(self):
        self._write_results(config_module.to_dict(CONFIG))
        # An oracle's observation is the position and the goal.
        policies = {"maml": gaussian_mlp_policy(2, 2, (5, 5)), "oracle": gaussian_mlp_policy(4, 2, (5, 5))}
        for method, policy in policies.items():
            (self.logdir / method).mkdir()
            policy.save(self.logdir / method / "policy.keras")
        for method, policy in policies.items():
            trained = TrainedPolicy.of_training(self.logdir, method)
            self.assertEqual((trained.method, trained.config), (method, CONFIG))
            for value, expected in zip(trained.load().get_weights(), policy.get_weights(), strict=True):
                np.testing.assert_array_equal(value, expected)

    def test_weights_of_another_policy_are_refused(self):
        self._write_results(config_module.to_dict(CONFIG))
        (self.logdir / "maml").mkdir()
        gaussian_mlp_policy(2, 2, (6, 6)).save(self.logdir / "maml" / "policy.keras")
        with self.assertRaisesRegex(ValueError, "Received: .*policy.keras"):
            TrainedPolicy.of_training(self.logdir, "maml").load()

    def test_a_folder_without_an_evaluated_training_is_refused(self):
        with self.assertRaisesRegex(FileNotFoundError, "Received: no .*results"):
            TrainedPolicy.of_training(self.logdir, "maml")

    def test_results_of_another_kind_are_refused(self):
        for content in ({"config": {"dataset": "omniglot"}}, {}):
            (self.logdir / "results.json").write_text(json.dumps(content))
            with self.assertRaisesRegex(ValueError, "Received: others"):
                TrainedPolicy.of_training(self.logdir, "maml")


if __name__ == "__main__":
    absltest.main()
