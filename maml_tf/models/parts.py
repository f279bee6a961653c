"""Argument checks, and layers after a linear layer, which the model builders share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from maml_tf.checks import number, whole_number
from maml_tf.layers import BatchNormalization, LayerNormalization, PerStepBatchNormalization

NORMALIZATIONS = (None, "batch", "layer")
BATCH_STATISTICS = ("training", "always", "support")
Initializer = str | keras.Initializer


def check_sizes(name: str, sizes: Sequence[int], rank: int | None = None) -> tuple[int, ...]:
    """Checks a tuple or list of positive whole numbers; `rank` is their number, or None for any number."""
    if not isinstance(sizes, (list, tuple)) or rank not in (None, len(sizes)):
        count = "" if rank is None else f"{rank} "
        raise ValueError(f"Expected {name} to be a tuple of {count}sizes. Received: {name}={sizes!r}")
    return tuple(whole_number(f"{name}[{index}]", size, minimum=1) for index, size in enumerate(sizes))


def check_norm_steps(norm_steps: int | None, normalization: str | None) -> None:
    """Checks the number of inner steps for which batch normalization has its own values."""
    if norm_steps is not None:
        whole_number("norm_steps", norm_steps, minimum=1)
        if normalization != "batch":
            raise ValueError(
                "Expected normalization='batch' with norm_steps. "
                f"Received: normalization={normalization!r}, norm_steps={norm_steps}"
            )


def check_drop_rate(drop_rate: float) -> None:
    """Checks the fraction of numbers to drop in training, from 0 to less than 1."""
    if number("drop_rate", drop_rate, minimum=0, maximum=1) == 1:
        raise ValueError(f"Expected drop_rate to be less than 1. Received: drop_rate={drop_rate}")


def fresh(initializer: Initializer) -> Initializer:
    """Copies an initializer, because a shared one would give all kernels of the same shape the same numbers."""
    return initializer.clone() if isinstance(initializer, keras.Initializer) else initializer


def make_input(input_shape: Sequence[int | None], dtype: keras.DTypePolicy) -> keras.KerasTensor:
    """Makes a model's input in the dtype of the weights; layers cast it to their compute dtype."""
    return keras.Input(tuple(input_shape), dtype=dtype.variable_dtype, name="input")


def normalized_activation(
    x: keras.KerasTensor,
    number: int,
    *,
    activation: str,
    normalization: str | None,
    batch_statistics: str,
    norm_steps: int | None,
    dtype: keras.DTypePolicy,
) -> keras.KerasTensor:
    """Applies the normalization, if any, and the activation.

    Args:
        x: Output of a linear layer or a convolution.
        number: Number of the block, from 1: the layers are called norm1 and activation1.
        activation: Name of the activation, or a callable.
        normalization: None, "batch" (without gamma, as in the paper's code) or "layer" (over all axes but the first).
        batch_statistics: As in `maml_tf.layers.BatchNormalization`, or "support": in inference, the statistics of the
            last batch in training, which in adaptation is the support set.
        norm_steps: `steps` of `maml_tf.layers.PerStepBatchNormalization`; None uses one batch normalization for all
            steps.
        dtype: Policy of the layers.
    """
    if normalization == "batch":
        x = batch_normalization(batch_statistics, norm_steps, dtype=dtype, name=f"norm{number}")(x)
    elif normalization == "layer":
        x = LayerNormalization(axis=list(range(1, len(x.shape))), dtype=dtype, name=f"norm{number}")(x)
    return keras.layers.Activation(activation, dtype=dtype, name=f"activation{number}")(x)


def residual_convolution(
    x: keras.KerasTensor, size: int, filters: int, policy: keras.DTypePolicy, name: str, strides: int = 1
) -> keras.KerasTensor:
    """Applies a convolution as residual networks have it: without bias, its kernel drawn by He's initializer."""
    initializer = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    return keras.layers.Conv2D(
        filters,
        size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer=initializer,
        dtype=policy,
        name=name,
    )(x)


def batch_normalization(batch_statistics: str, norm_steps: int | None, **options: Any) -> BatchNormalization:
    """Makes a layer of batch normalization.

    Args:
        batch_statistics: See `normalized_activation`.
        norm_steps: See `normalized_activation`.
        **options: Arguments of the layer, which by default has a gamma only if it has values for each step.
    """
    # With momentum 0, moving averages are the statistics of the last batch.
    if batch_statistics == "support":
        options = {"batch_statistics": "training", "momentum": 0.0, **options}
    else:
        options = {"batch_statistics": batch_statistics, **options}
    if norm_steps is None:
        return BatchNormalization.transductive(**options)
    return PerStepBatchNormalization.transductive(steps=norm_steps, **options)


def make_head(
    x: keras.KerasTensor,
    outputs: int,
    initializer: Initializer,
    dtype: keras.DTypePolicy,
    activation: str | None = None,
) -> keras.KerasTensor:
    """Applies the output layer, called "head", in the dtype of the weights, so that logits keep their precision."""
    head = keras.layers.Dense(
        outputs,
        activation=activation,
        kernel_initializer=initializer,
        dtype=dtype.variable_dtype,
        name="head",
    )
    return head(x)
