"""Normalization layers whose second derivatives are exact, and their block with ReLU and pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from maml_tf.checks import choice, flag, number, whole_number
from maml_tf.layers import closed_form

_STATISTICS = ("training", "always")
# What NormalizedReLU sets itself.
_SETTLED = ("axis", "momentum", "scale", "batch_statistics")


@keras.saving.register_keras_serializable(package="maml_tf")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` whose second derivative is exact.

    Values and first derivatives are Keras' own. Keras' layer computes its variance with the gradient stopped
    at the mean, so that exact meta-gradients through it are silently wrong by several percent.

    Args:
        axis: The features' axis.
        momentum: Momentum of the moving averages, between 0 and 1.
        epsilon: Added to the variance; positive.
        center: Whether to add a learned offset beta.
        scale: Whether to multiply by a learned gamma.
        batch_statistics: When to normalise by the current batch. "training": in training; inference uses moving
            averages, which are non-trainable weights, as in Keras. "always": in inference too, without moving
            averages, as in the paper's code. Few-shot evaluation is then transductive: the prediction for a query
            depends on the other queries.
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

    # For a Keras layer whose class `maml_tf.exact` has changed to this one.
    batch_statistics = "training"

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
                    f"Expected no {unsupported}: it has no exact second derivative. "
                    f"Received: {unsupported}={kwargs[unsupported]!r}"
                )
        super().__init__(
            whole_number("axis", axis),
            number("momentum", momentum, minimum=0, maximum=1),
            *_epsilon_center_scale(epsilon, center, scale),
            **kwargs,
        )
        self.batch_statistics = choice("batch_statistics", batch_statistics, _STATISTICS)

    @classmethod
    def transductive(cls, **kwargs: Any) -> BatchNormalization:
        """Makes the layer of the paper's classification networks.

        Args:
            **kwargs: Arguments of the constructor, which take precedence.

        Returns:
            A layer without gamma, with epsilon 1e-3, that always uses the current batch's statistics.

        Source: The paper's released code.
        """
        return cls(**{"scale": False, "epsilon": 1e-3, "batch_statistics": "always", **kwargs})

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        rank, channels = self._rank_and_channels(input_shape)
        if self.batch_statistics == "training":
            super().build(input_shape)
            return
        # Keras' build without the moving averages.
        self.input_spec = keras.layers.InputSpec(ndim=rank, axes={self.axis: channels})
        self._add_gamma_and_beta((channels,))

    def _rank_and_channels(self, input_shape: tuple[int | None, ...]) -> tuple[int, int]:
        rank = len(input_shape)
        if not -rank <= self.axis < rank:
            raise ValueError(f"Expected axis to exist in inputs of shape {input_shape}. Received: axis={self.axis}")
        channels = input_shape[self.axis]
        if channels is None:
            raise ValueError(f"Expected axis {self.axis} to have a known length. Received: input shape {input_shape}")
        return rank, channels

    def _add_gamma_and_beta(self, shape: tuple[int, ...]) -> None:
        for name, wanted in (("gamma", self.scale), ("beta", self.center)):
            if wanted:
                weight = self.add_weight(
                    name=name,
                    shape=shape,
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
            mask: Boolean tensor of the inputs' shape without its last axis; false for positions that do not count.

        Returns:
            A tensor of the inputs' shape and the layer's compute dtype.

        Raises:
            ValueError: If the mask's rank is wrong.
        """
        if mask is not None and len(mask.shape) != len(inputs.shape) - 1:
            raise ValueError(
                "Expected a mask of the inputs' shape without the last axis. "
                f"Received: mask of shape {mask.shape}, inputs of shape {inputs.shape}"
            )
        x = _statistics_input(inputs)
        if self.batch_statistics == "always" or (training and self.trainable):
            outputs = self._by_batch(x, mask)
        else:
            centered = x - _shaped(self._now(self.moving_mean), x, self._channels(x))
            variance = _shaped(self._now(self.moving_variance), x, self._channels(x))
            outputs = _standardize(centered, variance, self.epsilon, *self._gamma_and_beta(x))
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
            batch = _moments(x, axes) if mask is None else _masked_moments(x, axes, mask)
        if keeps_averages:
            self._update(self.moving_mean, batch.mean)
            self._update(self.moving_variance, batch.variance)
        gamma, beta = self._gamma_and_beta(x)
        if not large:
            return _standardize(batch.centered, batch.variance, self.epsilon, gamma, beta)
        zeros = tf.zeros([x.shape[3]], x.dtype)
        if gamma is None:
            return closed_form.normalize(x, zeros if beta is None else beta, self.epsilon)
        outputs = closed_form.normalize(x, zeros, self.epsilon) * gamma
        return outputs if beta is None else outputs + beta

    def _update(self, average: keras.Variable, current: tf.Tensor) -> None:
        current = tf.reshape(current, [-1])
        average.assign(tf.cast(average, current.dtype) * self.momentum + current * (1.0 - self.momentum))

    def _now(self, variable: keras.Variable) -> Any:
        """Returns the vector over the channels that this call uses."""
        return variable

    def _gamma_and_beta(self, x: tf.Tensor) -> tuple[tf.Tensor | None, tf.Tensor | None]:
        shape = self._channels(x)
        return (
            _shaped(self._now(self.gamma), x, shape) if self.scale else None,
            _shaped(self._now(self.beta), x, shape) if self.center else None,
        )

    def _channels(self, x: tf.Tensor) -> list[int]:
        """Returns the shape of a vector over the channels that broadcasts to `x`."""
        return [-1] + [1] * (len(x.shape) - 1 - self.axis % len(x.shape))


