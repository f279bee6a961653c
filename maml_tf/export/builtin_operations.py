"""Rewrites a traced function with only the operations that are built into TensorFlow Lite's interpreter.

Gradients trace to operations that the interpreter lacks, such as `Conv2DBackpropFilter`. `rewrite` emits a function's
operations one by one, and replaces each missing one by others that compute the same value. Shapes are known, so what
depends only on shapes is computed here. Double precision becomes single precision.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

# Constants with more numbers, larger than shapes and indices, are not computed here: they would make the file larger.
_FOLDED_NUMBERS = 1024
_CONTROL_FLOW = (
    "Case", "If", "PartitionedCall", "StatefulPartitionedCall", "StatelessCase", "StatelessIf", "StatelessWhile",
    "While",
)  # fmt: skip
_DTYPES = (tf.bool, tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.float32, tf.float64)
# Klambauer et al., Self-Normalizing Neural Networks, 2017.
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805
# Their outputs are not needed: wrong calls are reported in another way.
_SKIPPED = ("Assert", "NoOp", "CheckNumerics")

_OF_SHAPES = {
    "Shape": tuple,
    "ShapeN": tuple,
    "Size": lambda shape: shape.num_elements(),
    "Rank": lambda shape: shape.rank,
}

Values = list[tf.Tensor]


class Unsupported(ValueError):
    """An operation that the interpreter does not have, and that nothing here replaces.

    Attributes:
        operation: The traced operation; its name begins with the name of its layer.
    """

    def __init__(self, operation: tf.Operation, what: str):
        super().__init__(f"{operation.type}: {what}")
        self.operation = operation


_replacements: dict[str, Callable[..., Any]] = {}


def replaces(*types: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers the decorated function of an operation and its inputs, which emits the replacement of these types."""

    def register(function):
        _replacements.update(dict.fromkeys(types, function))
        return function

    return register


def rewrite(function: Any, arguments: Sequence[tf.Tensor]) -> Values:
    """Emits a function's operations into the graph that is being built.

    Args:
        function: A concrete `tf.function` with static shapes, except for the first axis. The values of its variables
            become constants.
        arguments: A tensor for each argument, in order.

    Returns:
        The flat outputs.

    Raises:
        Unsupported: If an operation cannot be emitted.
    """
    captured = function.captured_inputs
    inputs = function.inputs
    values = {
        tensor.ref(): _single(value)
        for tensor, value in zip(inputs[: len(inputs) - len(captured)], arguments, strict=True)
    }
    values |= {
        tensor.ref(): value for tensor, value in zip(inputs[len(inputs) - len(captured) :], captured, strict=True)
    }
    for operation in _needed(function):
        if operation.type == "Placeholder" or operation.type in _SKIPPED:
            continue
        given = [values[tensor.ref()] for tensor in operation.inputs]
        with tf.name_scope(_layer_scope(operation)):
            made = _emit(operation, given)
        for tensor, value in zip(operation.outputs, made, strict=True):
            values[tensor.ref()] = value
    return [values[tensor.ref()] for tensor in function.outputs]


def _needed(function: Any) -> list[tf.Operation]:
    """Returns the operations that the outputs depend on, in the order of the graph."""
    needed, waiting = set(), [tensor.op for tensor in function.outputs]
    while waiting:
        operation = waiting.pop()
        if operation not in needed:
            needed.add(operation)
            waiting.extend(tensor.op for tensor in operation.inputs)
    return [operation for operation in function.graph.get_operations() if operation in needed]


def _layer_scope(operation: tf.Operation) -> str:
    return operation.name.rpartition("/")[0] + "/" if "/" in operation.name else ""


