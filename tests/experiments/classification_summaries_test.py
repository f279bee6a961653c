"""Tests of maml_tf.experiments.classification_summaries."""

import pathlib

import numpy as np
import tensorflow as tf
from absl.testing import absltest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from maml_tf.experiments.classification_config import ClassificationConfig
from maml_tf.experiments.classification_learner import build_learner
from maml_tf.experiments.classification_summaries import ClassificationSummaries
from tests.support.keras_warnings import ignore_array_copy


class ClassificationSummariesTest(absltest.TestCase):
    def test_gradients_step_sizes_and_an_episode_are_written_at_validations(self):
        ignore_array_copy()
        folder = pathlib.Path(self.create_tempdir().full_path)
        learner = build_learner(
            ClassificationConfig(filters=2, head="normal", step_sizes="layer_and_step", first_order=True)
        )
        rng = np.random.default_rng(0)
        images = [tf.constant(rng.random((2, 5, 28, 28, 1), np.float32)) for _ in range(2)]
        labels = tf.constant([[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]])
        data = ((images[0], labels, images[1]), labels)
        summaries = ClassificationSummaries(
            learner, data, data, folder, steps=3, iterations_per_epoch=10, every_epochs=2
        )
        for epoch in range(4):
            summaries.on_epoch_end(epoch, {})
        events = EventAccumulator(str(folder / "summaries"), size_guidance={"tensors": 0}).Reload()
        tags = events.Tags()["tensors"]
        self.assertEqual([event.step for event in events.Tensors("gradient_norm")], [20, 40])
        norm = float(tf.make_ndarray(events.Tensors("gradient_norm")[0].tensor_proto))
        np.testing.assert_allclose(norm, tf.linalg.global_norm(learner.meta_gradients(data)[1]), rtol=1e-4)
        self.assertIn("episode", tags)
        for variable in learner.trainable_variables:
            self.assertIn(f"gradient_norm/{variable.path}", tags)
        step_sizes = [tag for tag in tags if tag.startswith("step_size/")]
        self.assertLen(step_sizes, len(learner.update_rule.trainable_variables))
        value = tf.make_ndarray(events.Tensors(step_sizes[0])[0].tensor_proto)
        self.assertAlmostEqual(float(value), 0.4, places=6)


if __name__ == "__main__":
    absltest.main()
