"""The multi-task baseline: networks trained on one task each, averaged in parameter space (Appendix C.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from maml_tf.checks import number


class AnchoredRegression(keras.Model):
    """A model trained with the penalty `strength * ||theta - anchor||^2` added to its loss.

    Args:
        model: A built Keras model.
        strength: Weight of the penalty; 0 for none.

    Attributes:
        anchor: A variable for each trainable variable of the model; zeros at first, which is l2 regularisation.
        strength: Weight of the penalty, a scalar variable.
    """

    def __init__(self, model: keras.Model, strength: float):
        super().__init__(name=f"anchored_{model.name}")
        number("strength", strength, minimum=0)
        self.model = model
        self._penalised = strength > 0
        self.strength = tf.Variable(strength, dtype=tf.float32, trainable=False)
        self.anchor = [tf.Variable(tf.zeros_like(variable), trainable=False) for variable in model.trainable_variables]
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return self.model(inputs, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if not self._penalised:
            return loss
        pairs = zip(self.model.trainable_variables, self.anchor, strict=True)
        return loss + tf.cast(self.strength, loss.dtype) * tf.add_n(
            [tf.reduce_sum((value - anchor) ** 2) for value, anchor in pairs]
        )


class ParameterAveraging(keras.callbacks.Callback):
    """Averages the weights at the end of each epoch of `fit`, and starts the next epoch from new weights.

    An epoch trains one network on one task. The end of an epoch sets the weights, the optimizer and, with
    `move_anchor`, the penalty's anchor for the next epoch, so a checkpoint saved there resumes exactly.

    Args:
        anchored: The model in training, compiled, with a built optimizer.
        initial_weights: Function from a network's number to initial values of the trainable variables.
        move_anchor: Whether to penalise the distance to the mean of the earlier networks instead of zero. The first
            network then has no penalty.
        error: Function from a network's number to an error of the network that has just been trained. The epoch's
            logs hold it as "network_error".

    Attributes:
        state: The mean, the number of networks in it and the penalty, for checkpoints.

    Raises:
        ValueError: If the optimizer is not built.

    Source: Finn, Abbeel and Levine (2017), Appendix C.1.
    """

    def __init__(
        self,
        anchored: AnchoredRegression,
        initial_weights: Callable[[int], Sequence[tf.Tensor]],
        *,
        move_anchor: bool = False,
        error: Callable[[int], float] | None = None,
    ):
        super().__init__()
        optimizer = anchored.optimizer
        if not optimizer.built:
            raise ValueError(f"Expected a built optimizer. Received: {optimizer.name!r} with built=False")
        self.anchored = anchored
        self.initial_weights = initial_weights
        self.move_anchor = move_anchor
        self.error = error
        self.state = tf.Module()
        self.state.count = tf.Variable(0, dtype=tf.int64)
        self.state.mean = [tf.Variable(tf.zeros_like(variable), trainable=False) for variable in self._variables]
        # A copy, because checkpoints do not track a list that a Keras model owns.
        self.state.anchor = list(anchored.anchor)
        self.state.strength = anchored.strength
        self._strength = float(anchored.strength)
        # Not every optimizer starts from zeros: Adagrad's accumulators do not.
        self._optimizer_start = [
            (variable, variable.numpy()) for variable in optimizer.variables if variable is not optimizer.learning_rate
        ]
        if move_anchor:
            anchored.strength.assign(0.0)

    @property
    def _variables(self):
        return self.anchored.model.trainable_variables

    def start(self) -> None:
        """Sets the next network's initial weights; a resumed training restores its checkpoint afterwards."""
        values = self.initial_weights(int(self.state.count))
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)
        for variable, value in self._optimizer_start:
            variable.assign(value)

    def apply(self) -> None:
        """Sets the model's weights to the mean of the networks trained so far.

        Raises:
            ValueError: If no network has been trained.
        """
        if int(self.state.count) < 1:
            raise ValueError("Expected at least one trained network to average. Received: none")
        for variable, mean in zip(self._variables, self.state.mean, strict=True):
            variable.assign(mean)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.error is not None and logs is not None:
            logs["network_error"] = self.error(int(self.state.count))
        count = self.state.count.assign_add(1)
        for mean, variable in zip(self.state.mean, self._variables, strict=True):
            mean.assign_add((tf.convert_to_tensor(variable) - mean) / tf.cast(count, mean.dtype))
        if self.move_anchor:
            self.anchored.strength.assign(self._strength)
            for anchor, mean in zip(self.anchored.anchor, self.state.mean, strict=True):
                anchor.assign(mean)
        self.start()
