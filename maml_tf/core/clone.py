"""A copy of a built Keras model with variables of its own."""

from __future__ import annotations

import inspect

import keras

from maml_tf.core.functional import is_layer_graph


def clone(model: keras.Model) -> keras.Model:
    """Copies a built model: the same architecture, the same weights, no variable shared.

    Args:
        model: A built Keras model; a subclassed one whose constructor has arguments must define `get_config`.

    Returns:
        A model of the same class.

    Raises:
        TypeError: If a subclassed model cannot be made again from its configuration.
    """
    if is_layer_graph(model):
        # Takes the layers' classes as they are: from_config would look them up by name.
        copy = keras.models.clone_model(model)
    else:
        untold = _untold_arguments(type(model))
        if untold:
            raise TypeError(
                "Expected a subclassed model that can be made again from get_config() and its input shape. "
                f"Received: {type(model).__name__}, whose constructor takes {untold} and which has no get_config"
            )
        try:
            copy = type(model).from_config(model.get_config())
            copy.build_from_config(model.get_build_config() or {})
        except (NotImplementedError, TypeError, ValueError) as error:
            raise TypeError(
                "Expected a subclassed model that can be made again from get_config() and its input shape. "
                f"Received: {type(model).__name__}: {error}"
            ) from error
    if len(copy.weights) != len(model.weights):
        raise TypeError(
            f"Expected a copy with {len(model.weights)} weights from {type(model).__name__}.get_config(). "
            f"Received: one with {len(copy.weights)}; define build(input_shape)"
        )
    for target, source in zip(copy.variables, model.variables, strict=True):
        target.assign(source)
        # A flag set after the model was made is not in every configuration.
        if target.trainable != source.trainable:
            target.trainable = source.trainable
    for layer in copy._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # It computes with what it derives from its variables.
    # Keras makes the weights of a model without `build` by tracing its call, and leaves the flag.
    copy.built = True
    return copy


def _untold_arguments(model_class: type[keras.Model]) -> list[str]:
    """Lists a constructor's arguments that Keras' own configuration of a model leaves out: copies have defaults."""

    def is_keras_own(method):
        return method.__module__.startswith("keras.")

    if is_keras_own(model_class.__init__) or not is_keras_own(model_class.get_config):
        return []
    parameters = list(inspect.signature(model_class.__init__).parameters.values())[1:]
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.kind not in several and p.name not in ("name", "trainable", "dtype")]
