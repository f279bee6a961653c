"""Tests of maml_tf.experiments.classification.figures."""

import pathlib
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import absltest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from maml_tf.experiments.classification import figures
from maml_tf.experiments.classification.config import ClassificationConfig
from maml_tf.experiments.classification.figures import ClassificationSummaries
from maml_tf.few_shot.learner import build_learner
from maml_tf.training import Iterations
from tests.support.keras_warnings import ignore_array_copy


class ClassificationSummariesTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        ignore_array_copy()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.learner = build_learner(
            ClassificationConfig(filters=2, head="normal", step_sizes="layer_and_step", inner_steps=2, first_order=True)
        )
        rng = np.random.default_rng(0)
        images = [tf.constant(rng.random((2, 5, 28, 28, 1), np.float32)) for _ in range(2)]
        labels = tf.constant([[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]])
        self.data = ((images[0], labels, images[1]), tf.roll(labels, 1, axis=1))
        self.iterations = Iterations(40, 10)
        self.summaries = ClassificationSummaries(
            self.learner, self.data, self.data, self.folder, steps=3, iterations=self.iterations, every=20
        )

    def test_gradients_step_sizes_and_an_episode_are_written_at_validations(self):
        expected = []
        for epoch in range(4):
            self.learner.model.trainable_variables[-1].assign_add([0.0, 1.0, 0.0, -1.0, 0.0])
            self.learner.update_rule.trainable_variables[0].assign([0.1 * epoch, 0.3])
            self.iterations.variable.assign_add(10)
            self.summaries.on_epoch_end(epoch, {})
            expected.append([tf.norm(gradient) for gradient in self.learner.meta_gradients(self.data)[1]])
        expected = np.array(expected)[[1, 3]]

        events = EventAccumulator(str(self.folder / "summaries"), size_guidance={"tensors": 0}).Reload()
        tags = events.Tags()["tensors"]

        def values(tag):
            return [float(tf.make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)]

        for tag in ("gradient_norm", "episode"):
            self.assertEqual([event.step for event in events.Tensors(tag)], [20, 40])
        np.testing.assert_allclose(values("gradient_norm"), np.linalg.norm(expected, axis=1), rtol=1e-4)
        for variable, norms in zip(self.learner.trainable_variables, expected.T, strict=True):
            np.testing.assert_allclose(values(f"gradient_norm/{variable.path}"), norms, rtol=1e-3, atol=1e-6)
        step_sizes = [variable.path for variable in self.learner.update_rule.trainable_variables]
        self.assertContainsSubset([f"step_size/{path}" for path in step_sizes], tags)
        self.assertContainsSubset([f"step_sizes/{path}" for path in step_sizes], tags)
        np.testing.assert_allclose(values(f"step_size/{step_sizes[0]}"), [0.2, 0.3], rtol=1e-6)

    def test_the_episode_shown_is_the_first_with_its_predictions_before_and_after_adaptation(self):
        with mock.patch.object(figures, "episode_predictions", wraps=figures.episode_predictions) as drawn:
            self.summaries.on_epoch_end(1, {})
        (support_x, support_y, query_x), query_y = tf.nest.map_structure(lambda leaf: leaf[0], self.data)
        before, after = (
            np.argmax(self.learner.adapt(support_x, support_y, steps)(query_x), axis=-1) for steps in (0, 3)
        )
        for shown, value in zip(
            drawn.call_args.args, (support_x, support_y, query_x, query_y, before, after), strict=True
        ):
            np.testing.assert_array_equal(shown, value)


if __name__ == "__main__":
    absltest.main()
