"""The way over tasks, and whether to use XLA, chosen by what was measured (see docs/speed.md)."""

from __future__ import annotations

import keras
import tensorflow as tf

from maml_tf.core.keras_interface import is_layer_graph, layers_of

# Layers of matrix products and element-wise functions: merging tasks and XLA both pay.
_DENSE_LAYERS = (
    keras.layers.InputLayer,
    keras.layers.Dense,
    keras.layers.Activation,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Concatenate,
    keras.layers.Add,
    keras.layers.ReLU,
)


def choose_task_map(model: keras.Model) -> str:
    """Chooses how to go over tasks: merged where that is known to pay and to work, else a task a thread.

    Args:
        model: A built Keras model.

    Returns:
        "vectorized" or "mapped".
    """
    on_gpu = bool(tf.config.list_logical_devices("GPU"))
    # tf.vectorized_map cannot merge the second derivative of a loop, as recurrent layers have, and `call`s may.
    recurrent = any(isinstance(layer, keras.layers.RNN) for layer in layers_of(model))
    mergeable = is_layer_graph(model) and not recurrent
    return "vectorized" if _is_dense(model) or (on_gpu and mergeable) else "mapped"


def choose_jit_compile(model: keras.Model) -> bool:
    """Chooses whether to compile training with XLA: for models of dense layers alone, on one replica.

    Args:
        model: A built Keras model.

    Returns:
        True or False.
    """
    # XLA cannot reach the variables of another replica's device.
    return _is_dense(model) and tf.distribute.get_strategy().num_replicas_in_sync == 1


def _is_dense(layer: keras.layers.Layer) -> bool:
    """Tells models of dense layers alone; code of a model's or layer's own may hold loops, which cannot be merged."""
    if is_layer_graph(layer):
        return all(_is_dense(inner) for inner in layers_of(layer, include_self=False, recursive=False))
    return type(layer) in _DENSE_LAYERS
