"""Recurrent networks over sequences."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from maml_tf.models.parts import Initializer, check_counts, check_input_shape, check_sizes, fresh, make_head, make_input


def gru_regressor(
    input_shape: Sequence[int | None],
    units: Sequence[int] = (40,),
    outputs: int = 1,
    *,
    head_initializer: Initializer = "glorot_uniform",
    dtype: str | keras.DTypePolicy = "float32",
    name: str = "gru_regressor",
) -> keras.Model:
    """Builds gated recurrent layers with one linear output for a whole sequence.

    Args:
        input_shape: Time steps and features of a sequence; None for sequences of any length.
        units: Of the recurrent layers.
        outputs: Units of the output layer, which reads the last time step.
        head_initializer: Of the output layer's kernel.
        dtype: Data type or policy of the layers. Outputs have the weights' data type.
        name: The model's name.

    Returns:
        A built model from [batch, time, features] to [batch, outputs]; layers gru1, ..., head.

    Raises:
        ValueError: If an argument is out of range.

    Example:
    >>> from maml_tf.models import gru_regressor
    >>> gru_regressor((None, 2), units=(8,)).output_shape
    (None, 1)
    """
    input_shape = check_input_shape(input_shape, rank=2)
    time, features = input_shape
    check_sizes(units=units)
    check_counts(features=features, outputs=outputs)
    if time is not None:
        check_counts(time=time)
    if not units:
        raise ValueError(f"units must name at least one recurrent layer. Received: units={units!r}")
    policy = keras.dtype_policies.get(dtype)
    inputs = x = make_input(input_shape, policy)
    for number, size in enumerate(units, start=1):
        # cuDNN's recurrent kernels have no second derivative.
        layer = keras.layers.GRU(
            size, return_sequences=number < len(units), use_cudnn=False, dtype=policy, name=f"gru{number}"
        )
        x = layer(x)
    return keras.Model(inputs, make_head(x, outputs, fresh(head_initializer), policy), name=name)
