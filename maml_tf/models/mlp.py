"""Fully connected networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from maml_tf.checks import choice, flag, whole_number
from maml_tf.models.parts import (
    BATCH_STATISTICS,
    NORMALIZATIONS,
    Initializer,
    check_norm_steps,
    check_sizes,
    fresh,
    make_head,
    make_input,
    normalized_activation,
)


def mlp(
    input_shape: Sequence[int] = (1,),
    hidden: Sequence[int] = (40, 40),
    outputs: int = 1,
    *,
    activation: str | Callable[[Any], Any] = "relu",
    kernel_initializer: Initializer = "glorot_uniform",
    head_initializer: Initializer | None = None,
    normalization: str | None = None,
    batch_statistics: str = "always",
    norm_steps: int | None = None,
    use_bias: bool = True,
    output_activation: str | None = None,
    dtype: str | keras.DTypePolicy | None = None,
    name: str = "mlp",
) -> keras.Model:
    """Builds a fully connected network; by default the paper's for sinusoid regression.

    The paper's policies are `mlp((observation_size,), (100, 100), action_size)`. The paper's code initializes the
    kernels of its regression and non-convolutional networks with `TruncatedNormal(stddev=0.01)`; the Glorot default
    learns faster.

    Args:
        input_shape: Shape of one input; more than one axis is flattened.
        hidden: Units of each hidden layer; may be empty.
        outputs: Units of the output layer.
        activation: Activation after each hidden layer.
        kernel_initializer: Initializer of the hidden layers' kernels.
        head_initializer: Initializer of the output layer's kernel; by default `kernel_initializer`.
        normalization: Before each activation: None, "batch" (no gamma) or "layer".
        batch_statistics: "always" or "training", see `maml_tf.layers.BatchNormalization`, or "support", see
            `conv_net`.
        norm_steps: Number of inner steps for which batch normalization has its own scale, offset and averages, see
            `maml_tf.layers.PerStepBatchNormalization`; None uses one batch normalization for all steps.
        use_bias: Whether the hidden layers have biases. Batch normalization cancels a bias, so that with it they only
            cost time.
        output_activation: Activation of the outputs; None for linear outputs.
        dtype: Data type or policy of the layers; None for Keras' default policy. Outputs have the weights' data type.
        name: The model's name.

    Returns:
        A built model from [batch, *input_shape] to [batch, outputs]; layers hidden1, norm1, activation1,
        ..., head.

    Raises:
        ValueError: If an argument is out of range.

    Example:
    >>> from maml_tf.models import mlp
    >>> mlp().count_params()
    1761

    Source: Section 5.1 and Appendix A.1.
    """
    input_shape, hidden = check_sizes("input_shape", input_shape), check_sizes("hidden", hidden)
    outputs, use_bias = whole_number("outputs", outputs, minimum=1), flag("use_bias", use_bias)
    choice("normalization", normalization, NORMALIZATIONS)
    choice("batch_statistics", batch_statistics, BATCH_STATISTICS)
    check_norm_steps(norm_steps, normalization)
    policy = keras.dtype_policies.get(dtype)
    inputs = make_input(input_shape, policy)
    x = inputs if len(input_shape) == 1 else keras.layers.Flatten(dtype=policy, name="flatten")(inputs)
    for number, units in enumerate(hidden, start=1):
        layer = keras.layers.Dense(
            units,
            use_bias=use_bias,
            kernel_initializer=fresh(kernel_initializer),
            dtype=policy,
            name=f"hidden{number}",
        )
        x = normalized_activation(
            layer(x),
            number,
            activation=activation,
            normalization=normalization,
            batch_statistics=batch_statistics,
            norm_steps=norm_steps,
            dtype=policy,
        )
    last = fresh(kernel_initializer if head_initializer is None else head_initializer)
    return keras.Model(inputs, make_head(x, outputs, last, policy, output_activation), name=name)


def omniglot_dense(ways: int = 5, **options: Any) -> keras.Model:
    """Builds the paper's non-convolutional Omniglot network: 256, 128, 64 and 64 units, batch norm and ReLU.

    Args:
        ways: Number of classes.
        **options: Arguments of `mlp`. By default the hidden layers have no biases: those of the authors' code have no
            effect on the outputs, because batch normalization cancels them, and their gradient is exactly zero.

    Returns:
        A built model from [batch, 28, 28, 1] to logits [batch, ways].

    Raises:
        ValueError: If an argument is out of range.

    Example:
    >>> from maml_tf.models import omniglot_dense
    >>> omniglot_dense(ways=20).output_shape
    (None, 20)

    Source: Section 5.2 and Appendix A.1.
    """
    ways = whole_number("ways", ways, minimum=1)
    defaults = {"normalization": "batch", "use_bias": False, "name": "omniglot_dense"}
    shape = {"input_shape": (28, 28, 1), "hidden": (256, 128, 64, 64), "outputs": ways}
    return mlp(**{**shape, **defaults, **options})
