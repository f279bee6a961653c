"""The picture of an episode that TensorBoard shows of a classification training."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from maml_tf.evaluation import Evaluator
from maml_tf.learner import MetaLearner
from maml_tf.plotting import episode_predictions, figure_to_image


class EpisodeImage:
    """Draws an episode's images with the predictions before and after adaptation.

    Args:
        learner: The learner in training; its current weights are read at every call.
        episodes: A meta-batch of tasks, of which the first is shown.
        steps: Inner steps of the adaptation.
    """

    def __init__(self, learner: MetaLearner, episodes: Any, steps: int):
        self.steps = steps
        self.episode = tf.nest.map_structure(lambda leaf: leaf[:1], episodes)
        self._evaluator = Evaluator(learner, {"prediction": lambda targets, logits: tf.argmax(logits, axis=-1)})

    def __call__(self) -> tf.Tensor:
        """Draws it, as `tf.summary.image` takes it."""
        (support_x, support_y, query_x), query_y = tf.nest.map_structure(lambda leaf: leaf[0].numpy(), self.episode)
        predictions = self._evaluator([self.episode], self.steps).values["prediction"][:, 0].astype(np.int64)
        # What fills a set up has label -1.
        support, query = support_y >= 0, query_y >= 0
        figure = episode_predictions(
            support_x[support], support_y[support], query_x[query], query_y[query],
            predictions[0][query], predictions[-1][query],
        )  # fmt: skip
        return figure_to_image(figure)
