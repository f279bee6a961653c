"""Batch normalization, exact to second order, with the statistics the paper's code uses."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from maml_tf.layers.normalization import closed_form
from maml_tf.layers.normalization.moments import (
    masked_moments,
    moments,
    require_positive_epsilon,
    standardize,
    statistics_input,
)

_STATISTICS = ("training", "always")


@keras.saving.register_keras_serializable(package="maml_tf")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` whose second derivative is exact.

    Values and first derivatives are Keras' own. Keras' layer computes its variance with the gradient stopped
    at the mean, so that exact meta-gradients through it are silently wrong by several percent.

    Args:
        axis: The features' axis.
        momentum: Of the moving averages, between 0 and 1.
        epsilon: Added to the variance; positive.
        center: Whether to add a learned offset beta.
        scale: Whether to multiply by a learned gamma.
        batch_statistics: When to normalise by the current batch. "training": in training; in inference by the
            moving averages, which are non-trainable weights (as Keras). "always": in inference too, and no
            moving averages exist. This is what the paper's code does. It makes few-shot evaluation
            transductive: the prediction for a query depends on the other queries.
        **kwargs: Keras' other arguments (initializers, regularizers, constraints, name, dtype).

    Raises:
        ValueError: If an argument is out of range, or `synchronized` or `renorm` is set: neither has a second
            derivative.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.layers import BatchNormalization
    >>> layer = BatchNormalization.transductive(name="norm")
    >>> layer(tf.constant([[1.0], [3.0]]), training=False).numpy().round(2).tolist()
    [[-1.0], [1.0]]
    >>> [weight.name for weight in layer.weights]
    ['beta']

    Source: Ioffe and Szegedy, Batch Normalization, 2015, Algorithm 1.
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        *,
        batch_statistics: str = "training",
        **kwargs: Any,
    ):
        for unsupported in ("synchronized", "renorm"):
            if kwargs.get(unsupported):
                raise ValueError(
                    f"{unsupported} is not supported: it has no exact second derivative. "
                    f"Received: {unsupported}={kwargs[unsupported]!r}"
                )
        if batch_statistics not in _STATISTICS:
            raise ValueError(f"batch_statistics must be one of {_STATISTICS}. Received: {batch_statistics!r}")
        if isinstance(axis, bool) or not isinstance(axis, int):
            raise ValueError(f"axis must be an integer. Received: axis={axis!r}")
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must lie between 0 and 1. Received: momentum={momentum!r}")
        require_positive_epsilon(epsilon)
        super().__init__(axis, momentum, epsilon, center, scale, **kwargs)
        self.batch_statistics = batch_statistics

    @classmethod
    def transductive(cls, **kwargs: Any) -> BatchNormalization:
        """The layer as in the paper's classification networks.

        Args:
            **kwargs: Arguments of the constructor, which take precedence.

        Returns:
            A layer without gamma, with epsilon 1e-3 and the current batch's statistics always.

        Source: The paper's released code.
        """
        return cls(**{"scale": False, "epsilon": 1e-3, "batch_statistics": "always", **kwargs})

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        rank = len(input_shape)
        if not -rank <= self.axis < rank:
            raise ValueError(f"axis must exist in inputs of shape {input_shape}. Received: axis={self.axis}")
        channels = input_shape[self.axis]
        if channels is None:
            raise ValueError(f"Axis {self.axis} must have a known length. Received: input shape {input_shape}")
        if self.batch_statistics == "training":
            super().build(input_shape)
            return
        # Keras' build, less the moving averages.
        self.input_spec = keras.layers.InputSpec(ndim=rank, axes={self.axis: channels})
        for name, wanted in (("gamma", self.scale), ("beta", self.center)):
            if wanted:
                weight = self.add_weight(
                    name=name,
                    shape=(channels,),
                    initializer=getattr(self, f"{name}_initializer"),
                    regularizer=getattr(self, f"{name}_regularizer"),
                    constraint=getattr(self, f"{name}_constraint"),
                    autocast=False,
                )
                setattr(self, name, weight)

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Normalises.

        Args:
            inputs: Tensor of any rank of at least 2.
            training: Whether to use the current batch's statistics and update the moving averages.
            mask: Boolean tensor of the inputs' shape without its last axis; false where a position does not
                count.

        Returns:
            A tensor of the inputs' shape and the layer's compute dtype.

        Raises:
            ValueError: If the mask's rank does not fit.
        """
        if mask is not None and len(mask.shape) != len(inputs.shape) - 1:
            raise ValueError(
                "The mask must have the inputs' shape without the last axis. "
                f"Received: mask of shape {mask.shape}, inputs of shape {inputs.shape}"
            )
        x = statistics_input(inputs)
        if self.batch_statistics == "always" or (training and self.trainable):
            outputs = self._by_batch(x, mask)
        else:
            centered = x - self._broadcast(self.moving_mean, x)
            variance = self._broadcast(self.moving_variance, x)
            outputs = standardize(centered, variance, self.epsilon, *self._gamma_and_beta(x))
        return tf.cast(outputs, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "batch_statistics": self.batch_statistics}

    def _by_batch(self, x: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        rank = len(x.shape)
        axis = self.axis % rank
        axes = [other for other in range(rank) if other != axis]
        large = mask is None and closed_form.suits(x, axis) and closed_form.is_large(x)
        keeps_averages = self.batch_statistics == "training"
        if keeps_averages or not large:
            batch = moments(x, axes) if mask is None else masked_moments(x, axes, mask)
        if keeps_averages:
            self._update(self.moving_mean, batch.mean)
            self._update(self.moving_variance, batch.variance)
        gamma, beta = self._gamma_and_beta(x)
        if not large:
            return standardize(batch.centered, batch.variance, self.epsilon, gamma, beta)
        zeros = tf.zeros([x.shape[3]], x.dtype)
        if gamma is None:
            return closed_form.normalize(x, zeros if beta is None else beta, self.epsilon)
        outputs = closed_form.normalize(x, zeros, self.epsilon) * gamma
        return outputs if beta is None else outputs + beta

    def _update(self, average: keras.Variable, current: tf.Tensor) -> None:
        current = tf.reshape(current, [-1])
        average.assign(tf.cast(average, current.dtype) * self.momentum + current * (1.0 - self.momentum))

    def _gamma_and_beta(self, x: tf.Tensor) -> tuple[tf.Tensor | None, tf.Tensor | None]:
        return (
            self._broadcast(self.gamma, x) if self.scale else None,
            self._broadcast(self.beta, x) if self.center else None,
        )

    def _broadcast(self, variable: keras.Variable, x: tf.Tensor) -> tf.Tensor:
        """Brings a vector over the channels to the dtype of `x` and a shape that broadcasts to it."""
        value = tf.cast(tf.convert_to_tensor(variable), x.dtype)
        following = len(x.shape) - 1 - self.axis % len(x.shape)
        return tf.reshape(value, [-1] + [1] * following) if following else value
