"""What the model builders share: argument checks and the block after a linear layer."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from maml_tf.layers import BatchNormalization, LayerNormalization

NORMALIZATIONS = (None, "batch", "layer")
BATCH_STATISTICS = ("training", "always", "support")
Initializer = str | keras.Initializer


def check_counts(**counts: int | Sequence[int]) -> None:
    """Checks that each argument is a positive integer or a sequence of them.

    Args:
        **counts: The arguments, by name.

    Raises:
        ValueError: If one is not.
    """
    for name, value in counts.items():
        numbers = list(value) if isinstance(value, (list, tuple)) else [value]
        if not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in numbers):
            raise ValueError(f"{name} must hold positive integers only. Received: {name}={value!r}")


def check_sizes(**sizes: Sequence[int]) -> None:
    """Checks that each argument is a sequence of positive integers.

    Args:
        **sizes: The arguments, by name.

    Raises:
        ValueError: If one is not.
    """
    for name, value in sizes.items():
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"Expected {name} to be a tuple of layer sizes. Received: {name}={value!r}")
    check_counts(**sizes)


def check_choice(name: str, value: str | None, choices: Sequence[str | None]) -> None:
    """Checks that a value is one of the choices.

    Args:
        name: Name of the argument.
        value: Its value.
        choices: What it may be.

    Raises:
        ValueError: If it is none of them.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {tuple(choices)}. Received: {name}={value!r}")


def check_input_shape(input_shape: Sequence[int | None], rank: int | None = None) -> tuple[int | None, ...]:
    """Checks a shape without the batch axis.

    Args:
        input_shape: The shape.
        rank: Its number of axes, or None for any.

    Returns:
        The shape, a tuple.

    Raises:
        ValueError: If it is not a sequence of that many lengths.
    """
    if not isinstance(input_shape, (list, tuple)) or (rank is not None and len(input_shape) != rank):
        lengths = "any" if rank is None else rank
        raise ValueError(
            f"input_shape must be a tuple of {lengths} lengths, without the batch axis. "
            f"Received: input_shape={input_shape!r}"
        )
    return tuple(input_shape)


def fresh(initializer: Initializer) -> Initializer:
    """Copies an initializer: one object would give all kernels of a shape the same numbers.

    Args:
        initializer: A Keras initializer or its name.

    Returns:
        One that no other layer has.
    """
    return initializer.clone() if isinstance(initializer, keras.Initializer) else initializer


def make_input(input_shape: Sequence[int | None], dtype: keras.DTypePolicy) -> keras.KerasTensor:
    """Makes a model's input in the dtype of the weights: layers cast it to their compute dtype themselves.

    Args:
        input_shape: Shape of an example.
        dtype: Policy of the layers.

    Returns:
        A symbolic tensor.
    """
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
        batch_statistics: Of `maml_tf.layers.BatchNormalization`, or "support": in inference, the statistics of the
            last batch in training, which in adaptation is the support set.
        dtype: Policy of the layers.

    Returns:
        A tensor of `x`'s shape.
    """
    if normalization == "batch":
        # Moving averages without momentum are the last batch's.
        options = {"batch_statistics": batch_statistics}
        if batch_statistics == "support":
            options = {"batch_statistics": "training", "momentum": 0.0}
        x = BatchNormalization.transductive(dtype=dtype, name=f"norm{number}", **options)(x)
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
    """Applies the output layer, called head, in the dtype of the weights: logits keep their precision.

    Args:
        x: Features, [batch, features].
        outputs: Number of outputs.
        initializer: Of the kernel.
        dtype: Policy of the layers.
        activation: Of the outputs, or None.

    Returns:
        A symbolic tensor [batch, outputs].
    """
    head = keras.layers.Dense(
        outputs,
        activation=activation,
        kernel_initializer=initializer,
        dtype=dtype.variable_dtype,
        name="head",
    )
    return head(x)