def _emit(operation: tf.Operation, given: Values) -> Values:
    if operation.type == "ReadVariableOp":
        with tf.init_scope():
            value = tf.raw_ops.ReadVariableOp(resource=given[0], dtype=operation.outputs[0].dtype).numpy()
        return [tf.constant(_single_array(value))]
    if operation.type == "Const":
        return [tf.constant(_single_array(tf.make_ndarray(operation.get_attr("value"))))]
    if operation.type in ("Identity", "StopGradient", "PreventGradient", "Snapshot"):
        return given
    if operation.type == "IdentityN":
        return given
    if operation.type in _CONTROL_FLOW or not hasattr(tf.raw_ops, operation.type):
        raise Unsupported(operation, "control flow inside a layer, such as a recurrent layer")
    if any(tensor.dtype not in _DTYPES for tensor in operation.outputs):
        dtypes = sorted({tensor.dtype.name for tensor in operation.outputs})
        raise Unsupported(operation, f"values of {', '.join(dtypes)}")
    folded = _folded(operation, given)
    if folded is not None:
        return folded
    if operation.type in _replacements:
        made = _replacements[operation.type](operation, *given)
    else:
        made = _raw(operation, given)
    made = list(made) if isinstance(made, (list, tuple)) else [made]
    for tensor, known in zip(made, operation.outputs, strict=False):
        if tensor is not None:
            tensor.set_shape(known.shape)
    return made + [None] * (len(operation.outputs) - len(made))


def _folded(operation: tf.Operation, given: Values) -> Values | None:
    """Computes an operation that depends only on shapes and constants, or returns None."""
    dtype = operation.outputs[0].dtype
    if operation.type in _OF_SHAPES and all(value.shape.is_fully_defined() for value in given):
        return [tf.constant(_OF_SHAPES[operation.type](value.shape), dtype) for value in given]
    sizes = [tensor.shape.num_elements() for tensor in operation.outputs]
    if not given or any(size is not None and size > _FOLDED_NUMBERS for size in sizes):
        return None
    known = [tf.get_static_value(value) for value in given]
    if any(value is None for value in known):
        return None
    with tf.init_scope():
        computed = [value.numpy() for value in _raw(operation, [tf.constant(value) for value in known])]
    if any(value.size > _FOLDED_NUMBERS for value in computed):
        return None
    return [tf.constant(_single_array(value)) for value in computed]


def _raw(operation: tf.Operation, given: Values) -> Values:
    """Emits an operation of the same type."""
    kind = getattr(tf.raw_ops, operation.type)
    names = list(inspect.signature(kind).parameters)
    arguments, position = {}, 0
    for place, argument in enumerate(operation.op_def.input_arg):
        # Some arguments have another name in Python, such as a reduction's axis.
        name = argument.name if argument.name in names else names[place]
        if argument.number_attr or argument.type_list_attr:
            size = operation.get_attr(argument.number_attr or argument.type_list_attr)
            size = size if isinstance(size, int) else len(size)
            arguments[name] = given[position : position + size]
        else:
            size, arguments[name] = 1, given[position]
        position += size
    for attribute in operation.op_def.attr:
        if attribute.name in names and attribute.name not in arguments:
            arguments[attribute.name] = _single_attribute(operation.get_attr(attribute.name))
    made = kind(**arguments)
    if hasattr(made, "_fields"):
        return list(made)
    return list(made) if isinstance(made, (list, tuple)) else [made]


def _single(tensor: tf.Tensor) -> tf.Tensor:
    return tf.cast(tensor, tf.float32) if tensor.dtype == tf.float64 else tensor


def _single_array(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float32) if value.dtype == np.float64 else value


def _single_attribute(value: Any) -> Any:
    return tf.float32 if value == tf.float64 and isinstance(value, tf.DType) else value


@replaces("ReluGrad")
def _relu_grad(operation, gradient, features):
    return tf.where(features > 0, gradient, tf.zeros_like(gradient))


@replaces("Relu6Grad")
def _relu6_grad(operation, gradient, features):
    return tf.where((features > 0) & (features < 6), gradient, tf.zeros_like(gradient))


@replaces("LeakyReluGrad")
def _leaky_relu_grad(operation, gradient, features):
    return tf.where(features > 0, gradient, gradient * operation.get_attr("alpha"))


@replaces("EluGrad")
def _elu_grad(operation, gradient, outputs):
    return tf.where(outputs < 0, gradient * (outputs + 1), gradient)


