"""Tests of maml_tf.pretrained: a tiny entry is published, listed and loaded."""

import dataclasses
import importlib.util
import json
import os
import pathlib
from unittest import mock

import h5py
import numpy as np
from absl.testing import absltest

from maml_tf import configuration as config
from maml_tf import pretrained
from maml_tf.experiments.classification.config import ClassificationConfig
from maml_tf.experiments.classification.files import load_config, load_learner, write_untrained
from maml_tf.few_shot.learner import build_learner
from maml_tf.pretrained.library import package_folder
from maml_tf.results import file_digest
from tests.support.keras_warnings import ignore_array_copy


class PretrainedTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        ignore_array_copy()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.logdir, self.entries = self.folder / "run", self.folder / "entries"
        self.config = ClassificationConfig(
            filters=4, data_dir="/secret/place", cache_dir="/secret/cache", step_sizes="layer", evaluation_steps=2
        )
        self.weights = [np.random.default_rng(0).random(w.shape) for w in build_learner(self.config).model.weights]
        write_untrained(self.logdir, self.config, lambda network: network.set_weights(self.weights))
        self.results = {
            "config": {**config.to_dict(self.config), "seed": 77, "batch_statistics": "running"},
            "weights_sha256": file_digest(self.logdir / "best.weights.h5"),
            "protocol": {"tasks": 600},
            "rows": [{"mean": 0.9}],
            "versions": {"keras": "3"},
        }

    def publish(self, **options):
        (self.logdir / "results.json").write_text(json.dumps(self.results))
        return pretrained.publish(self.logdir, "omniglot_tiny", self.entries, **options)

    def test_a_published_entry_is_listed_and_loads_ready_to_adapt(self):
        self.assertEqual(pretrained.available(self.entries), [])
        self.publish()
        self.assertEqual(pretrained.available(self.entries), ["omniglot_tiny"])
        learner = pretrained.load("omniglot_tiny", self.entries)
        for value, expected in zip(learner.model.get_weights(), self.weights, strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-6)
        self.assertEqual(learner.inner_steps, 2)
        images = np.random.default_rng(1).random((5, 28, 28, 1), np.float32)
        adapted = learner.adapt(images, [0, 1, 2, 3, 4])
        self.assertFalse(np.array_equal(adapted.get_weights()[-1], learner.model.get_weights()[-1]))

    def test_with_the_support_sets_statistics_a_prediction_does_not_depend_on_the_other_examples(self):
        self.publish()
        support, query = np.random.default_rng(1).random((2, 5, 28, 28, 1), np.float32)
        for batch_statistics, alone in ((None, False), ("transductive", False), ("support", True)):
            with self.subTest(batch_statistics=batch_statistics):
                learner = pretrained.load("omniglot_tiny", self.entries, batch_statistics=batch_statistics)
                for value, expected in zip(learner.model.trainable_weights, self.weights, strict=True):
                    np.testing.assert_allclose(value, expected, rtol=1e-6)
                adapted = learner.adapt(support, np.arange(5))
                together, first = np.asarray(adapted(query)), np.asarray(adapted(query[:1]))
                self.assertEqual(np.allclose(together[:1], first, rtol=1e-4), alone)

    def test_batch_statistics_that_an_entry_does_not_have_are_an_error(self):
        self.publish()
        with self.assertRaisesRegex(ValueError, "'running', which keeps moving averages. Received: .*'transductive'"):
            pretrained.load("omniglot_tiny", self.entries, batch_statistics="running")
        with self.assertRaisesRegex(ValueError, "batch_statistics.*Received: .*'all'"):
            pretrained.load("omniglot_tiny", self.entries, batch_statistics="all")
        with self.assertRaisesRegex(ValueError, "batch_statistics.*Received: .*'support'"):
            pretrained.load("point_navigation", batch_statistics="support")

    def test_weights_are_kept_bit_for_bit_in_less_space(self):
        dense = dataclasses.replace(self.config, network="dense")
        shapes = [weight.shape for weight in build_learner(dense).model.weights]
        weights = [np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 3 for shape in shapes]
        write_untrained(self.folder / "dense", dense, lambda network: network.set_weights(weights))
        (self.folder / "dense" / "results.json").write_text(
            json.dumps({**self.results, "weights_sha256": file_digest(self.folder / "dense" / "best.weights.h5")})
        )
        pretrained.publish(self.folder / "dense", "omniglot_tiny", self.entries)
        kept = pretrained.load("omniglot_tiny", self.entries).model.get_weights()
        for value, expected in zip(kept, weights, strict=True):
            np.testing.assert_array_equal(value, expected)
        trained = (self.folder / "dense" / "best.weights.h5").stat().st_size
        self.assertLess((self.entries / "omniglot_tiny.weights.h5").stat().st_size, 0.9 * trained)

    def test_the_card_says_what_it_is_and_not_where_it_was_made(self):
        other = self.folder / "other.json"
        other.write_text(json.dumps({**self.results, "protocol": {"tasks": 7}}))
        path = self.publish(results=[other, self.logdir / "results.json", other])
        self.assertNotIn("secret", path.read_text())
        card = pretrained.card("omniglot_tiny", self.entries)
        self.assertEqual([one["protocol"]["tasks"] for one in card["results"]], [600, 7])
        self.assertEqual(card["config"]["step_sizes"], "layer")
        # The training's, and not those of an evaluation under other settings.
        self.assertEqual((card["config"]["seed"], card["config"]["batch_statistics"]), (1, "transductive"))
        self.assertIn("MIT", card["data_license"])
        self.assertEqual(card["versions"], {"keras": "3"})

    def test_the_card_names_the_training_that_it_started_from(self):
        named = {
            "/secret/runs/shorter/best.weights.h5": "shorter/best.weights.h5",
            "~/secret/shorter/best.weights.h5": "shorter/best.weights.h5",
            "runs/shorter/best.weights.h5": "runs/shorter/best.weights.h5",
        }
        for given, expected in named.items():
            (self.logdir / "config.json").write_text(
                json.dumps({**config.to_dict(self.config), "initial_weights": given})
            )
            self.publish()
            self.assertEqual(pretrained.card("omniglot_tiny", self.entries)["config"]["initial_weights"], expected)

    def test_users_folders_may_be_named_by_a_tilde(self):
        (self.folder / "other.json").write_text(json.dumps(self.results))
        (self.logdir / "results.json").write_text(json.dumps(self.results))
        with mock.patch.dict(os.environ, {"HOME": str(self.folder)}):
            pretrained.publish("~/run", "omniglot_tiny", "~/entries", ["~/other.json"])
            self.assertEqual(pretrained.available("~/entries"), ["omniglot_tiny"])
            self.assertEqual(pretrained.load("omniglot_tiny", "~/entries").inner_steps, 2)
        self.assertLen(pretrained.card("omniglot_tiny", self.entries)["results"], 2)

    def test_an_unpacked_entry_is_the_training_it_came_from(self):
        self.publish()
        directory = pretrained.unpack("omniglot_tiny", self.folder / "again", self.entries)
        kept = load_learner(directory, load_config(directory, {"evaluation_steps": 3}))
        for value, expected in zip(kept.model.get_weights(), self.weights, strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-6)
        self.assertEqual(load_config(directory).step_sizes, "layer")
        pretrained.unpack("omniglot_tiny", directory, self.entries)  # The same again is no error.
        (directory / "best.weights.h5").write_bytes(b"others")
        with self.assertRaisesRegex(ValueError, "Expected a directory without other weights. Received: .*again"):
            pretrained.unpack("omniglot_tiny", directory, self.entries)
        with self.assertRaisesRegex(ValueError, "Expected an entry that learned from images. Received: 'point_navigat"):
            pretrained.unpack("point_navigation", self.folder / "policy")

    def test_every_entry_of_the_package_loads_and_is_small(self):
        for name in pretrained.available():
            with self.subTest(name):
                card = pretrained.card(name)
                self.assertEqual(card["name"], name)
                self.assertNotEmpty(card["results"])
                self.assertNotEmpty(card["data_license"])
                (kept,) = {*package_folder().glob(f"{name}.*")} - {package_folder() / f"{name}.json"}
                self.assertLess(kept.stat().st_size, 1_000_000)
                if "environment" in card["config"] and importlib.util.find_spec("tf_agents") is None:
                    with self.assertRaisesRegex(ImportError, "the extra rl"):
                        pretrained.load(name)
                else:
                    pretrained.load(name)

    def test_what_cannot_be_published_is_an_error(self):
        with self.assertRaisesRegex(FileNotFoundError, "Expected a training that was evaluated.*no .*results"):
            pretrained.publish(self.logdir, "omniglot_tiny", self.entries)
        with self.assertRaisesRegex(ValueError, "Expected a name of lower-case letters.*Received: '../x'"):
            pretrained.publish(self.logdir, "../x", self.entries)
        others = self.folder / "others.json"
        others.write_text(json.dumps({**self.results, "weights_sha256": "0"}))
        with self.assertRaisesRegex(ValueError, r"evaluate them again. Received: .*\['.*others"):
            self.publish(results=[others])
        with h5py.File(self.logdir / "best.weights.h5", "w") as weights:
            weights["noise"] = np.random.default_rng(2).integers(0, 256, 1_000_000, np.uint8)
        with self.assertRaisesRegex(ValueError, "evaluate them again"):
            self.publish()
        self.results["weights_sha256"] = file_digest(self.logdir / "best.weights.h5")
        with self.assertRaisesRegex(ValueError, "Expected weights of at most 1,000,000 bytes. Received: 1,00"):
            self.publish()
        (self.logdir / "best.weights.h5").write_bytes(b"half a file")
        self.results["weights_sha256"] = file_digest(self.logdir / "best.weights.h5")
        with self.assertRaisesRegex(ValueError, "Expected a file of Keras weights. Received: .*best.weights.h5"):
            self.publish()

    def test_an_unknown_entry_is_an_error(self):
        self.publish()
        with self.assertRaisesRegex(ValueError, r"Expected one of \['omniglot_tiny'\]. Received: 'omniglot'"):
            pretrained.load("omniglot", self.entries)


if __name__ == "__main__":
    absltest.main()
