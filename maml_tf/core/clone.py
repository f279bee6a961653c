"""Copies of built Keras models that share no variable with the original."""

from __future__ import annotations

import contextlib
import inspect
import tempfile
import types
from collections.abc import Iterator
from typing import Any

import keras

from maml_tf.core.conversions import conversions, convert
from maml_tf.core.keras_interface import (
    compile_holds_lambdas,
    computing_layers,
    is_layer_graph,
    quiet_config,
    take_names,
    uncompiled_view,
)


def clone(model: keras.Model) -> keras.Model:
    """Copies a built model: the same architecture, the same weights, no variable shared.

    A sequential or functional model may contain layers and functions that are not registered with Keras. The copy is
    compiled like the model, unless Keras cannot find its loss or metrics by name.

    Args:
        model: A built Keras model; a subclassed one whose constructor has arguments must define `get_config`.

    Returns:
        A model of the same class.

    Raises:
        TypeError: If a subclassed model cannot be rebuilt from its configuration.
    """
    if is_layer_graph(model):
        copy = _copy_of_graph(model, {})
    else:
        untold = _untold_arguments(type(model))
        if untold:
            raise TypeError(
                "Expected a subclassed model that can be rebuilt from get_config() and its input shape. "
                f"Received: {type(model).__name__}, whose constructor takes {untold}; define get_config()"
            )
        try:
            with default_policy(model.dtype_policy):
                copy = type(model).from_config(model.get_config())
            copy.build_from_config(model.get_build_config() or {})
        except (NotImplementedError, TypeError, ValueError) as error:
            raise TypeError(
                "Expected a subclassed model that can be rebuilt from get_config() and its input shape. "
                f"Received: {type(model).__name__}: {error}"
            ) from error
    convert(copy, conversions(model))
    if len(copy.weights) != len(model.weights):
        raise TypeError(
            f"Expected a copy with {len(model.weights)} weights from {type(model).__name__}.get_config(). "
            f"Received: a copy with {len(copy.weights)}; define build(input_shape)"
        )
    for target, source in zip(computing_layers(copy), computing_layers(model), strict=True):
        # Not every configuration holds what was set after the layer was made.
        if target.trainable != source.trainable:
            target.trainable = source.trainable
        take_names(target, source)
    for target, source in zip(copy.variables, model.variables, strict=True):
        target.assign(source)
        if target.trainable != source.trainable:
            target.trainable = source.trainable
    for target, source in zip(computing_layers(copy), computing_layers(model), strict=True):
        if isinstance(target, keras.layers.Normalization):
            target.finalize_state()  # Derives from the variables the values that the layer computes with.
        if hasattr(source, "save_assets"):  # What a layer holds outside of variables, such as a vocabulary.
            with tempfile.TemporaryDirectory() as folder:
                source.save_assets(folder)
                target.load_assets(folder)
    _compile_alike(copy, model)
    # For a model without `build`, Keras makes the weights by tracing its call and does not set this flag.
    copy.built = True
    return copy


def remade(layer: keras.layers.Layer, config: dict[str, Any]) -> keras.layers.Layer:
    """Rebuilds `layer` from `config`, reusing its functions that Keras cannot find by name.

    Args:
        layer: A layer or an operation of a functional graph.
        config: The layer's configuration, or one like it.

    Returns:
        A layer of the same class, not built.

    Raises:
        TypeError: If the class cannot be rebuilt from its configuration.
        ValueError: If the class refuses its configuration.
    """
    own = {}
    for name, told in config.items():
        value = getattr(layer, name, getattr(layer, f"_{name}", None))
        if isinstance(value, types.FunctionType) and value is not told and not _is_found_by_name(value):
            own[name] = value
    # A subclass may define its own `from_config`.
    read_by_keras = getattr(type(layer).from_config, "__func__", None) is keras.layers.Wrapper.from_config.__func__
    if read_by_keras and not is_layer_graph(layer.layer):
        own["layer"] = remade(layer.layer, config["layer"]["config"])
    return type(layer)(**{**config, **own}) if own else type(layer).from_config(config)


@contextlib.contextmanager
def default_policy(policy: str | keras.DTypePolicy) -> Iterator[None]:
    """Sets the dtype policy of layers that are made inside the block without one, in this thread alone."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _copy_of_graph(model: keras.Model, copies: dict[int, Any]) -> keras.Model:
    """Copies a sequential or functional model; a layer that occurs several times has one copy, kept in `copies`."""

    def copied(layer: Any) -> Any:
        if id(layer) not in copies:
            copies[id(layer)] = _copy_of_graph(layer, copies) if is_layer_graph(layer) else _copy_of_layer(layer)
        return copies[id(layer)]

    # clone_model uses the layers' classes directly: from_config would look them up by name.
    with default_policy(model.dtype_policy):
        copy = keras.models.clone_model(uncompiled_view(model), clone_function=copied)
    inputs = [[layer for layer in each.layers if isinstance(layer, keras.layers.InputLayer)] for each in (copy, model)]
    for target, source in zip(*inputs, strict=True):
        target.name = source.name
    return copy


def _copy_of_layer(layer: Any) -> Any:
    try:
        if not isinstance(layer, keras.layers.Layer):
            return remade(layer, quiet_config(layer))
        with default_policy(layer.dtype_policy):  # For layers that its constructor makes without a policy.
            return remade(layer, quiet_config(layer))
    except (NotImplementedError, TypeError, ValueError) as error:
        raise TypeError(
            f"Expected layers that can be rebuilt from get_config(). Received: {layer.name!r} of type "
            f"{type(layer).__name__}: {error}"
        ) from error


def _is_found_by_name(function: types.FunctionType) -> bool:
    registered = keras.saving.get_registered_object(keras.saving.get_registered_name(function))
    return function.__module__.startswith("keras.") or registered is function


def _compile_alike(copy: keras.Model, model: keras.Model) -> None:
    """Compiles a copy like the model, unless Keras cannot find its losses and metrics by name."""
    if model.compiled and not compile_holds_lambdas(model):
        with contextlib.suppress(TypeError, ValueError):
            copy.compile_from_config(model.get_compile_config())


def _untold_arguments(model_class: type[keras.Model]) -> list[str]:
    """Lists constructor arguments that Keras' own `get_config` leaves out: a copy would get their defaults."""

    def is_keras_own(method):
        return method.__module__.startswith("keras.")

    if is_keras_own(model_class.__init__) or not is_keras_own(model_class.get_config):
        return []
    parameters = list(inspect.signature(model_class.__init__).parameters.values())[1:]
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.kind not in several and p.name not in ("name", "trainable", "dtype")]
