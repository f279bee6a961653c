"""Every use of Keras' private interface, in one place: what a new version of Keras can break is here.

Tested with the oldest and the newest Keras that setup.py allows.
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
    """Lists a layer and the layers that it holds.

    Args:
        layer: A layer or model.
        include_self: Whether `layer` itself is the first.
        recursive: Whether layers inside layers are listed too.
    """
    return layer._flatten_layers(include_self=include_self, recursive=recursive)


def computing_layers(layer: keras.layers.Layer) -> list[Any]:
    """Lists a layer and the layers inside it but inputs: those of a copy of it are as many, in the same order.

    A nested model whose inputs are the outer model's too has inputs of its own in a copy.
    """
    return [inner for inner in layers_of(layer) if not isinstance(inner, keras.layers.InputLayer)]


def own_trainable_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Lists the variables that a layer made itself as trainable, frozen since or not; those of inner layers are not."""
    return layer._trainable_variables


def own_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Lists the variables that a layer made itself, without those of the layers inside it and of random seeds."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def take_names(layer: keras.layers.Layer, other: keras.layers.Layer) -> None:
    """Gives a layer and the variables that it made itself the names of a like layer, and their paths."""
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
    """Tells sequential and functional models, which are made of layers alone, from all else: also from subclasses."""
    # Keras does not export the class of functional models.
    of_keras = type(layer).__module__.startswith("keras.")
    return of_keras and type(layer).__name__ in ("Sequential", "Functional")


def layer_of_output(model: keras.Model) -> tuple[Any, Any]:
    """Returns the layer that makes a sequential or functional model's output, and its symbolic input.

    Args:
        model: A built model of layers.

    Returns:
        The layer, or operation, and a `keras.KerasTensor`; None and None where it has several inputs, or the model
        several outputs.
    """
    if len(model.outputs) != 1:
        return None, None
    operation, node, _ = model.outputs[0]._keras_history
    inputs = operation._inbound_nodes[node].input_tensors
    return (operation, inputs[0]) if len(inputs) == 1 else (None, None)


def training_argument(model: keras.Model, training: bool) -> dict[str, bool]:
    """Makes the keyword arguments that hand a model Keras' training flag: none if its `call` does not take it."""
    return {"training": training} if model._call_has_training_arg else {}


class _Caller:
    """Stands where Keras expects the outermost layer of a call, whose losses it clears."""

    def _clear_losses(self) -> None:
        pass


@contextlib.contextmanager
def losses_kept() -> Iterator[None]:
    """Keeps Keras from clearing the losses of the layers called inside, which another thread may be adding up."""
    caller = _Caller()
    keras.layers.Layer._get_call_context(caller)
    try:
        yield
    finally:
        keras.layers.Layer._maybe_reset_call_context(caller)


class _Alike(threading.local):
    """Whether this thread, which is a replica's, applies gradients that are the same on every replica."""

    now = False


_alike = _Alike()


def apply_alike(
    optimizer: keras.optimizers.Optimizer, gradients: Sequence[tf.Tensor], variables: Sequence[keras.Variable]
) -> None:
    """Applies gradients that are the same on every replica of a strategy.

    Keras would clip each replica's gradients, and then add up what is left of them: several replicas would take other
    steps than one does.

    Args:
        optimizer: Built.
        gradients: The same on every replica.
        variables: Theirs.
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
    """Gives a step's metrics an axis where several hosts train: Keras' `fit` averages over it.

    Args:
        logs: Scalars by name.
    """
    strategy = tf.distribute.get_strategy()
    if tf.distribute.in_cross_replica_context() or not strategy.extended._in_multi_worker_mode():
        return logs
    return {name: tf.reshape(value, [1]) for name, value in logs.items()}


class WrapsModel:
    """Mixin for a Keras model that wraps a user's model: what such a model does otherwise than Keras' own."""

    @property
    def loss_metric(self) -> keras.metrics.Mean:
        """The metric "loss" that `compile` makes."""
        return self._loss_tracker

    def _clear_losses(self) -> None:
        """Leaves the losses of the user's layers alone when the wrapping model is called."""

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Builds metrics, under replicas from the first replica's share of the first element.

        Keras takes the mean of the replicas' shares, which fails where these are of different sizes.
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
    """Takes the losses that layers added inside a scope, and the notes of them that Keras leaves in the layers."""
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
    """Attaches masks to copies of a model's outputs, where Keras' losses and metrics look for them.

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
    """Makes an object with a model's layers and attributes that is not compiled; the model stays as it is.

    Copying a compiled model Keras compiles the copy, with losses and metrics that it looks up by name.
    """
    return _view(model, compiled=False)


def quiet_config(layer: Any) -> dict[str, Any]:
    """Returns `layer.get_config()` without Keras' warning of lambdas, for which a named function stands in.

    Python's own way of silencing a warning silences all threads.
    """
    return _without_lambdas(layer, {}).get_config()


def compile_holds_lambdas(model: keras.Model) -> bool:
    """Tells a model that was compiled with lambdas, which Keras serializes with a warning and does not load."""
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
    """Stands for a lambda in a configuration."""
    raise TypeError("Expected a function. Received: the name that stands for a lambda in a layer's configuration")
