"""A built Keras model as a pure function of its parameters and its state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from maml_tf.core.keras_interface import (
    layers_of,
    losses_kept,
    masks_of,
    own_trainable_variables,
    seed_variables,
    take_losses,
    training_argument,
    with_masks,
)

# Odd, so that different tasks never share a seed; Knuth's multiplicative constant spreads neighbouring seeds.
_SEED_STRIDE = 2654435761


class ModelOutput(NamedTuple):
    """What a pure call returns.

    Attributes:
        outputs: The model's outputs.
        added_loss: The sum of the losses that the model adds itself, a scalar, or None.
        state: The new values of the variables that a call may change.
    """

    outputs: Any
    added_loss: tf.Tensor | None
    state: list[tf.Tensor]


class FunctionalModel:
    """A built `keras.Model` as a pure function `(parameters, state, inputs) -> (outputs, added loss, state)`.

    Parameters are a dictionary from a trainable variable's path to a tensor, so that error messages can name
    them. State is the list of the values of the variables that a call may change: moving statistics and random seeds.
    Frozen weights belong to neither. A call assigns nothing, and gradients flow to the tensors that are passed in.

    Args:
        model: Any built Keras model: functional, sequential or subclassed.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If `model` is not built, computes in float16, or has a stateful recurrent layer.

    Example:
    >>> import keras
    >>> from maml_tf.core.functional import FunctionalModel
    >>> pure = FunctionalModel(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))
    >>> pure(pure.parameters(), pure.state(), keras.ops.ones((3, 2)), training=True).outputs.shape
    TensorShape([3, 1])
    """

    def __init__(self, model: keras.Model):
        require_built(model)
        _require_no_float16(model)
        _require_no_carried_state(model)
        self.model = model

    @property
    def names(self) -> list[str]:
        """The trainable variables' paths, in the model's order, made unique."""
        return unique_names(self.model)

    def parameters(self) -> dict[str, tf.Tensor]:
        """Reads the trainable variables.

        Returns:
            A dictionary from path to tensor, in the model's order.
        """
        return {
            name: tf.convert_to_tensor(variable)
            for name, variable in zip(self.names, self.model.trainable_variables, strict=True)
        }

    def state(self, task: tf.Tensor | int | None = None) -> list[tf.Tensor]:
        """Reads the variables that a call may change.

        Args:
            task: Number of the task in the meta-batch, folded into the random seeds so that every task draws its own
                dropout masks. Task 0 and None leave the seeds unchanged. With several numbers [tasks] the seeds are
                [tasks, ...].

        Returns:
            A list of tensors, in the order of `state_variables`.
        """
        seeds = {id(variable) for variable in seed_variables(self.model)} if task is not None else ()
        values = []
        for variable in self.state_variables():
            value = tf.convert_to_tensor(variable)
            if id(variable) in seeds:
                offset = tf.cast(task, tf.int64) * _SEED_STRIDE % 2**31
                value = value + tf.cast(tf.stack([offset, tf.zeros_like(offset)], axis=-1), value.dtype)
            values.append(value)
        return values

    def state_variables(self) -> list[keras.Variable]:
        """Lists the non-trainable variables that are not frozen weights, in the model's order."""
        layers = layers_of(self.model)
        weights = {id(variable) for layer in layers for variable in own_trainable_variables(layer)}
        # Spectral normalization assigns the weight that it divides by its norm.
        spectral = (layer for layer in layers if isinstance(layer, keras.layers.SpectralNormalization))
        weights -= {id(variable) for layer in spectral for variable in layer.variables}
        return [variable for variable in self.model.non_trainable_variables if id(variable) not in weights]

    def parts(self) -> tuple[int, ...]:
        """Identifies the current layers and trainable variables, to detect a change of the model."""
        layers = layers_of(self.model)
        return (*(id(layer) for layer in layers), *(id(variable) for variable in self.model.trainable_variables))

    def last_batch_statistics(self) -> list[bool]:
        """Tells which variables of the state hold statistics of only the last batch.

        These are the moving averages of batch normalization with momentum 0.

        Returns:
            A flag for each variable, in the order of `state_variables`.
        """
        kept = {
            id(variable)
            for layer in layers_of(self.model)
            if isinstance(layer, keras.layers.BatchNormalization) and layer.momentum == 0 and layer.trainable
            for variable in layer.non_trainable_variables
        }
        return [id(variable) in kept for variable in self.state_variables()]

    def at_inner_step(self, state: Sequence[tf.Tensor], step: int | tf.Tensor) -> list[tf.Tensor]:
        """Sets the number of inner steps taken, for layers that compute with it.

        Args:
            state: The values of `state_variables`.
            step: Number of inner steps that the parameters of the next call have taken.

        Returns:
            The state, with `step` as the value of every variable that a layer holds as `inner_step`.
        """
        told = {id(getattr(layer, "inner_step", None)) for layer in layers_of(self.model)}
        return [
            tf.cast(step, value.dtype) if id(variable) in told else value
            for variable, value in zip(self.state_variables(), state, strict=True)
        ]

    def __call__(self, params: dict[str, tf.Tensor], state: Sequence[tf.Tensor], inputs: Any, training: bool):
        """Calls the model without changing it, its variables or its inputs: safe in threads.

        Args:
            params: A tensor for every name in `names`.
            state: The values of `state_variables`.
            inputs: The model's inputs, with a leading batch axis.
            training: Keras' training flag.

        Returns:
            A `ModelOutput`.

        Raises:
            ValueError: If the number of inputs is wrong, or the call changes variables outside of the model, such as
                the global seed of `keras.random`: the next call would draw the same numbers again.
        """
        model = self.model
        _require_as_many_inputs(model, inputs)
        trainable = list(zip(model.trainable_variables, [params[name] for name in self.names], strict=True))
        state_variables = self.state_variables()
        given = [*trainable, *zip(state_variables, state, strict=True)]
        with keras.StatelessScope(state_mapping=given, collect_losses=True) as scope, losses_kept():
            outputs = model(_copies(inputs), **training_argument(model, training))
            losses = take_losses(scope, model)
            losses += [variable.regularizer(value) for variable, value in trainable if variable.regularizer is not None]
        given_variables = [*model.trainable_variables, *state_variables, *model.metrics_variables]
        known = {id(variable) for variable in given_variables}
        if not known.issuperset(scope.state_mapping):
            raise ValueError(
                "Expected a model whose call changes only its own variables, and no frozen weights; a layer that "
                "draws random numbers must hold a keras.random.SeedGenerator and pass seed=self.seed_generator. "
                f"Received: {model.name!r}, which changes {len(set(scope.state_mapping) - known)} other variables"
            )
        state = [scope.get_current_value(variable) for variable in state_variables]
        return ModelOutput(outputs, total(losses) if losses else None, state)

    def assign_state(self, state: Iterable[tf.Tensor]) -> None:
        """Writes a state back into the model's variables.

        Args:
            state: Values in the order of `state_variables`.
        """
        for variable, value in zip(self.state_variables(), state, strict=True):
            variable.assign(value)


