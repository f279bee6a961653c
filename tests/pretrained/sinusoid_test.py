"""Tests of maml_tf.pretrained with networks that learned from sinusoids."""

import json
import pathlib

import numpy as np
from absl.testing import absltest, parameterized

from maml_tf import pretrained
from maml_tf.configuration import from_dict, to_dict
from maml_tf.experiments.sinusoid.config import SinusoidConfig
from maml_tf.experiments.sinusoid.evaluate import measure
from maml_tf.experiments.sinusoid.train import build_method
from maml_tf.few_shot.regression import build_network
from maml_tf.results import file_digest
from maml_tf.training import load_weights
from tests.support.keras_warnings import ignore_array_copy


class SinusoidTest(parameterized.TestCase):
    def test_a_network_is_published_and_loaded(self):
        ignore_array_copy()
        config, folder = SinusoidConfig(hidden=(5,), evaluation_steps=4), pathlib.Path(self.create_tempdir().full_path)
        network = build_network(config)
        (folder / "run" / "pretrained").mkdir(parents=True)
        network.save(folder / "run" / "pretrained" / "network.keras")
        row = {"method": "pretrained", "step_size": 0.03}
        results = {
            "config": to_dict(config),
            "rows": [{"method": "maml", "step_size": 0.01}, row, {"method": "oracle"}],
            "weights_sha256": {"pretrained": file_digest(folder / "run" / "pretrained" / "network.keras")},
            "training_seconds": {"pretrained": 7.0},
            "versions": {},
        }
        (folder / "run" / "results.json").write_text(json.dumps(results))
        pretrained.publish(folder / "run", "waves", folder / "entries", method="pretrained")
        card = pretrained.card("waves", folder / "entries")
        self.assertEqual(card["results"], [{"protocol": None, "rows": [row]}])
        self.assertEqual(card["training"], {"method": "pretrained", "seconds": 7.0})
        learner = pretrained.load("waves", folder / "entries")
        x = np.linspace(-5, 5, 4, dtype=np.float32)[:, np.newaxis]
        np.testing.assert_array_equal(learner.model(x), network(x))
        self.assertEqual(learner.inner_steps, 4)
        step = learner.adapt(x, np.sin(x), 1).get_weights()[-1] - network.get_weights()[-1]
        np.testing.assert_allclose(step, -0.03 * 2 * np.mean(network(x) - np.sin(x), axis=0), rtol=1e-4)
        with self.assertRaisesRegex(ValueError, "batch_statistics.* Received: 'waves'"):
            pretrained.load("waves", folder / "entries", batch_statistics="support")
        with self.assertRaisesRegex(ValueError, "learned from images. Received: 'waves', of sinusoids"):
            pretrained.unpack("waves", folder / "again", folder / "entries")
        for method in ("meta_curvature", "oracle"):
            with self.assertRaisesRegex(ValueError, "Expected a method .* Received: method="):
                pretrained.publish(folder / "run", "waves", folder / "entries", method=method)

    @parameterized.parameters("sinusoid", "sinusoid_pretrained")
    def test_published_networks_have_the_errors_on_their_cards(self, name):
        card = pretrained.card(name)
        published = [row for row in card["results"][0]["rows"] if row["shots"] == 5 and row["metric"] == "mse"]
        method = build_method(card["training"]["method"], from_dict(SinusoidConfig, card["config"]))
        load_weights(method.network, pretrained.weights_path(name))
        rows = measure(method, 5, published[0]["step_size"])
        measured = [row for row in rows if row.metric == "mse"]
        np.testing.assert_allclose([row.median for row in measured], [row["median"] for row in published], rtol=1e-3)


if __name__ == "__main__":
    absltest.main()
