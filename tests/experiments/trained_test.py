"""What trainings leave is loaded as it was measured."""

import importlib.util
import json
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest

from maml_tf import pretrained
from maml_tf.configuration import to_dict
from maml_tf.experiments import trained
from maml_tf.experiments.sinusoid.config import SinusoidConfig
from maml_tf.experiments.sinusoid.train import build_network
from maml_tf.results import POLICY, RESULTS
from tests.support.keras_warnings import ignore_array_copy


class TrainedTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        ignore_array_copy()

    def folder(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return pathlib.Path(folder.name)

    def test_training_on_images(self):
        name, folder = "omniglot_5way_1shot_dense", self.folder()
        logdir = pretrained.unpack(name, folder / "logdir")
        x, y = np.random.default_rng(0).random((5, 28, 28, 1), np.float32), np.arange(5)
        learner = trained.of_training(logdir, batch_statistics="support")
        entry = trained.of_entry(name, "support")
        self.assertEqual(learner.inner_steps, entry.inner_steps)
        np.testing.assert_array_equal(learner.adapt(x, y)(x), entry.adapt(x, y)(x))
        with self.assertRaisesRegex(ValueError, "Expected no method of a training on images"):
            trained.of_training(logdir, method="maml")
        with self.assertRaisesRegex(ValueError, "Expected no --method of published weights"):
            trained.of_flags({"pretrained": name, "method": "maml", "batch_statistics": None})

    def test_training_on_sinusoids(self):
        config, logdir = SinusoidConfig(), self.folder()
        (logdir / RESULTS).write_text(json.dumps({"experiment": "sinusoid", "config": to_dict(config)}))
        network = build_network(config)
        for method in ("maml_first_order", "pretrained"):
            (logdir / method).mkdir()
            network.save(logdir / method / "network.keras")
        learner = trained.of_training(logdir, "maml_first_order")
        self.assertEqual(learner.inner_steps, config.evaluation_steps)
        x = np.linspace(-5, 5, 4, dtype=np.float32)[:, np.newaxis]
        np.testing.assert_array_equal(learner.model(x), network(x))
        gradient_step = learner.adapt(x, np.sin(x), 1).get_weights()[-1] - network.get_weights()[-1]
        np.testing.assert_allclose(
            gradient_step, -config.inner_learning_rate * 2 * np.mean(network(x) - np.sin(x), axis=0), rtol=1e-5
        )
        for arguments, error, said in (
            ([logdir], FileNotFoundError, "method='maml', no"),
            ([logdir, "pretrained"], ValueError, "method='pretrained', a baseline"),
            ([logdir, "maml", "support"], ValueError, "no batch_statistics but of images"),
            ([logdir / "none"], FileNotFoundError, "Expected the directory of a training"),
        ):
            with self.assertRaisesRegex(error, said):
                trained.of_training(*arguments)

    @absltest.skipIf(importlib.util.find_spec("tf_agents") is None, "needs the extra rl")
    def test_training_of_a_policy(self):
        card, logdir = pretrained.card("point_navigation"), self.folder()
        rows = [{**row, "step_sizes": [0.3, 0.2]} for row in card["results"][0]["rows"]]
        (logdir / RESULTS).write_text(json.dumps({"config": card["config"], "rows": rows}))
        (logdir / "maml").mkdir()
        pretrained.load("point_navigation").save(logdir / "maml" / POLICY)
        adaptation, entry = trained.of_training(logdir), trained.of_entry("point_navigation")
        rates = [one._rule.learning_rates for one in (adaptation, entry)]
        self.assertEqual(rates, [(0.3, 0.2), (0.1, 0.05)])
        for name, value in adaptation.policy.parameters().items():
            np.testing.assert_array_equal(value, entry.policy.parameters()[name])


if __name__ == "__main__":
    absltest.main()
