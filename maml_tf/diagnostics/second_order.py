"""A check of a model's second derivatives, which exact meta-gradients need.

TensorFlow has operations whose second derivative is missing (an error), None, or silently wrong. For each layer, with
the inputs that it gets in the model, the Hessian-vector product is compared with central differences of the gradient.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from maml_tf.core.functional import FunctionalModel
from maml_tf.core.keras_interface import is_layer_graph, layers_of
from maml_tf.diagnostics.as_float64 import as_float64, cast_floating
from maml_tf.diagnostics.unsupported_layers import unsupported_layers

# Factors of the step of the central differences, one for each attempt. If activations hardly vary, as on flat images,
# many kinks are within the usual step.
_ATTEMPTS = (1.0, 1.0, 1e-2)
_JITTER = 1e-2
_ONE_RECORDING = threading.Lock()


class _Precision(NamedTuple):
    """Step of the central differences, tolerance, and fraction of the gradient below which curvature counts as 0."""

    epsilon: float
    tolerance: float
    floor: float


# A layer that cannot be rebuilt in float64 is tested in its own precision, in which differences are inaccurate.
_PRECISION = {"float64": _Precision(1e-7, 1e-4, 1e-5), "float32": _Precision(1e-3, 5e-2, 2e-2)}


class Finding(NamedTuple):
    """A layer whose second derivative is wrong or missing.

    Attributes:
        layer: Name of the layer.
        reason: What is wrong.
        relative_error: Relative error of the Hessian-vector product; NaN if TensorFlow has none, or returns NaN.
    """

    layer: str
    reason: str
    relative_error: float


class Findings(list):
    """A list of `Finding`, and the precision in which each layer was checked.

    Args:
        findings: The layers with wrong or missing second derivatives.
        precisions: Precision by name of layer or operation: "float64", or "float32" for a layer that cannot be
            rebuilt in float64; the check then finds only errors above a few percent.
    """

    def __init__(self, findings: Iterable[Finding], precisions: dict[str, str]):
        super().__init__(findings)
        self.precisions = precisions


class _Call(NamedTuple):
    layer: Any
    args: tuple
    kwargs: dict


def check_second_order(model: keras.Model, sample_input: Any, *, seed: int = 0) -> Findings:
    """Compares each layer's Hessian-vector products with finite differences.

    It uses the Hessian of a random quadratic function of the layer's outputs with respect to the layer's inputs and
    trainable weights together, in float64 if the layer can be rebuilt in it.

    Args:
        model: A built Keras model; it does not change.
        sample_input: A batch of inputs, [examples, ...], preferably real ones.
        seed: Seed of the random projections and directions.

    Returns:
        A `Finding` for each layer with a wrong or missing second derivative, in the order of their calls; empty if all
        layers are exact. The attribute `precisions` names the layers that were checked, and the precision.

    Raises:
        ValueError: If the model is not built, or `MAML` does not support it.

    Example:
    >>> import keras
    >>> import maml_tf
    >>> norm = keras.layers.LayerNormalization(name="norm")
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), norm])
    >>> [finding.layer for finding in maml_tf.check_second_order(model, keras.random.normal((8, 4), seed=0))]
    ['norm']
    >>> maml_tf.check_second_order(model, keras.random.normal((8, 4), seed=0)).precisions["norm"]
    'float64'
    """
    pure = FunctionalModel(model)
    findings: dict[int, Finding] = {}
    precisions: dict[str, str] = {}
    for call in _recorded_calls(pure, sample_input):
        inside = {id(layer) for layer in _operations(call.layer)} - {id(call.layer)}
        if inside & set(findings):
            continue
        twin = as_float64(*call)
        dtype = "float32" if twin is None else "float64"
        precisions[call.layer.name] = dtype
        finding = _check(call if twin is None else call._replace(layer=twin), dtype, seed)
        if finding is not None:
            findings[id(call.layer)] = finding
    named = {finding.layer for finding in findings.values()}
    untestable_here = [found for found in unsupported_layers(model) if found.layer not in named]
    by_name = [Finding(found.layer, found.reason, float("nan")) for found in untestable_here]
    return Findings([*findings.values(), *by_name], precisions)


def _recorded_calls(pure: FunctionalModel, sample_input: Any) -> list[_Call]:
    """Runs the model once and returns each operation's first call, inner operations before outer ones."""
    calls: dict[int, _Call] = {}
    with _recording(_operations(pure.model), calls):
        # As MAML calls the model; if its `call` were called, Keras would not pass the training flag to inner layers.
        pure(pure.parameters(), pure.state(), sample_input, training=True)
    return list(calls.values())


def _operations(layer: Any) -> list[Any]:
    """Lists what a model calls: leaf layers, operations of a functional graph, and layers with custom code."""
    if not isinstance(layer, keras.layers.Layer):
        return [layer]
    nested = [layer, *layers_of(layer, include_self=False)]
    graphs = [inner for inner in nested if is_layer_graph(inner)]
    operations = [operation for graph in graphs for operation in getattr(graph, "operations", [])]
    everything = {id(operation): operation for operation in [*operations, *nested]}.values()
    return [op for op in everything if not is_layer_graph(op) and not isinstance(op, keras.layers.InputLayer)]


