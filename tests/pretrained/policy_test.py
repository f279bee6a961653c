"""Tests of maml_tf.pretrained with a policy."""

import json
import pathlib

import numpy as np
from absl.testing import absltest

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf import pretrained
from maml_tf.experiments.meta_rl.evaluate import TrainedPolicy
from maml_tf.results import file_digest
from maml_tf.rl.policy import GaussianPolicy, gaussian_mlp_policy
from tests.support.keras_warnings import ignore_array_copy


class PolicyTest(absltest.TestCase):
    def test_a_policy_is_published_and_loaded(self):
        ignore_array_copy()
        folder = pathlib.Path(self.create_tempdir().full_path)
        # The oracle's observation is the position and the goal.
        policy = gaussian_mlp_policy(observation_size=4, action_size=2, hidden=(5, 5))
        (folder / "run" / "oracle").mkdir(parents=True)
        policy.save(folder / "run" / "oracle" / "policy.keras")
        digest = file_digest(folder / "run" / "oracle" / "policy.keras")
        results = {
            "config": {"environment": "point_navigation", "seed": 2, "hidden": 5},
            "rows": [{"method": "maml", "mean": -9.0}, {"method": "oracle", "mean": -1.0}],
            "weights_sha256": {"maml": "0", "oracle": digest},
            "training_seconds": {"maml": 7.0, "oracle": 5.0},
            "versions": {},
        }
        (folder / "run" / "results.json").write_text(json.dumps(results))
        with self.assertRaisesRegex(FileNotFoundError, "Expected a training that was evaluated.*maml/policy.keras"):
            pretrained.publish(folder / "run", "navigation", folder / "entries")
        with self.assertRaisesRegex(ValueError, "Expected results of the method 'random'."):
            pretrained.publish(folder / "run", "navigation", folder / "entries", method="random")
        pretrained.publish(folder / "run", "navigation", folder / "entries", method="oracle")
        loaded = pretrained.load("navigation", folder / "entries")
        self.assertIsInstance(loaded, GaussianPolicy)
        for value, expected in zip(loaded.get_weights(), policy.get_weights(), strict=True):
            np.testing.assert_array_equal(value, expected)
        found = TrainedPolicy.of_entry("navigation", folder / "entries")
        self.assertEqual((found.method, found.config.seed, found.config.hidden), ("oracle", 2, 5))
        self.assertEqual(found.weights, folder / "entries" / "navigation.weights.h5")
        card = pretrained.card("navigation", folder / "entries")
        self.assertEqual(card["results"][0]["rows"], [{"method": "oracle", "mean": -1.0}])
        self.assertEqual(card["training"], {"method": "oracle", "seconds": 5.0})
        self.assertEqual(card["config"]["seed"], 2)
        for others in ({"maml": digest, "oracle": "0"}, {"maml": digest}, digest, None):
            (folder / "run" / "results.json").write_text(json.dumps({**results, "weights_sha256": others}))
            with self.assertRaisesRegex(ValueError, r"oracle/policy.keras'; evaluate them again. .*results"):
                pretrained.publish(folder / "run", "navigation", folder / "entries", method="oracle")

    def test_images_are_no_policy(self):
        with self.assertRaisesRegex(
            ValueError, "Expected an entry of reinforcement learning. Received: 'omniglot_5way"
        ):
            TrainedPolicy.of_entry("omniglot_5way_1shot")


if __name__ == "__main__":
    absltest.main()