@replaces("Selu")
def _selu(operation, features):
    return _SELU_SCALE * tf.where(features < 0, _SELU_ALPHA * (tf.exp(features) - 1), features)


@replaces("SeluGrad")
def _selu_grad(operation, gradient, outputs):
    return tf.where(outputs < 0, gradient * (outputs + _SELU_SCALE * _SELU_ALPHA), gradient * _SELU_SCALE)


@replaces("SoftplusGrad")
def _softplus_grad(operation, gradient, features):
    return gradient * tf.sigmoid(features)


@replaces("TanhGrad")
def _tanh_grad(operation, outputs, gradient):
    return gradient * (1 - outputs * outputs)


@replaces("SigmoidGrad")
def _sigmoid_grad(operation, outputs, gradient):
    return gradient * outputs * (1 - outputs)


@replaces("RsqrtGrad")
def _rsqrt_grad(operation, outputs, gradient):
    return -0.5 * gradient * outputs * outputs * outputs


@replaces("SqrtGrad")
def _sqrt_grad(operation, outputs, gradient):
    return 0.5 * gradient / outputs


@replaces("ReciprocalGrad", "InvGrad")
def _reciprocal_grad(operation, outputs, gradient):
    return -gradient * outputs * outputs


@replaces("Relu", "Relu6")
def _relu(operation, features):
    if operation.inputs[0].op.type not in ("BiasAdd", "MatMul"):
        return _raw(operation, [features])
    # The converter fuses a product of two variables and a following ReLU into one operation, and then loses the ReLU.
    least = tf.where(features > 0, features, tf.zeros_like(features))
    return tf.where(least < 6, least, 6 * tf.ones_like(least)) if operation.type == "Relu6" else least


@replaces("BiasAddGrad")
def _bias_add_grad(operation, gradient):
    return tf.reduce_sum(gradient, axis=list(range(gradient.shape.rank - 1)))


@replaces("Softplus")
def _softplus(operation, features):
    return tf.maximum(features, 0) + tf.math.log(1 + tf.exp(-tf.abs(features)))


@replaces("Erfc")
def _erfc(operation, x):
    raise Unsupported(operation, "the error function; use GELU with approximate=True")


@replaces("Log1p")
def _log1p(operation, x):
    return tf.math.log(1 + x)


@replaces("Expm1")
def _expm1(operation, x):
    return tf.exp(x) - 1


@replaces("IsNan")
def _is_nan(operation, x):
    # The converter replaces x != x by false, and TensorFlow's optimizer replaces not (x <= y) by x > y.
    return tf.where(x <= tf.constant(float("inf"), x.dtype), 0.0, 1.0) > 0.5


@replaces("IsFinite")
def _is_finite(operation, x):
    # Every comparison with NaN is false.
    return tf.abs(x) <= x.dtype.max


@replaces("DivNoNan")
def _div_no_nan(operation, x, y):
    zero = tf.equal(y, 0)
    return tf.where(zero, tf.zeros_like(x), x / tf.where(zero, tf.ones_like(y), y))


@replaces("Equal", "NotEqual")
def _equal(operation, x, y):
    compare = tf.equal if operation.type == "Equal" else tf.not_equal
    if x.dtype in (tf.bool, tf.int8):
        x, y = tf.cast(x, tf.int32), tf.cast(y, tf.int32)
    return compare(x, y)


@replaces("SparseSoftmaxCrossEntropyWithLogits")
def _sparse_cross_entropy(operation, logits, labels):
    return _cross_entropy(operation, logits, tf.one_hot(labels, logits.shape[-1], dtype=logits.dtype))


@replaces("SoftmaxCrossEntropyWithLogits")
def _cross_entropy(operation, logits, labels):
    shifted = logits - tf.reduce_max(logits, axis=-1, keepdims=True)
    exponentials = tf.exp(shifted)
    total = tf.reduce_sum(exponentials, axis=-1, keepdims=True)
    loss = tf.reduce_sum(labels * (tf.math.log(total) - shifted), axis=-1)
    return loss, exponentials / total - labels


