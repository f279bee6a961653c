"""Every use of Keras' private interface, so that a new version of Keras can break only this module.

It is tested with the oldest and the newest Keras that setup.py allows.
"""

from __future__ import annotations

import contextlib
import threading
import types
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf


def layers_of(layer: keras.layers.Layer, *, include_self: bool = True, recursive: bool = True) -> list[Any]:
    """Lists a layer and the layers inside it.

    Args:
        layer: A layer or model.
        include_self: Whether `layer` itself is the first.
        recursive: Whether layers inside layers are listed too.
    """
    return layer._flatten_layers(include_self=include_self, recursive=recursive)


def computing_layers(layer: keras.layers.Layer) -> list[Any]:
    """Lists a layer and the layers inside it without input layers; a copy has as many, in the same order.

    In a copy, a nested model that shares input layers with the outer model gets separate ones.
    """
    return [inner for inner in layers_of(layer) if not isinstance(inner, keras.layers.InputLayer)]


def own_trainable_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Lists the variables that a layer itself made as trainable, even if frozen later; not those of inner layers."""
    return layer._trainable_variables


def own_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Lists the variables that a layer itself made, without those of inner layers and without random seeds."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def take_names(layer: keras.layers.Layer, other: keras.layers.Layer) -> None:
    """Copies the names of a layer and of the variables that it made, and their paths, from a layer of the same kind."""
    layer.name = other.name

    mine, theirs = (
        [*own_variables(each), *(generator.state for generator in each._seed_generators)] for each in (layer, other)
    )
    for variable, named in zip(mine, theirs, strict=True):
        variable._name, variable._path = named.name, named.path


def seed_variables(model: keras.Model) -> list[keras.Variable]:
    """Lists the variables [seed, counter] of the `keras.random.SeedGenerator`s that a model's layers hold."""
    return [generator.state for layer in layers_of(model) for generator in layer._seed_generators]


def is_layer_graph(layer: Any) -> bool:
    """Returns whether a layer is a sequential or functional model, which consists of layers; false for subclasses."""
    # Keras does not export the class of functional models.
    of_keras = type(layer).__module__.startswith("keras.")
    return of_keras and type(layer).__name__ in ("Sequential", "Functional")


def layer_of_output(model: keras.Model) -> tuple[Any, Any]:
    """Returns the layer that makes a sequential or functional model's output, and its symbolic input.

    Args:
        model: A built sequential or functional model.

    Returns:
        The layer, or operation, and a `keras.KerasTensor`; None and None if the layer has several inputs or the model
        several outputs.
    """
    if len(model.outputs) != 1:
        return None, None
    operation, node, _ = model.outputs[0]._keras_history
    inputs = operation._inbound_nodes[node].input_tensors
    return (operation, inputs[0]) if len(inputs) == 1 else (None, None)


def training_argument(model: keras.Model, training: bool) -> dict[str, bool]:
    """Returns the keyword arguments that pass Keras' training flag: none if the model's `call` does not take it."""
    return {"training": training} if model._call_has_training_arg else {}


class _Caller:
    """Takes the place of a call's outermost layer, whose losses Keras clears."""

    def _clear_losses(self) -> None:
        pass


@contextlib.contextmanager
def losses_kept() -> Iterator[None]:
    """Keeps Keras from clearing the losses of layers called inside the block: another thread may be adding them up."""
    caller = _Caller()
    keras.layers.Layer._get_call_context(caller)
    try:
        yield
    finally:
        keras.layers.Layer._maybe_reset_call_context(caller)


class _Alike(threading.local):
    """Whether this thread, one of a replica, is applying gradients that are the same on every replica."""

    now = False


_alike = _Alike()


def apply_alike(
    optimizer: keras.optimizers.Optimizer, gradients: Sequence[tf.Tensor], variables: Sequence[keras.Variable]
) -> None:
    """Applies gradients that are the same on every replica of a strategy.

    Keras would clip each replica's gradients and then sum them over replicas: several replicas would take another
    step than one.

    Args:
        optimizer: A built optimizer.
        gradients: The gradients, the same on every replica.
        variables: The variable of each gradient.
    """
    for one in (optimizer, getattr(optimizer, "inner_optimizer", None)):
        if one is not None and "_all_reduce_sum_gradients" not in vars(one):
            added = one._all_reduce_sum_gradients
            one._all_reduce_sum_gradients = lambda pairs, added=added: pairs if _alike.now else added(pairs)
    _alike.now = True
    try:
        optimizer.apply(gradients, variables)
    finally:
        _alike.now = False


def logs_of_replica(logs: dict[str, Any]) -> dict[str, Any]:
    """Adds an axis to a step's metrics if several hosts train: Keras' `fit` averages over it.

    Args:
        logs: Scalars by name.
    """
    strategy = tf.distribute.get_strategy()
    if tf.distribute.in_cross_replica_context() or not strategy.extended._in_multi_worker_mode():
        return logs
    return {name: tf.reshape(value, [1]) for name, value in logs.items()}


