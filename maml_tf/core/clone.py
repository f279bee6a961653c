"""A copy of a built Keras model with variables of its own."""

from __future__ import annotations

import contextlib
import inspect
import tempfile
import types
import warnings
from collections.abc import Iterator
from typing import Any

import keras

from maml_tf.core.functional import is_layer_graph


def clone(model: keras.Model) -> keras.Model:
    """Copies a built model: the same architecture, the same weights, no variable shared.

    A sequential or functional model may hold layers, activations and other functions that Keras does not know by name.
    The copy is compiled as the model is, unless Keras does not know its loss or metrics by name.

    Args:
        model: A built Keras model; a subclassed one whose constructor has arguments must define `get_config`.

    Returns:
        A model of the same class.

    Raises:
        TypeError: If a subclassed model cannot be made again from its configuration.
    """
    if is_layer_graph(model):
        with _uncompiled(model):
            # Takes the layers' classes as they are: from_config would look them up by name.
            copy = keras.models.clone_model(model, clone_function=_copied, recursive=True)
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
    for target, source in zip(copy._flatten_layers(), model._flatten_layers(), strict=True):
        if isinstance(target, keras.layers.Normalization):
            target.finalize_state()  # It computes with what it derives from its variables.
        if hasattr(source, "save_assets"):  # What a layer learned and holds in no variable, such as a vocabulary.
            with tempfile.TemporaryDirectory() as folder:
                source.save_assets(folder)
                target.load_assets(folder)
    _compile_alike(copy, model)
    # Keras makes the weights of a model without `build` by tracing its call, and leaves the flag.
    copy.built = True
    return copy


def remade(layer: keras.layers.Layer, config: dict[str, Any]) -> keras.layers.Layer:
    """Makes a layer of a configuration as another's, with that one's own functions.

    Keras looks them up by name, and so finds those alone that are registered.

    Args:
        layer: The other layer.
        config: What its `get_config` returned, or like it.

    Returns:
        A layer of the same class, not built.

    Raises:
        TypeError: If it cannot be made of its configuration.
        ValueError: The same.
    """
    own = {}
    for name, told in config.items():
        value = getattr(layer, name, getattr(layer, f"_{name}", None))
        if isinstance(value, types.FunctionType) and value is not told and not _is_found_by_name(value):
            own[name] = value
    # A subclass may read its configuration in a way of its own.
    read_by_keras = getattr(type(layer).from_config, "__func__", None) is keras.layers.Wrapper.from_config.__func__
    if read_by_keras and not is_layer_graph(layer.layer):
        own["layer"] = remade(layer.layer, config["layer"]["config"])
    return type(layer)(**{**config, **own}) if own else type(layer).from_config(config)


@contextlib.contextmanager
def lambdas_allowed() -> Iterator[None]:
    """Keeps Keras from warning of lambdas in configurations, which `remade` takes from the layer itself.

    Yields:
        Nothing.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The object being serialized includes a `lambda`", UserWarning)
        yield


def _copied(layer: keras.layers.Layer) -> keras.layers.Layer:
    with lambdas_allowed():
        return remade(layer, layer.get_config())


def _is_found_by_name(function: types.FunctionType) -> bool:
    registered = keras.saving.get_registered_object(keras.saving.get_registered_name(function))
    return function.__module__.startswith("keras.") or registered is function


@contextlib.contextmanager
def _uncompiled(model: keras.Model) -> Iterator[None]:
    """Hides that a model is compiled from Keras, which would compile a copy with losses and metrics found by name."""
    compiled = [inner for inner in model._flatten_layers() if getattr(inner, "compiled", False)]
    for inner in compiled:
        inner.compiled = False
    try:
        yield
    finally:
        for inner in compiled:
            inner.compiled = True


def _compile_alike(copy: keras.Model, model: keras.Model) -> None:
    """Compiles a copy as the model is, unless Keras does not find its losses and metrics by name."""
    if model.compiled:
        with lambdas_allowed(), contextlib.suppress(TypeError, ValueError):
            copy.compile_from_config(model.get_compile_config())


def _untold_arguments(model_class: type[keras.Model]) -> list[str]:
    """Lists a constructor's arguments that Keras' own configuration of a model leaves out: copies have defaults."""

    def is_keras_own(method):
        return method.__module__.startswith("keras.")

    if is_keras_own(model_class.__init__) or not is_keras_own(model_class.get_config):
        return []
    parameters = list(inspect.signature(model_class.__init__).parameters.values())[1:]
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.kind not in several and p.name not in ("name", "trainable", "dtype")]