def require_built(model: Any) -> None:
    """Checks that `model` is a built Keras model.

    Raises:
        TypeError: If it is not a Keras model.
        ValueError: If it is not built.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"Expected a keras.Model. Received: {model!r} of type {type(model).__name__}")
    if not model.built:
        raise ValueError(
            f"Expected a built model: give it an Input, or call it once on a batch. Received: {model.name!r}, "
            "which has no weights yet"
        )


def _require_as_many_inputs(model: keras.Model, inputs: Any) -> None:
    """Raises if Keras would silently drop inputs; the inputs of a subclassed model are not known."""
    expected = getattr(model, "inputs", None)
    if expected and len(expected) != (received := len(tf.nest.flatten(inputs))):
        raise ValueError(f"Expected {len(expected)} inputs of {model.name!r}. Received: {received} arrays")


def nan_where_invalid(output: ModelOutput, params: Any, inputs: Any) -> ModelOutput:
    """Sets outputs to NaN: all of them if a parameter is not finite, an example's outputs if its inputs contain NaN.

    TensorFlow's ReLU turns NaN into 0, so that the outputs would otherwise look valid.

    Args:
        output: The model's output, with the examples on the first axis.
        params: Nest of the parameters that the output was computed with.
        inputs: Nest of the inputs that it was computed from, [examples, ...].
    """
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(value)) for value in tf.nest.flatten(params)])
    for leaf in tf.nest.flatten(inputs):
        if leaf.dtype.is_floating:
            nan = tf.math.is_nan(tf.reshape(leaf, [tf.shape(leaf)[0], -1]))
            finite &= ~tf.reduce_any(nan, axis=1)

    def shown(value: tf.Tensor) -> tf.Tensor:
        if not value.dtype.is_floating:
            return value
        # `finite` is [examples], or a scalar if no input is floating; `value` is [examples, ...].
        axes = tf.ones([tf.rank(value) - tf.rank(finite)], tf.int32)
        valid = tf.reshape(finite, tf.concat([tf.shape(finite), axes], axis=0))
        return tf.where(valid, value, tf.constant(float("nan"), value.dtype))

    outputs = tf.nest.map_structure(shown, output.outputs)
    return output._replace(outputs=with_masks(outputs, masks_of(output.outputs)))


def unique_names(model: keras.Model) -> list[str]:
    """Names a model's trainable variables by their paths, with a number after layers of the same name.

    Args:
        model: A built model.

    Returns:
        Unique strings, such as "hidden/kernel" and "hidden#2/kernel" for two layers of the same name.
    """
    owners = {id(variable): id(layer) for layer in layers_of(model) for variable in own_trainable_variables(layer)}
    numbers: dict[str, dict[int | None, int]] = {}
    names: dict[str, None] = {}
    for variable in model.trainable_variables:
        path, slash, own = variable.path.rpartition("/")
        of_path = numbers.setdefault(path, {})
        number = of_path.setdefault(owners.get(id(variable)), len(of_path) + 1)
        layer = f"{path}#{number}" if number > 1 else path
        name, count = f"{layer}{slash}{own}", 1
        while name in names:
            count += 1
            name = f"{layer}{slash}{own}#{count}"
        names[name] = None
    return list(names)


def total(values: Sequence[tf.Tensor]) -> tf.Tensor:
    """Adds up tensors of different shapes and dtypes, which a model under a mixed policy produces.

    Args:
        values: Floating tensors.

    Returns:
        A scalar in the widest of their dtypes, at least float32.
    """
    sums = [tf.reduce_sum(value) for value in values]
    dtype = keras.backend.result_type("float32", *(value.dtype for value in sums))
    return tf.add_n([tf.cast(value, dtype) for value in sums])


def bind(variables: Sequence[keras.Variable], values: Sequence[tf.Tensor]) -> keras.StatelessScope:
    """Makes Keras variables read as the given tensors inside a `with` block.

    Args:
        variables: Keras variables.
        values: A tensor for each, of its shape and dtype.

    Returns:
        A context manager.
    """
    return keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True)))


def _require_no_float16(model: keras.Model) -> None:
    for layer in layers_of(model):
        if layer.compute_dtype == "float16":
            raise ValueError(
                "Expected a model that computes in float32, float64 or bfloat16: inner gradients in float16 "
                "underflow, and Keras' loss scaling does not reach the inner steps. "
                f"Received: layer {layer.name!r} with policy {layer.dtype_policy.name!r}; use 'mixed_bfloat16'"
            )


def _require_no_carried_state(model: keras.Model) -> None:
    for layer in layers_of(model):
        if isinstance(layer, keras.layers.RNN) and layer.stateful:
            raise ValueError(
                "Expected layers without state between batches: stateful RNNs carry state across batches, but tasks "
                "are independent. "
                f"Received: layer {layer.name!r} with stateful=True"
            )


def _copies(inputs: Any) -> Any:
    """Copies a nest of tensors with their masks: a layer that returns its input unchanged may attach a mask to it."""
    return with_masks(inputs, masks_of(inputs))