@replaces("Conv2DBackpropFilter")
def _conv_filter_grad(operation, images, sizes, gradient):
    """Computes the filter's gradient as a convolution of the images, channels as examples, with the outputs' gradient.

    `dW[i, j, c, f] = sum_{n, p, q} x[n, s p + i, s q + j, c] dy[n, p, q, f]`, where the stride s dilates dy.
    """
    height, width, channels, _ = operation.outputs[0].shape
    _, rows, columns, _ = operation.get_attr("strides")
    padding = operation.get_attr("padding").decode()
    if operation.get_attr("data_format") != b"NHWC" or list(operation.get_attr("dilations")) != [1, 1, 1, 1]:
        raise Unsupported(operation, "dilations, or channels first")
    if channels != images.shape[3]:
        raise Unsupported(operation, "groups of channels")
    if padding == "EXPLICIT":
        raise Unsupported(operation, "explicit padding")
    pads = [
        _pads(size, kernel, stride, padding)
        for size, kernel, stride in ((images.shape[1], height, rows), (images.shape[2], width, columns))
    ]
    images = tf.pad(images, [[0, 0], *pads, [0, 0]])
    sums = tf.nn.conv2d(
        tf.transpose(images, [3, 1, 2, 0]),
        tf.transpose(gradient, [1, 2, 0, 3]),
        strides=1, padding="VALID", dilations=[rows, columns],
    )  # fmt: skip
    return tf.transpose(sums[:, :height, :width, :], [1, 2, 0, 3])


def _pads(size: int, kernel: int, stride: int, padding: str) -> list[int]:
    """Returns the numbers of zeros to pad before and after an axis."""
    if padding == "VALID":
        return [0, 0]
    missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return [missing // 2, missing - missing // 2]


@replaces("MaxPoolGrad")
def _max_pool_grad(operation, images, outputs, gradient):
    """Gives the gradient to the first of a window's largest values."""
    window = _window(operation)
    left, parts = tf.ones_like(outputs), []
    for value in _corners(images, window, outputs.shape):
        mine = left * tf.cast(tf.equal(value, outputs), left.dtype)
        left -= mine
        parts.append(mine * gradient)
    return _interleaved(parts, window, images.shape)


@replaces("AvgPoolGrad")
def _avg_pool_grad(operation, shape, gradient):
    window = _window(operation)
    part = gradient / (window[0] * window[1])
    return _interleaved([part] * (window[0] * window[1]), window, operation.outputs[0].shape)


def _window(operation: tf.Operation) -> tuple[int, int]:
    size, strides = operation.get_attr("ksize"), operation.get_attr("strides")
    if list(size) != list(strides) or operation.get_attr("padding") != b"VALID":
        raise Unsupported(operation, "windows that overlap or are padded")
    return size[1], size[2]


def _corners(images: tf.Tensor, window: tuple[int, int], shape: tf.TensorShape) -> Values:
    """Returns the values at each place in the windows, each of the outputs' shape."""
    height, width = shape[1] * window[0], shape[2] * window[1]
    return [
        images[:, i : height : window[0], j : width : window[1], :] for i in range(window[0]) for j in range(window[1])
    ]


def _interleaved(parts: Values, window: tuple[int, int], shape: tf.TensorShape) -> tf.Tensor:
    """Joins the values that `_corners` returns to images, with zeros outside of the windows."""
    examples, height, width, channels = shape
    rows, columns = height // window[0], width // window[1]
    lines = []
    for i in range(window[0]):
        line = tf.stack(parts[i * window[1] : (i + 1) * window[1]], axis=3)
        lines.append(tf.reshape(line, [examples, rows, columns * window[1], channels]))
    whole = tf.reshape(tf.stack(lines, axis=2), [examples, rows * window[0], columns * window[1], channels])
    return tf.pad(whole, [[0, 0], [0, height - rows * window[0]], [0, width - columns * window[1]], [0, 0]])