@contextmanager
def _recording(operations: list[Any], calls: dict[int, _Call]) -> Iterator[None]:
    """Records this thread's calls of the operations; calls of other threads are not recorded."""
    recorded = threading.get_ident()

    def recorder(operation, original):
        def call(*args, **kwargs):
            outputs = original(*args, **kwargs)
            if threading.get_ident() == recorded:
                calls.setdefault(id(operation), _Call(operation, args, kwargs))
            return outputs

        return call

    with _ONE_RECORDING:
        for operation in operations:
            object.__setattr__(operation, "call", recorder(operation, operation.call))
        try:
            yield
        finally:
            for operation in operations:
                object.__delattr__(operation, "call")


def _check(call: _Call, dtype: str, seed: int) -> Finding | None:
    precision = _PRECISION[dtype]
    # A kink (ReLU, max-pooling) between the two points of a difference fails one attempt; a wrong layer fails all.
    for attempt, share in enumerate(_ATTEMPTS):
        try:
            error = _relative_error(call, dtype, precision._replace(epsilon=share * precision.epsilon), seed + attempt)
        except LookupError as missing:
            return Finding(call.layer.name, f"no second derivative: {missing}", float("nan"))
        if error is None or error <= precision.tolerance:
            return None
    return Finding(
        call.layer.name,
        f"the Hessian-vector product has a relative difference of {error:.2g} from central differences, in {dtype}",
        error,
    )


def _relative_error(call: _Call, dtype: str, precision: _Precision, seed: int) -> float | None:
    """Returns the error of a Hessian-vector product along a random direction; None if nothing is differentiable."""
    args, kwargs = cast_floating(call.args, dtype), cast_floating(call.kwargs, dtype)
    is_layer = isinstance(call.layer, keras.layers.Layer)
    weights = [tf.cast(variable.value, dtype) for variable in call.layer.trainable_variables] if is_layer else []
    state = [variable.value for variable in call.layer.non_trainable_variables] if is_layer else []
    leaves = tf.nest.flatten((args, kwargs))
    floating = [index for index, leaf in enumerate(leaves) if tf.is_tensor(leaf) and leaf.dtype.is_floating]
    values = [*(leaves[index] for index in floating), *weights]
    if not values:
        return None

    def outputs(values):
        given = dict(zip(floating, values, strict=False))
        new_leaves = [given.get(index, leaf) for index, leaf in enumerate(leaves)]
        new_args, new_kwargs = tf.nest.pack_sequence_as((args, kwargs), new_leaves)
        if is_layer:
            result, _ = call.layer.stateless_call(list(values[len(floating) :]), state, *new_args, **new_kwargs)
        else:
            result = call.layer.call(*new_args, **new_kwargs)
        return [leaf for leaf in tf.nest.flatten(result) if tf.is_tensor(leaf) and leaf.dtype.is_floating]

    generator = tf.random.Generator.from_seed(seed)
    # Moves values off kinks, at which real inputs often are, such as ties of zeros under a max-pooling.
    values = [value + _JITTER * generator.normal(value.shape, dtype=value.dtype) for value in values]
    projections = [generator.normal(output.shape, dtype=output.dtype) for output in outputs(values)]
    directions = [generator.normal(value.shape, dtype=value.dtype) for value in values]

    def gradient(values):
        with tf.GradientTape() as tape:
            tape.watch(values)
            # The square makes the gradient that enters the layer from above depend on the values as well.
            pairs = zip(projections, outputs(values), strict=True)
            scalar = tf.add_n([tf.reduce_sum(tf.cast((p + output) ** 2, dtype)) for p, output in pairs])
        return _zeros_for_none(tape.gradient(scalar, values), values)

    with tf.GradientTape() as tape:
        tape.watch(values)
        first = gradient(values)
        along = tf.add_n([tf.reduce_sum(g * d) for g, d in zip(first, directions, strict=True)])
    exact = _zeros_for_none(tape.gradient(along, values), values)
    ahead = gradient([v + precision.epsilon * d for v, d in zip(values, directions, strict=True)])
    behind = gradient([v - precision.epsilon * d for v, d in zip(values, directions, strict=True)])
    differences = [(a - b) / (2 * precision.epsilon) for a, b in zip(ahead, behind, strict=True)]
    error = _norm([e - d for e, d in zip(exact, differences, strict=True)])
    scale = np.maximum(_norm(exact), _norm(differences))  # Unlike max, it returns NaN if one of them is NaN.
    # Written so that NaN is an error and not zero curvature.
    return 0.0 if scale <= precision.floor * _norm(first) else error / scale


def _zeros_for_none(gradients: list[Any], values: list[tf.Tensor]) -> list[tf.Tensor]:
    pairs = zip(gradients, values, strict=True)
    return [tf.zeros_like(value) if g is None else tf.convert_to_tensor(g) for g, value in pairs]


def _norm(tensors: list[tf.Tensor]) -> float:
    return float(tf.sqrt(tf.add_n([tf.reduce_sum(tf.cast(tensor, tf.float64) ** 2) for tensor in tensors])))
