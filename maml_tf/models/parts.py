"""What the model builders share: argument checks and the block after a linear layer."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from maml_tf.layers import BatchNormalization, LayerNormalization

NORMALIZATIONS = (None, "batch", "layer")
BATCH_STATISTICS = ("training", "always")
Initializer = str | keras.Initializer


def check_counts(**counts: int | Sequence[int]) -> None:
    """Raises a ValueError unless each argument is a positive integer or a sequence of them."""
    for name, value in counts.items():
        numbers = list(value) if isinstance(value, (list, tuple)) else [value]
        if not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in numbers):
            raise ValueError(f"{name} must hold positive integers only. Received: {name}={value!r}")


def check_choice(name: str, value: str | None, choices: Sequence[str | None]) -> None:
    """Raises a ValueError unless the value is one of the choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {tuple(choices)}. Received: {name}={value!r}")


def check_input_shape(input_shape: Sequence[int | None], rank: int | None = None) -> tuple[int | None, ...]:
    """Returns a shape without the batch axis as a tuple; raises a ValueError if its rank is not `rank`."""
    if not isinstance(input_shape, (list, tuple)) or (rank is not None and len(input_shape) != rank):
        lengths = "any" if rank is None else rank
        raise ValueError(
            f"input_shape must be a tuple of {lengths} lengths, without the batch axis. "
            f"Received: input_shape={input_shape!r}"
        )
    return tuple(input_shape)


def fresh(initializer: Initializer) -> Initializer:
    """Copies an initializer: one object would give all kernels of a shape the same numbers."""
    return initializer.clone() if isinstance(initializer, keras.Initializer) else initializer


def make_input(input_shape: Sequence[int | None], dtype: keras.DTypePolicy) -> keras.KerasTensor:
    """A model input in the dtype of the weights: the layers cast it to their compute dtype themselves."""
    return keras.Input(tuple(input_shape), dtype=dtype.variable_dtype, name="input")


def normalized_activation(
    x: keras.KerasTensor,
    number: int,
    *,
    activation: str,
    normalization: str | None,
    batch_statistics: str,
    dtype: keras.DTypePolicy,
) -> keras.KerasTensor:
    """Normalization, if wanted, and the activation, named after the block's number.

    Args:
        x: Output of a linear layer or a convolution.
        number: The block's, from 1: the layers are called norm1 and activation1.
        activation: Name of the activation, or a callable.
        normalization: None, "batch" (without gamma, as in the paper's code) or "layer" (over all but the
            batch axis).
        batch_statistics: Of `maml_tf.layers.BatchNormalization`.
        dtype: Policy of the layers.

    Returns:
        A tensor of `x`'s shape.
    """
    if normalization == "batch":
        layer = BatchNormalization.transductive(
            batch_statistics=batch_statistics, dtype=dtype, name=f"norm{number}"
        )
        x = layer(x)
    elif normalization == "layer":
        x = LayerNormalization(axis=list(range(1, len(x.shape))), dtype=dtype, name=f"norm{number}")(x)
    return keras.layers.Activation(activation, dtype=dtype, name=f"activation{number}")(x)


def make_head(
    x: keras.KerasTensor,
    outputs: int,
    initializer: Initializer,
    dtype: keras.DTypePolicy,
    activation: str | None = None,
) -> keras.KerasTensor:
    """The output layer, called head, in the dtype of the weights: logits keep their precision."""
    head = keras.layers.Dense(
        outputs,
        activation=activation,
        kernel_initializer=initializer,
        dtype=dtype.variable_dtype,
        name="head",
    )
    return head(x)