class WrapsModel:
    """Mixin for a Keras model that wraps a user's model: overrides private methods of `keras.Model`."""

    @property
    def loss_metric(self) -> keras.metrics.Mean:
        """The metric "loss" that `compile` makes."""
        return self._loss_tracker

    def _clear_losses(self) -> None:
        """Keeps the losses of the user's layers when the wrapping model is called."""

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Builds metrics; with several replicas, from the first replica's share of the first element.

        Keras averages the replicas' shares, which fails if their sizes differ.
        """
        if self._distribute_strategy is None or iterator is None:
            return super()._maybe_symbolic_build(iterator, data_batch)
        shares = next(next(iter(iterator))[2])
        replicas = self.distribute_strategy.experimental_local_results

        def like_first(share: Any) -> tf.Tensor:
            first = tf.convert_to_tensor(replicas(share)[0])
            return tf.zeros([max(first.shape[0], 1), *first.shape[1:]], first.dtype)

        return super()._maybe_symbolic_build(data_batch=keras.tree.map_structure(like_first, shares))


def take_losses(scope: keras.StatelessScope, model: keras.Model) -> list[tf.Tensor]:
    """Returns the losses that layers added inside a scope, and removes Keras' records of them from the layers."""
    noted = {id(loss) for loss in scope.losses}
    if noted:
        for layer in layers_of(model):
            layer._loss_ids.difference_update(noted)
    return list(scope.losses)


def mask_of(tensor: Any) -> tf.Tensor | None:
    """Reads the mask that Keras attached to a tensor, or None."""
    return getattr(tensor, "_keras_mask", None)


def masks_of(outputs: Any) -> list[tuple[tf.Tensor, ...]]:
    """Reads the masks that Keras attached to a model's outputs, as values that survive a map over tasks.

    Args:
        outputs: Nest of tensors.

    Returns:
        For each output, in the order of `tf.nest.flatten`, its mask in a tuple, or an empty tuple.
    """
    masks = map(mask_of, tf.nest.flatten(outputs))
    return [() if mask is None else (mask,) for mask in masks]


def with_masks(outputs: Any, masks: list[tuple[tf.Tensor, ...]]) -> Any:
    """Attaches masks to copies of a model's outputs, so that Keras' losses and metrics find them.

    Args:
        outputs: Nest of tensors.
        masks: As `masks_of` returns them.

    Returns:
        The same nest of new tensors.

    Example:
    >>> import keras
    >>> from maml_tf.core.keras_interface import masks_of, with_masks
    >>> hidden = with_masks(keras.ops.ones((2, 3)), [(keras.ops.array([True, False]),)])
    >>> [[row.numpy().tolist() for row in mask] for mask in masks_of(hidden)]
    [[[True, False]]]
    """
    copies = [tf.identity(output) if tf.is_tensor(output) else output for output in tf.nest.flatten(outputs)]
    for copy, mask in zip(copies, masks, strict=True):
        if mask:
            (copy._keras_mask,) = mask
    return tf.nest.pack_sequence_as(outputs, copies)


def uncompiled_view(model: keras.Model) -> keras.Model:
    """Returns an uncompiled object with the model's layers and attributes; the model itself does not change.

    When Keras copies a compiled model, it compiles the copy with losses and metrics that it looks up by name.
    """
    return _view(model, compiled=False)


def quiet_config(layer: Any) -> dict[str, Any]:
    """Returns `layer.get_config()` with a named function in place of each lambda, about which Keras would warn.

    Python's `warnings.catch_warnings` would silence all threads.
    """
    return _without_lambdas(layer, {}).get_config()


def compile_holds_lambdas(model: keras.Model) -> bool:
    """Returns whether a model is compiled with lambdas, which Keras serializes with a warning and does not load."""
    compiled_with = getattr(model, "_compile_config", None)
    return compiled_with is not None and any(map(_is_lambda, keras.tree.flatten(compiled_with.config)))


def _view(layer: Any, **changed: Any) -> Any:
    view = object.__new__(type(layer))
    view.__dict__.update({**vars(layer), **changed})
    return view


def _without_lambdas(value: Any, views: dict[int, Any]) -> Any:
    if _is_lambda(value):
        return _nameless
    if isinstance(value, (list, tuple)) and any(isinstance(item, keras.layers.Layer) for item in value):
        return [_without_lambdas(item, views) for item in value]
    if not isinstance(value, keras.Operation):
        return value
    if id(value) not in views:
        views[id(value)] = _view(value)
        attributes = {name: _without_lambdas(attribute, views) for name, attribute in vars(value).items()}
        views[id(value)].__dict__.update(attributes)
    return views[id(value)]


def _is_lambda(value: Any) -> bool:
    return isinstance(value, types.FunctionType) and value.__name__ == "<lambda>"


def _nameless(*args: Any, **kwargs: Any) -> Any:
    """Takes the place of a lambda in a configuration."""
    raise TypeError("Expected a function. Received: the placeholder of a lambda in a layer's configuration")
