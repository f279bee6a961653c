"""Rebuilds a layer in float64, in which central differences are accurate enough to check a second derivative."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from maml_tf.core.clone import default_policy, remade
from maml_tf.core.conversions import conversions, convert
from maml_tf.core.keras_interface import layers_of, quiet_config


def as_float64(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any | None:
    """Rebuilds a layer in float64, with the layers inside it and the values of its variables.

    Args:
        layer: A built layer, or an operation of a functional graph.
        args: Positional arguments of a call to the layer, with which the new layer is built.
        kwargs: Keyword arguments of that call.

    Returns:
        The float64 layer, or None if a part of it cannot be rebuilt in float64. An operation is returned unchanged,
        because it computes in its inputs' dtype.

    Example:
    >>> import keras
    >>> from maml_tf.diagnostics.as_float64 import as_float64
    >>> dense = keras.layers.Dense(3)
    >>> inputs = keras.ops.ones((2, 4))
    >>> outputs = dense(inputs)
    >>> as_float64(dense, [inputs], {}).kernel.dtype
    'float64'
    """
    if not isinstance(layer, keras.layers.Layer):
        return layer
    try:
        with default_policy("float64"):  # For sub-layers that a constructor makes without a policy.
            twin = remade(layer, _of_float64(quiet_config(layer)))
            twin(*cast_floating(args, "float64"), **cast_floating(kwargs, "float64"))
        convert(twin, conversions(layer))
        for target, source in zip(twin.variables, layer.variables, strict=True):
            target.assign(keras.ops.cast(source, target.dtype))
    except (TypeError, ValueError, NotImplementedError, tf.errors.InvalidArgumentError):
        return None
    return twin if _computes_in_float64(twin) else None


def cast_floating(nest: Any, dtype: str) -> Any:
    """Casts the floating tensors of a nest, and leaves all other values unchanged."""

    def cast(leaf):
        return tf.cast(leaf, dtype) if tf.is_tensor(leaf) and leaf.dtype.is_floating else leaf

    return tf.nest.map_structure(cast, nest)


def _of_float64(config: Any) -> Any:
    """Replaces the floating dtypes in a configuration, including those of nested layers."""
    if isinstance(config, (list, tuple)):
        return type(config)([_of_float64(value) for value in config])
    if not isinstance(config, dict):
        return config
    return {
        key: "float64" if key == "dtype" and _is_floating(value) else _of_float64(value)
        for key, value in config.items()
    }


def _is_floating(dtype: Any) -> bool:
    return keras.backend.is_float_dtype(keras.dtype_policies.get(dtype).compute_dtype)


def _computes_in_float64(layer: keras.layers.Layer) -> bool:
    dtypes = [inner.compute_dtype for inner in layers_of(layer)]
    dtypes += [variable.dtype for variable in layer.variables]
    return all(dtype == "float64" for dtype in dtypes if keras.backend.is_float_dtype(dtype))