@keras.saving.register_keras_serializable(package="maml_tf")
class PerStepBatchNormalization(BatchNormalization):
    """Batch normalization with a scale, an offset and moving averages for each number of inner steps taken.

    `y_k = gamma_k * (x - mean_k) / sqrt(var_k + epsilon) + beta_k`, where k is the number of inner steps that the
    weights have taken. A learner keeps k in the variable `inner_step` while it adapts, and sets it in the model that
    `MetaLearner.adapt` returns; otherwise it is 0.

    Args:
        steps: Number of inner steps with their own values; later steps use the values after the last of these.
        **kwargs: `BatchNormalization`'s arguments. With batch_statistics="always" there are no moving averages.

    Raises:
        ValueError: If an argument is out of range.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.layers import PerStepBatchNormalization
    >>> layer = PerStepBatchNormalization(steps=5, batch_statistics="always", name="norm")
    >>> layer(tf.constant([[1.0], [3.0]])).numpy().round(2).tolist()
    [[-1.0], [1.0]]
    >>> [(weight.name, tuple(weight.shape)) for weight in layer.weights]
    [('gamma', (6, 1)), ('beta', (6, 1)), ('inner_step', ())]

    Source: Antoniou, Edwards and Storkey, How to train your MAML, 2019, Section 4, "per-step batch normalization".
    """

    def __init__(self, steps: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.steps = whole_number("steps", steps, minimum=1)

    @classmethod
    def transductive(cls, **kwargs: Any) -> PerStepBatchNormalization:
        """Makes the layer of the paper's classification networks, but with a learned gamma for each step."""
        return cls(**{"epsilon": 1e-3, "batch_statistics": "always", **kwargs})

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        rank, channels = self._rank_and_channels(input_shape)
        self.input_spec = keras.layers.InputSpec(ndim=rank, axes={self.axis: channels})
        shape = (self.steps + 1, channels)
        self._add_gamma_and_beta(shape)
        if self.batch_statistics == "training":
            for name in ("moving_mean", "moving_variance"):
                initializer = getattr(self, f"{name}_initializer")
                options = {"initializer": initializer, "trainable": False, "autocast": False}
                setattr(self, name, self.add_weight(name=name, shape=shape, **options))
        # Not int32, which XLA on a GPU cannot reach.
        self.inner_step = self.add_weight(
            name="inner_step", shape=(), dtype="int64", initializer="zeros", trainable=False, autocast=False
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "steps": self.steps}

    def _now(self, variable: keras.Variable) -> tf.Tensor:
        return tf.gather(tf.convert_to_tensor(variable), self._row())

    def _update(self, average: keras.Variable, current: tf.Tensor) -> None:
        current = tf.reshape(current, [-1])
        before = tf.cast(average, current.dtype)
        after = before * self.momentum + current * (1.0 - self.momentum)
        row = tf.range(self.steps + 1, dtype=tf.int64) == self._row()
        average.assign(tf.where(row[:, tf.newaxis], after, before))

    def _row(self) -> tf.Tensor:
        return tf.minimum(tf.convert_to_tensor(self.inner_step), self.steps)


@keras.saving.register_keras_serializable(package="maml_tf")
class LayerNormalization(keras.layers.LayerNormalization):
    """`keras.layers.LayerNormalization` whose second derivative is exact.

    Values and first derivatives are Keras' own; see `maml_tf.layers.BatchNormalization` for what differs.

    Args:
        axis: The axis or axes to normalise over.
        epsilon: Added to the variance; positive.
        center: Whether to add a learned offset beta.
        scale: Whether to multiply by a learned gamma.
        **kwargs: Keras' other arguments (initializers, regularizers, constraints, name, dtype).

    Raises:
        ValueError: If `axis` is not an integer or a list of distinct integers, epsilon is not positive, or
            `rms_scaling` is set.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.layers import LayerNormalization
    >>> LayerNormalization()(tf.constant([[1.0, 3.0]])).numpy().round(2).tolist()
    [[-1.0, 1.0]]

    Source: Ba, Kiros and Hinton, Layer Normalization, 2016, equation 4.
    """

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        **kwargs: Any,
    ):
        if kwargs.get("rms_scaling"):
            raise ValueError("Expected no rms_scaling: use keras.layers.RMSNormalization. Received: rms_scaling=True")
        axes = [whole_number("axis", each) for each in (axis if isinstance(axis, (list, tuple)) else [axis])]
        axis = axes if isinstance(axis, (list, tuple)) else axes[0]
        super().__init__(axis, *_epsilon_center_scale(epsilon, center, scale), **kwargs)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        rank = len(input_shape)
        axes = [self.axis] if isinstance(self.axis, int) else list(self.axis)
        if (
            not axes
            or any(not -rank <= axis < rank for axis in axes)
            or len({axis % rank for axis in axes}) < len(axes)
        ):
            raise ValueError(
                f"Expected axis to name distinct axes of inputs of shape {input_shape}. Received: axis={self.axis}"
            )
        if any(input_shape[axis] is None for axis in axes):
            raise ValueError(f"Expected axes {axes} to have known lengths. Received: input shape {input_shape}")
        if min(axes) < 0 <= max(axes):
            # Keras sorts the numbers as they are: with mixed signs gamma's axes would be out of order.
            self.axis = [axis % rank for axis in axes]
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalises a tensor of any rank of at least 2."""
        x = _statistics_input(inputs)
        rank = len(x.shape)
        axes = [axis % rank for axis in self.axis]
        shape = [x.shape[axis] if axis in axes else 1 for axis in range(rank)]
        _, centered, variance = _moments(x, axes)
        outputs = _standardize(centered, variance, self.epsilon, *_gamma_and_beta(self, x, shape))
        return tf.cast(outputs, self.compute_dtype)


@keras.saving.register_keras_serializable(package="maml_tf")
class GroupNormalization(keras.layers.GroupNormalization):
    """`keras.layers.GroupNormalization` whose second derivative is exact.

    Values and first derivatives are Keras' own; see `maml_tf.layers.BatchNormalization` for what differs.

    Args:
        groups: Number of groups the channels are divided into; -1 for one for each channel (instance normalization).
        axis: The channels' axis; not the first.
        epsilon: Added to the variance; positive.
        center: Whether to add a learned offset beta.
        scale: Whether to multiply by a learned gamma.
        **kwargs: Keras' other arguments (initializers, regularizers, constraints, name, dtype).

    Raises:
        ValueError: If `groups` is not a positive number or -1, or epsilon is not positive.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.layers import GroupNormalization
    >>> GroupNormalization(groups=2)(tf.constant([[1.0, 3.0, 10.0, 20.0]])).numpy().round(2).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]

    Source: Wu and He, Group Normalization, 2018, section 3.1.
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        **kwargs: Any,
    ):
        groups = whole_number("groups", groups, minimum=-1)
        if groups == 0:
            raise ValueError("Expected groups to be positive or -1. Received: groups=0")
        axis = whole_number("axis", axis)
        super().__init__(groups, axis, *_epsilon_center_scale(epsilon, center, scale), **kwargs)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        rank = len(input_shape)
        if not -rank <= self.axis < rank or self.axis % rank == 0:
            raise ValueError(
                f"Expected axis to exist in inputs of shape {input_shape} and not be the first. "
                f"Received: axis={self.axis}"
            )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalises a tensor of any rank of at least 2."""
        x = _statistics_input(inputs)
        rank = len(x.shape)
        axis = self.axis % rank
        group_shape = [self.groups, x.shape[axis] // self.groups]
        sizes = tf.shape(x)
        grouped = tf.reshape(x, tf.concat([sizes[:axis], group_shape, sizes[axis + 1 :]], 0))
        # All axes but those of the batch and of the groups, which is at the place of the channels' axis.
        _, centered, variance = _moments(grouped, [other for other in range(1, rank + 1) if other != axis])
        gamma_and_beta = _gamma_and_beta(self, x, group_shape + [1] * (rank - 1 - axis))
        outputs = _standardize(centered, variance, self.epsilon, *gamma_and_beta)
        return tf.cast(tf.reshape(outputs, sizes), self.compute_dtype)


@keras.saving.register_keras_serializable(package="maml_tf")
class NormalizedReLU(BatchNormalization):
    """Batch normalization by the current batch's statistics, ReLU and 2x2 maximum pooling, in one layer.

    The same function as `BatchNormalization.transductive()`, `ReLU()` and `MaxPooling2D(2)` one after the other, with
    exact first and second derivatives, in a fraction of the passes over memory:
    `y = max_window relu((x - mean(x)) / sqrt(var(x) + epsilon) + beta)`.

    A call inside a `tf.function` must be differentiated twice inside the same function: from outside, TensorFlow cannot
    differentiate a custom gradient twice, and reports that a tensor is out of scope.

    Args:
        pool: Whether to take the maximum of each 2x2 window of a feature map.
        epsilon: Added to the variance; positive.
        **kwargs: `BatchNormalization`'s other arguments (center, initializers, name, dtype).

    Raises:
        ValueError: If an argument is out of range.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.layers import NormalizedReLU
    >>> layer = NormalizedReLU(pool=True, name="norm")
    >>> round(float(tf.squeeze(layer(tf.reshape([1.0, 1.0, 1.0, 5.0], [1, 2, 2, 1])))), 2)
    1.73
    >>> [weight.path for weight in layer.weights]
    ['norm/beta']

    Source: Section 5.2 (modules of the classification networks); Ioffe and Szegedy, Batch Normalization, 2015.
    """

    def __init__(self, pool: bool = False, epsilon: float = 1e-3, **kwargs: Any):
        settled = sorted(set(kwargs) & set(_SETTLED))
        if settled:
            raise ValueError(f"Expected arguments other than {_SETTLED}. Received: {settled}")
        super().__init__(epsilon=epsilon, scale=False, batch_statistics="always", **kwargs)
        self.pool = flag("pool", pool)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if self.pool and (len(input_shape) != 4 or any(size is not None and size < 2 for size in input_shape[1:3])):
            raise ValueError(
                "Expected feature maps [images, height, width, channels] of at least 2 x 2 to pool. "
                f"Received: input shape {input_shape}"
            )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Normalises, applies ReLU and pools.

        Args:
            inputs: Tensor of any rank of at least 2; [images, height, width, channels] to pool.
            training: Has no effect: inference uses the batch's statistics too.
            mask: Not supported.

        Returns:
            A tensor of the inputs' shape, height and width halved by pooling, in the layer's compute dtype.

        Raises:
            ValueError: If there is a mask.
        """
        if mask is not None:
            raise ValueError(f"Expected no mask: use BatchNormalization and ReLU. Received: mask={mask!r}")
        x = _statistics_input(inputs)
        beta = tf.cast(self.beta, x.dtype) if self.center else tf.zeros([x.shape[-1]], x.dtype)
        if closed_form.suits(x, len(x.shape) - 1):
            outputs = closed_form.normalize(x, beta, self.epsilon, relu=True, pool=self.pool)
        else:
            batch = _moments(x, list(range(len(x.shape) - 1)))
            outputs = tf.nn.relu(_standardize(batch.centered, batch.variance, self.epsilon, None, beta))
            outputs = tf.nn.max_pool2d(outputs, 2, 2, "VALID") if self.pool else outputs
        return tf.cast(outputs, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        if not self.pool:
            return tuple(input_shape)
        images, *sizes, channels = input_shape
        return (images, *(None if size is None else size // 2 for size in sizes), channels)

    def get_config(self) -> dict[str, Any]:
        config = {key: value for key, value in super().get_config().items() if key not in _SETTLED}
        return {**config, "pool": self.pool}


class _Moments(NamedTuple):
    """Statistics over some axes, which keep length 1; `centered`, the input minus its mean, has the input's shape."""

    mean: tf.Tensor
    centered: tf.Tensor
    variance: tf.Tensor


def _moments(x: tf.Tensor, axes: Sequence[int]) -> _Moments:
    """Mean and variance in two passes, `mean((x - mean(x))**2)`.

    `tf.nn.moments` computes the same numbers but stops the gradient at the mean inside the variance. That
    drops a term which is zero in the first derivative, since the centred values sum to zero, and is not zero
    in the second.
    """
    mean = tf.reduce_mean(x, axes, keepdims=True)
    centered = x - mean
    return _Moments(mean, centered, tf.reduce_mean(tf.square(centered), axes, keepdims=True))


def _masked_moments(x: tf.Tensor, axes: Sequence[int], mask: tf.Tensor) -> _Moments:
    """Mean and variance over the positions where `mask`, of `x`'s shape without its last axis, is true; as in Keras."""
    keep = tf.broadcast_to(tf.cast(mask, tf.bool)[..., tf.newaxis], tf.shape(x))
    # Keras' own guard against an empty mask, so that the values agree with Keras' layer.
    count = tf.reduce_sum(tf.cast(keep, x.dtype), axes, keepdims=True) + keras.config.epsilon()
    zeros = tf.zeros_like(x)
    mean = tf.reduce_sum(tf.where(keep, x, zeros), axes, keepdims=True) / count
    centered = x - mean
    return _Moments(
        mean, centered, tf.reduce_sum(tf.square(tf.where(keep, centered, zeros)), axes, keepdims=True) / count
    )


def _standardize(
    centered: tf.Tensor, variance: tf.Tensor, epsilon: float, gamma: tf.Tensor | None, beta: tf.Tensor | None
) -> tf.Tensor:
    """`gamma * centered / sqrt(variance + epsilon) + beta`, without gamma and beta where they are None."""
    # Gamma is multiplied with the small factor, so that the large tensor is multiplied only once.
    factor = tf.math.rsqrt(variance + epsilon)
    if gamma is not None:
        factor *= gamma
    outputs = centered * factor
    return outputs if beta is None else outputs + beta


def _gamma_and_beta(layer: Any, x: tf.Tensor, shape: Sequence[int]) -> tuple[tf.Tensor | None, tf.Tensor | None]:
    """Returns a layer's scale and offset in the dtype of `x` and a shape that broadcasts to it; None where unused."""
    return (
        _shaped(layer.gamma, x, shape) if layer.scale else None,
        _shaped(layer.beta, x, shape) if layer.center else None,
    )


def _shaped(variable: keras.Variable, x: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    return tf.reshape(tf.cast(tf.convert_to_tensor(variable), x.dtype), shape)


def _epsilon_center_scale(epsilon: Any, center: Any, scale: Any) -> tuple[float, bool, bool]:
    """Checks arguments of all layers; epsilon is positive because `rsqrt` has no finite derivative at variance 0."""
    return number("epsilon", epsilon, positive=True), flag("center", center), flag("scale", scale)


def _statistics_input(inputs: tf.Tensor) -> tf.Tensor:
    """Casts half precision to float32, in which sums over a batch neither overflow nor lose their low bits."""
    inputs = tf.convert_to_tensor(inputs)
    return tf.cast(inputs, keras.backend.result_type(inputs.dtype.name, "float32"))
