"""What TensorBoard shows of a learner in training: its gradients, updates and step sizes, a picture, a diagnosis."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from maml_tf import distribute
from maml_tf.doctor.diagnosis import diagnose
from maml_tf.learner import MetaLearner
from maml_tf.training.iterations import Place
from maml_tf.training.summaries import Summaries

# What the first writing is taken to cost, before one was timed.
_FIRST_SECONDS = 1.0


class LearnerSummaries(keras.callbacks.Callback):
    """Writes summaries of a learner from data of its own that stay the same.

    They are the norm of the meta-gradient, of all variables and of each; histograms of the learned step sizes, of the
    inner update of one task and of the outer update since the last writing; a picture; and at the end of a long
    training the doctor's diagnosis. They are written at validations that leave their cost within `share` of the
    training's time, and at the end.

    Args:
        summaries: The run that they belong to.
        learner: The learner in training.
        batch: A meta-batch of training tasks.
        every: Write at multiples of so many iterations.
        image: Draws the picture: a function that returns what `tf.summary.image` takes.
        share: Greatest share of the training's time that writing may take.
        diagnose_after: Least seconds of a training that is diagnosed at its end.
        clock: Seconds, increasing.
    """

    place = Place.SHOW

    def __init__(
        self,
        summaries: Summaries,
        learner: MetaLearner,
        batch: Any,
        *,
        every: int,
        image: Callable[[], tf.Tensor] | None = None,
        share: float = 0.01,
        diagnose_after: float = 20.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        super().__init__()
        self.summaries, self.learner, self.batch, self.every = summaries, learner, batch, every
        self.image, self.share, self.diagnose_after, self.clock = image, share, diagnose_after, clock
        self.iterations = summaries.iterations
        self._gradients = tf.function(lambda data: learner.meta_gradients(data)[1], autograph=False)
        self._began, self._spent, self._last = clock(), 0.0, _FIRST_SECONDS

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._began = self.clock()
        self.summaries.outer_updates(self._weights(), self.iterations.done)  # Remembers them.

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        done = self.iterations.done
        ends = done >= self.iterations.total
        if not ends and (done % self.every or not self._is_affordable()):
            return
        began = self.clock()
        parts = [self._write_gradients, self._write_step_sizes, self._write_updates, self._write_image]
        if ends and began - self._began >= self.diagnose_after:
            parts.append(self._write_diagnosis)
        with self.summaries.writer.as_default(step=done):
            for write in parts:
                # What diverges on this data has nothing to show, and is no fault of the training.
                with contextlib.suppress(tf.errors.InvalidArgumentError):
                    write(done)
        self.summaries.writer.flush()
        self._last = self.clock() - began
        self._spent += self._last

    def _is_affordable(self) -> bool:
        # Workers that decide by their clocks would not decide alike.
        alone = distribute.this_worker().count == 1
        return alone and self._spent + self._last <= self.share * (self.clock() - self._began)

    def _write_gradients(self, done: int) -> None:
        gradients = self._gradients(self.batch)
        norms = {"gradient_norm": tf.linalg.global_norm(gradients)}
        for variable, gradient in zip(self.learner.trainable_variables, gradients, strict=True):
            norms[f"gradient_norm/{variable.path}"] = tf.norm(gradient)
        self.summaries.scalars({tag: float(norm) for tag, norm in norms.items()}, done)

    def _write_step_sizes(self, done: int) -> None:
        means = {}
        for variable in self.learner.update_rule.trainable_variables:
            value = tf.convert_to_tensor(variable)
            means[f"step_size/{variable.path}"] = float(tf.reduce_mean(value))
            if value.shape.num_elements() > 1:
                tf.summary.histogram(f"step_sizes/{variable.path}", value)
        if means:
            self.summaries.scalars(means, done)

    def _write_updates(self, done: int) -> None:
        self.summaries.outer_updates(self._weights(), done)
        for name, value in self._inner_updates().items():
            tf.summary.histogram(f"inner_update/{name}", value)

    def _write_image(self, done: int) -> None:
        if self.image is not None:
            tf.summary.image("episode", self.image())

    def _write_diagnosis(self, done: int) -> None:
        diagnose(self.learner, [self.batch]).summarize(done, scalars=False)

    def _weights(self) -> dict[str, Any]:
        return {variable.path: variable for variable in self.learner.model.trainable_variables}

    def _inner_updates(self) -> dict[str, tf.Tensor]:
        """The first task's, of the variables that adapt; none where it is not learned in weights."""
        (support_x, support_y, _), _ = tf.nest.map_structure(lambda leaf: leaf[0], self.batch)
        if not self.learner.algorithm.learns_weights:
            return {}
        adapted = self.learner.adapt(support_x, support_y)
        pairs = zip(self.learner.model.trainable_variables, adapted.trainable_variables, strict=True)
        updates = {before.path: tf.convert_to_tensor(after) - before for before, after in pairs}
        return {name: value for name, value in updates.items() if tf.reduce_any(value != 0)}
