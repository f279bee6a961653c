"""What TensorBoard shows of a classification training beside Keras' own: gradients, step sizes, an episode."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from maml_tf.evaluation import Evaluator
from maml_tf.learner import MAML
from maml_tf.plotting import episode_predictions, figure_to_image
from maml_tf.training import Iterations


class ClassificationSummaries(keras.callbacks.Callback):
    """Writes summaries at every validation, from data of its own that stay the same.

    They are the norm of the meta-gradient, of all variables and of each; the learned step sizes; and the images of an
    episode with the predictions before and after adaptation.

    Args:
        learner: The learner in training.
        batch: A meta-batch of training tasks, whose meta-gradient is taken.
        episodes: A meta-batch of validation tasks, of which the first is shown.
        directory: Of the training; the events go to a folder in it.
        steps: Inner steps of the adaptation that is shown.
        iterations: The counter of the training.
        every: Write after so many iterations.
    """

    def __init__(
        self,
        learner: MAML,
        batch: Any,
        episodes: Any,
        directory: str | os.PathLike[str],
        *,
        steps: int,
        iterations: Iterations,
        every: int,
    ):
        super().__init__()
        self.learner = learner
        self.batch = batch
        self.episode = tf.nest.map_structure(lambda leaf: leaf[:1], episodes)
        self.steps = steps
        self.iterations = iterations
        self.every = every
        self._evaluator = Evaluator(learner, {"prediction": lambda targets, logits: tf.argmax(logits, axis=-1)})
        self._gradients = tf.function(lambda data: learner.meta_gradients(data)[1], autograph=False)
        self._writer = tf.summary.create_file_writer(str(pathlib.Path(directory) / "summaries"))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        done = self.iterations.done
        if done % self.every:
            return
        with self._writer.as_default(step=done):
            self._write_gradient_norms()
            for variable in self.learner.update_rule.trainable_variables:
                value = tf.convert_to_tensor(variable)
                tf.summary.scalar(f"step_size/{variable.path}", tf.reduce_mean(value))
                if value.shape.num_elements() > 1:
                    tf.summary.histogram(f"step_sizes/{variable.path}", value)
            self._write_episode()
        self._writer.flush()

    def _write_gradient_norms(self) -> None:
        gradients = self._gradients(self.batch)
        tf.summary.scalar("gradient_norm", tf.linalg.global_norm(gradients))
        for variable, gradient in zip(self.learner.trainable_variables, gradients, strict=True):
            tf.summary.scalar(f"gradient_norm/{variable.path}", tf.norm(gradient))

    def _write_episode(self) -> None:
        (support_x, support_y, query_x), query_y = tf.nest.map_structure(lambda leaf: leaf[0].numpy(), self.episode)
        predictions = self._evaluator([self.episode], self.steps).values["prediction"][:, 0].astype(np.int64)
        # What fills a set up has label -1.
        support, query = support_y >= 0, query_y >= 0
        figure = episode_predictions(
            support_x[support], support_y[support], query_x[query], query_y[query],
            predictions[0][query], predictions[-1][query],
        )  # fmt: skip
        tf.summary.image("episode", figure_to_image(figure))
