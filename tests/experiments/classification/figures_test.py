"""Tests of maml_tf.experiments.classification.figures."""

from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import absltest

from maml_tf.experiments.classification import figures
from maml_tf.experiments.classification.config import ClassificationConfig
from maml_tf.experiments.classification.figures import EpisodeImage
from maml_tf.few_shot.learner import build_learner


class EpisodeImageTest(absltest.TestCase):
    def test_the_episode_shown_is_the_first_with_its_predictions_before_and_after_adaptation(self):
        learner = build_learner(ClassificationConfig(filters=2, head="normal", inner_steps=2, first_order=True))
        rng = np.random.default_rng(0)
        images = [tf.constant(rng.random((2, 5, 28, 28, 1), np.float32)) for _ in range(2)]
        labels = tf.constant([[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]])
        data = ((images[0], labels, images[1]), tf.roll(labels, 1, axis=1))
        with mock.patch.object(figures, "episode_predictions", wraps=figures.episode_predictions) as drawn:
            image = EpisodeImage(learner, data, steps=3)()
        self.assertEqual((image.dtype, image.shape[0], image.shape[-1]), (tf.uint8, 1, 4))
        (support_x, support_y, query_x), query_y = tf.nest.map_structure(lambda leaf: leaf[0], data)
        before, after = (np.argmax(learner.adapt(support_x, support_y, steps)(query_x), axis=-1) for steps in (0, 3))
        for shown, value in zip(
            drawn.call_args.args, (support_x, support_y, query_x, query_y, before, after), strict=True
        ):
            np.testing.assert_array_equal(shown, value)


if __name__ == "__main__":
    absltest.main()
