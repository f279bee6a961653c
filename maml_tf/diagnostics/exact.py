"""Conversion of a model's layers to layers with exact second derivatives."""

from __future__ import annotations

import keras

from maml_tf import layers
from maml_tf.core.clone import clone
from maml_tf.core.conversions import make_exact
from maml_tf.core.functional import require_built
from maml_tf.core.keras_interface import layers_of, quiet_config
from maml_tf.diagnostics.unsupported_layers import unsupported_layers

_EXACT = {
    keras.layers.BatchNormalization: layers.BatchNormalization,
    keras.layers.LayerNormalization: layers.LayerNormalization,
    keras.layers.GroupNormalization: layers.GroupNormalization,
    keras.layers.UpSampling2D: layers.UpSampling2D,
}


def exact(model: keras.Model) -> keras.Model:
    """Copies a model with exact layers in place of those known to have wrong second derivatives.

    Keras' BatchNormalization, LayerNormalization, GroupNormalization, UpSampling2D and softsign become those of
    `maml_tf.layers`, and LSTM and GRU no longer use cuDNN, also inside nested models, wrappers and other layers.
    Outputs, first derivatives, weights, names, `trainable` and dtypes do not change.

    A `MAML` of the copy keeps the exact layers when it is saved and loaded. The copy saved alone loses those inside
    other layers, which Keras rebuilds by their constructors: call `exact` again on the loaded model.

    Args:
        model: A built Keras model that can be rebuilt from its configuration; it does not change.

    Returns:
        A model of the same class that shares no variable with `model`.

    Raises:
        TypeError: If the model or one of its layers cannot be rebuilt from its configuration.
        ValueError: If the model is not built, or layers known to be wrong have no exact counterpart; the message names
            all of them. `maml_tf.check_second_order` finds wrong layers that are not known.

    Example:
    >>> import keras
    >>> import maml_tf
    >>> stock = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), keras.layers.LayerNormalization()])
    >>> model = maml_tf.exact(stock)
    >>> len(maml_tf.check_second_order(stock, keras.random.normal((8, 4), seed=0)))
    1
    >>> len(maml_tf.check_second_order(model, keras.random.normal((8, 4), seed=0)))
    0
    """
    require_built(model)
    copy = clone(model)
    refused = {}
    for layer in layers_of(copy):
        counterpart = _EXACT.get(type(layer))
        if counterpart is not None:
            try:
                counterpart(**quiet_config(layer))
            except ValueError as error:
                refused[layer.name] = str(error)
            else:
                make_exact(layer, counterpart)
        for name in ("activation", "recurrent_activation"):
            if vars(layer).get(name) is keras.activations.softsign:
                setattr(layer, name, layers.softsign)
        if "use_cudnn" in vars(layer):
            layer.use_cudnn = False
    left = [f"{found.layer}: {refused.get(found.layer, found.reason)}" for found in unsupported_layers(copy)]
    if left:
        raise ValueError(f"Expected layers that have an exact counterpart. Received: {'; '.join(left)}")
    return copy
