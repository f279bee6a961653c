"""Tests of maml_tf.experiments.classification.original_checkpoint, on checkpoints written with TensorFlow 1's saver."""

import os
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf.experiments.classification.config import make_config
from maml_tf.experiments.classification.original_checkpoint import assign_original, read_original
from maml_tf.few_shot.learner import build_learner
from maml_tf.models import mini_imagenet_conv, omniglot_conv, omniglot_dense
from tests.support import original


class OriginalCheckpointTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.path = os.path.join(self.create_tempdir().full_path, "model1999")

    @parameterized.parameters(("conv", original.conv_logits), ("dense", original.dense_logits))
    def test_adaptation_agrees_with_the_originals(self, kind, logits):
        values = original.variables(kind, ways=3)
        original.save(values, self.path)
        fields = {"network": "dense"} if kind == "dense" else {"filters": 4}
        config = make_config("omniglot", "5way_1shot_paper", ways=3, shots=2, inner_learning_rate=0.05, **fields)
        learner = build_learner(config)
        assign_original(learner.model, read_original(self.path))
        rng = np.random.default_rng(1)
        support_x, query_x = rng.random((6, 28, 28, 1), np.float32), rng.random((9, 28, 28, 1), np.float32)
        support_y = np.array([0, 1, 2, 2, 1, 0])
        for steps in (0, 1, 3):
            expected = original.adapted_logits(
                logits, values, support_x, support_y, query_x, step_size=0.05, shots=2, steps=steps
            )
            adapted = learner.adapt(support_x, support_y, steps)(query_x)
            np.testing.assert_allclose(adapted, expected, rtol=1e-5, atol=1e-5)
        # The steps move the logits by far more than that.
        self.assertGreater(np.max(np.abs(expected - logits(values, query_x))), 0.01)

    def test_a_users_folder_may_be_named_by_a_tilde(self):
        original.save(original.variables("dense"), self.path)
        with mock.patch.dict(os.environ, {"HOME": os.path.dirname(self.path)}):
            self.assertLen(read_original("~/model1999"), 10)

    @parameterized.parameters(("conv", ""), ("conv", "other/model/"), ("dense", ""), ("unnamed", "model/"))
    def test_names_may_have_any_prefix(self, kind, prefix):
        values = original.variables(kind)
        original.save(values, self.path, prefix)
        read = read_original(self.path)
        network = omniglot_conv(filters=4) if kind == "conv" else omniglot_dense()
        assign_original(network, read)
        kernel = {"conv": "conv2", "dense": "w2", "unnamed": "Variable_2"}[kind]
        bias = {"conv": "b5", "dense": "b5", "unnamed": "Variable_9"}[kind]
        np.testing.assert_array_equal(network.get_weights()[2], values[kernel])
        np.testing.assert_array_equal(network.get_weights()[3], values["1/beta"])
        np.testing.assert_array_equal(network.get_weights()[-1], values[bias])

    def test_mini_imagenets_network(self):
        values = original.variables("conv", channels=3, filters=32)
        values["w5"] = np.random.default_rng(0).random((800, 5), np.float32)
        original.save(values, self.path)
        network = mini_imagenet_conv()
        assign_original(network, read_original(self.path))
        np.testing.assert_array_equal(network.get_layer("head").kernel, values["w5"])
        np.testing.assert_array_equal(network.get_layer("conv1").kernel, values["conv1"])

    def test_another_network_is_an_error(self):
        original.save(original.variables("conv", ways=20), self.path)
        with self.assertRaisesRegex(ValueError, r"Expected a checkpoint of omniglot_conv.*\(4, 5\).*\(4, 20\)"):
            assign_original(omniglot_conv(filters=4), read_original(self.path))

    def test_what_is_no_checkpoint_of_the_original_is_an_error(self):
        with self.assertRaisesRegex(FileNotFoundError, "Expected a TensorFlow checkpoint. Received: '.*model1999'"):
            read_original(self.path)
        values = original.variables("conv")
        original.save(values, self.path)
        os.truncate(f"{self.path}.index", 10)
        with self.assertRaisesRegex(ValueError, "Expected a whole checkpoint. Received: '.*model1999'"):
            read_original(self.path)
        original.save({**values, **{f"second/{name}": value for name, value in values.items()}}, self.path)
        with self.assertRaisesRegex(ValueError, "0/beta of one classification network.*second/0/beta"):
            read_original(self.path)
        del values["w5"]
        original.save(values, self.path)
        with self.assertRaisesRegex(ValueError, r"Expected variables \['model/w5'\] in"):
            read_original(self.path)
        tf.train.Checkpoint(x=tf.Variable(1.0)).write(self.path)
        with self.assertRaisesRegex(ValueError, "Expected the variable 0/beta of one classification network"):
            read_original(self.path)


if __name__ == "__main__":
    absltest.main()
