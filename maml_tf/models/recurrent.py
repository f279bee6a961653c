"""Recurrent networks over sequences."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from maml_tf.checks import whole_number
from maml_tf.models.parts import Initializer, check_sizes, fresh, make_head, make_input


def gru_regressor(
    input_shape: Sequence[int | None],
    units: Sequence[int] = (40,),
    outputs: int = 1,
    *,
    head_initializer: Initializer = "glorot_uniform",
    dtype: str | keras.DTypePolicy | None = None,
    name: str = "gru_regressor",
) -> keras.Model:
    """Builds gated recurrent layers with a linear output layer for a whole sequence.

    Args:
        input_shape: Time steps and features of a sequence; None for sequences of any length.
        units: Units of each recurrent layer.
        outputs: Units of the output layer, which reads the last time step.
        head_initializer: Initializer of the output layer's kernel.
        dtype: Data type or policy of the layers; None for Keras' default policy. Outputs have the weights' data type.
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
    if not isinstance(input_shape, (list, tuple)) or len(input_shape) != 2:
        raise ValueError(f"Expected input_shape to be (time steps, features). Received: input_shape={input_shape!r}")
    time, features = input_shape
    features, outputs = whole_number("features", features, minimum=1), whole_number("outputs", outputs, minimum=1)
    time = None if time is None else whole_number("time", time, minimum=1)
    units = check_sizes("units", units)
    if not units:
        raise ValueError(f"Expected units of at least one recurrent layer. Received: units={units!r}")
    policy = keras.dtype_policies.get(dtype)
    inputs = x = make_input((time, features), policy)
    for number, size in enumerate(units, start=1):
        # cuDNN's recurrent kernels have no second derivative.
        layer = keras.layers.GRU(
            size, return_sequences=number < len(units), use_cudnn=False, dtype=policy, name=f"gru{number}"
        )
        x = layer(x)
    return keras.Model(inputs, make_head(x, outputs, fresh(head_initializer), policy), name=name)
