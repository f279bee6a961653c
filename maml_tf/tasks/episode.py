"""Episode: the support and query sets of a task, or of a batch of tasks."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


class Episode(NamedTuple):
    """The data of one task, or of a meta-batch of tasks under a leading task axis.

    The learner adapts on the support set and is judged on the query set; the two share no example.
    Shapes of one task, which every task source of this package follows:

    * classification: `support_x [ways * shots, ...]`, `support_y [ways * shots]`,
      `query_x [ways * queries, ...]`, `query_y [ways * queries]`, with labels int32 in `[0, ways)`;
    * regression: `support_x [shots, inputs]`, `support_y [shots, outputs]`,
      `query_x [queries, inputs]`, `query_y [queries, outputs]`.

    A meta-batch has `[tasks, ...]` in front of each of the four.

    Attributes:
        support_x: Inputs to adapt on, float32.
        support_y: Targets to adapt on.
        query_x: Inputs on which the adapted learner is judged, float32.
        query_y: Their targets.

    Example:
    >>> from maml_tf.tasks import Episode
    >>> episode = Episode(support_x=[[1.0]], support_y=[[2.0]], query_x=[[3.0]], query_y=[[4.0]])
    >>> episode.keras_data()
    (([[1.0]], [[2.0]], [[3.0]]), [[4.0]])
    """

    support_x: tf.Tensor
    support_y: tf.Tensor
    query_x: tf.Tensor
    query_y: tf.Tensor

    def keras_data(self) -> tuple[tuple[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]:
        """Puts the episode into the form of a Keras model's data.

        Returns:
            `((support_x, support_y, query_x), query_y)`: inputs and target.
        """
        return (self.support_x, self.support_y, self.query_x), self.query_y
