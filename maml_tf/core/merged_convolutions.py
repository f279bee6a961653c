"""Convolutions of all tasks at once, with filters for each task.

A convolution is a product of windows and filters, `y[n] = W(x)[n] k`. With filters for each task it is one batched
matrix product, and so are its derivatives, `W(x)^T dy` and `W^T(dy k^T)`. Their derivatives are of the same three
kinds again, so that three converters serve every order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.python.ops.parallel_for import pfor

_Size = int | tf.Tensor


class _Geometry(NamedTuple):
    """Where a convolution's windows are on its images; each attribute has one item for each spatial axis.

    Attributes:
        kernel: Number of positions in a window.
        strides: Distance between windows.
        dilations: Distance between positions in a window.
        before: Number of zeros padded before the image.
        sizes: Size of the image.
        windows: Number of windows.
        cells: Size of the padded image, in units of the strides, rounded up.
    """

    kernel: Sequence[int]
    strides: Sequence[int]
    dilations: Sequence[int]
    before: Sequence[_Size]
    sizes: Sequence[_Size]
    windows: Sequence[_Size]
    cells: Sequence[_Size]

    @classmethod
    def of(cls, operation: tf.Operation, sizes: Sequence[_Size], kernel: Sequence[int]) -> _Geometry:
        """Reads a convolution's attributes."""
        axes = [axis + (2 if _is_channels_first(operation) else 1) for axis in range(len(kernel))]
        strides, dilations = ([operation.get_attr(name)[axis] for axis in axes] for name in ("strides", "dilations"))
        extents = [(width - 1) * dilation + 1 for width, dilation in zip(kernel, dilations, strict=True)]
        padding = operation.get_attr("padding")
        if padding == b"SAME":
            totals = [
                _at_least_zero((-(-size // stride) - 1) * stride + extent - size)
                for size, stride, extent in zip(sizes, strides, extents, strict=True)
            ]
            around = [(total // 2, total - total // 2) for total in totals]
        elif padding == b"EXPLICIT":
            given = operation.get_attr("explicit_paddings")
            around = [tuple(given[2 * axis : 2 * axis + 2]) for axis in axes]
        else:
            around = [(0, 0)] * len(axes)
        padded = [size + sum(pair) for size, pair in zip(sizes, around, strict=True)]
        windows = [(size - extent) // stride + 1 for size, extent, stride in zip(padded, extents, strides, strict=True)]
        cells = [-(-size // stride) for size, stride in zip(padded, strides, strict=True)]
        return cls(kernel, strides, dilations, [before for before, _ in around], sizes, windows, cells)

    def columns(self, images: tf.Tensor) -> tf.Tensor:
        """Extracts the windows: [examples, *sizes, channels] to [examples, *windows, positions * channels]."""
        after = [
            cells * stride - size - before
            for cells, stride, size, before in zip(self.cells, self.strides, self.sizes, self.before, strict=True)
        ]
        images = tf.pad(images, [(0, 0), *zip(self.before, after, strict=True), (0, 0)])
        lattices = self._lattices(images)
        parts = [lattices[number][self._slices(first)] for number, first in self._positions()]
        return tf.concat(parts, axis=-1) if len(parts) > 1 else parts[0]

    def images(self, columns: tf.Tensor) -> tf.Tensor:
        """Adds up windows at their places in the images, the transpose of `columns`."""
        positions = list(self._positions())
        lattices: dict[int, tf.Tensor] = {}
        for part, (number, first) in zip(tf.split(columns, len(positions), axis=-1), positions, strict=True):
            after = [
                cells - each - windows for cells, each, windows in zip(self.cells, first, self.windows, strict=True)
            ]
            part = tf.pad(part, [(0, 0), *zip(first, after, strict=True), (0, 0)])
            lattices[number] = lattices[number] + part if number in lattices else part
        nothing = tf.zeros_like(part)
        images = self._images([lattices.get(number, nothing) for number in range(math.prod(self.strides))])
        inside = [slice(before, before + size) for before, size in zip(self.before, self.sizes, strict=True)]
        return images[(slice(None), *inside, slice(None))]

    def _positions(self) -> Iterator[tuple[int, list[int]]]:
        """Yields for each position in a window its lattice, the same for all windows, and its index in the first."""
        for position in itertools.product(*(range(width) for width in self.kernel)):
            lattice, first = 0, []
            for index, dilation, stride in zip(position, self.dilations, self.strides, strict=True):
                lattice = lattice * stride + index * dilation % stride
                first.append(index * dilation // stride)
            yield lattice, first

    def _slices(self, first: Sequence[int]) -> tuple[slice, ...]:
        inner = [slice(each, each + windows) for each, windows in zip(first, self.windows, strict=True)]
        return (slice(None), *inner, slice(None))

    # Slices with strides are slow: images are split once, into lattices of every stride-th position.

    def _lattices(self, images: tf.Tensor) -> list[tf.Tensor]:
        """Splits [examples, *(cells * strides), channels] into lattices [examples, *cells, channels]."""
        if math.prod(self.strides) == 1:
            return [images]
        axes = len(self.strides)
        shape = [size for pair in zip(self.cells, self.strides, strict=True) for size in pair]
        images = tf.reshape(images, [-1, *shape, images.shape[-1]])
        images = tf.transpose(images, [*range(2, 2 * axes + 1, 2), 0, *range(1, 2 * axes, 2), 2 * axes + 1])
        return tf.unstack(tf.reshape(images, [math.prod(self.strides), -1, *self.cells, images.shape[-1]]))

    def _images(self, lattices: Sequence[tf.Tensor]) -> tf.Tensor:
        """Joins lattices to images, the inverse of `_lattices`."""
        if len(lattices) == 1:
            return lattices[0]
        axes, channels = len(self.strides), lattices[0].shape[-1]
        images = tf.reshape(tf.stack(lattices), [*self.strides, -1, *self.cells, channels])
        pairs = [axis for pair in zip(range(axes + 1, 2 * axes + 1), range(axes), strict=True) for axis in pair]
        images = tf.transpose(images, [axes, *pairs, 2 * axes + 1])
        sizes = [cells * stride for cells, stride in zip(self.cells, self.strides, strict=True)]
        return tf.reshape(images, [-1, *sizes, channels])


# t: tasks; n: windows of a task; k: positions; g: groups; c, f: a group's channels of the input, of the output.
_FORWARD, _TO_FILTERS, _TO_INPUT = "tnkgc,tkcgf->tngf", "tnkgc,tngf->tkcgf", "tngf,tkcgf->tnkgc"


class _Convolution:
    """What the three operations of a convolution share.

    Args:
        operation: One of the three.
        input_shape: [tasks, batch, *sizes, channels], integers if static.
        filter_shape: [*kernel, channels of a group, filters], integers.
    """

    def __init__(self, operation: tf.Operation, input_shape: Sequence[_Size], filter_shape: Sequence[int]):
        self._shape = input_shape
        self._filter_shape = filter_shape
        self.geometry = _Geometry.of(operation, input_shape[2:-1], filter_shape[:-2])
        *kernel, channels, filters = filter_shape
        groups = input_shape[-1] // channels
        self._letters = dict(t=input_shape[0], n=-1, k=math.prod(kernel), g=groups, c=channels, f=filters // groups)

    def forward(self, images: tf.Tensor, filters: tf.Tensor) -> tf.Tensor:
        result = self._product(_FORWARD, self._columns(images), filters)
        return tf.reshape(result, [*self._shape[:2], *self.geometry.windows, self._filter_shape[-1]])

    def to_filters(self, images: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        result = self._product(_TO_FILTERS, self._columns(images), gradient)
        return tf.reshape(result, [self._shape[0], *self._filter_shape])

    def to_input(self, gradient: tf.Tensor, filters: tf.Tensor) -> tf.Tensor:
        columns = self._product(_TO_INPUT, gradient, filters)
        channels = self._letters["k"] * self._shape[-1]
        columns = tf.reshape(columns, [-1, *self.geometry.windows, channels])
        return tf.reshape(self.geometry.images(columns), self._shape)

    def _columns(self, images: tf.Tensor) -> tf.Tensor:
        # Examples of all tasks on one axis: operations on fewer axes are faster.
        return self.geometry.columns(tf.reshape(images, [-1, *self._shape[2:]]))

    def _product(self, equation: str, left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        if self._letters["g"] == 1:
            equation = equation.replace("g", "")
        operands = [
            tf.reshape(operand, [self._letters[letter] for letter in letters])
            for operand, letters in zip((left, right), equation.split("->")[0].split(","), strict=True)
        ]
        return tf.einsum(equation, *operands)


def _convert_convolution(given: Any) -> Any:
    """Converts Conv2D and Conv3D: (input, filters)."""
    operation = given.op
    if _shares_filters(given, operation.inputs[0], operation.inputs[1]):
        return _stock("Conv2D")(given)
    given.stack_inputs([0, 1])
    images, filters = _channels_last(given.stacked_input(0), operation), given.stacked_input(1)
    convolution = _Convolution(operation, _sizes(images), _known(filters.shape[1:]))
    return _wrapped(convolution.forward(images, filters), operation)


def _convert_to_input(given: Any) -> Any:
    """Converts the derivative of a convolution with respect to its input: (input's shape, filters, gradient)."""
    operation = given.op
    given.stack_inputs([2])
    if _shares_filters(given, operation.outputs[0], operation.inputs[1]):
        return _stock("Conv2DBackpropInput")(given)
    given.stack_inputs([1])
    filters, gradient = given.stacked_input(1), _channels_last(given.stacked_input(2), operation)
    dynamic = given.unstacked_input(0)
    shape = [dynamic[axis] if size is None else size for axis, size in enumerate(operation.outputs[0].shape)]
    if _is_channels_first(operation):
        shape = [shape[0], *shape[2:], shape[1]]
    convolution = _Convolution(operation, [_sizes(gradient)[0], *shape], _known(filters.shape[1:]))
    return _wrapped(convolution.to_input(gradient, filters), operation)


def _convert_to_filters(given: Any) -> Any:
    """Converts the derivative of a convolution with respect to its filters: (input, filters' shape, gradient)."""
    operation = given.op
    given.stack_inputs([0, 2])
    images, gradient = (_channels_last(given.stacked_input(number), operation) for number in (0, 2))
    shape = _known(operation.outputs[0].shape)
    return pfor.wrap(_Convolution(operation, _sizes(images), shape).to_filters(images, gradient), True)


def _convert_depthwise(given: Any) -> Any:
    """Converts DepthwiseConv2dNative: with filters for each task, tasks become channels; else they become examples."""
    if not given.input(1).is_stacked:
        return _stock("Conv2D")(given)
    given.stack_inputs([0])
    return _stock("DepthwiseConv2dNative")(given)


def _convert_depthwise_to_input(given: Any) -> Any:
    given.stack_inputs([2])
    if not given.input(1).is_stacked:
        return _stock("Conv2DBackpropInput")(given)
    return _stock("DepthwiseConv2dNativeBackpropInput")(given)


def _convert_depthwise_to_filters(given: Any) -> Any:
    given.stack_inputs([0, 2])
    return _stock("DepthwiseConv2dNativeBackpropFilter")(given)


CONVERTERS = {
    "Conv2D": _convert_convolution,
    "Conv2DBackpropInput": _convert_to_input,
    "Conv2DBackpropFilter": _convert_to_filters,
    "Conv3D": _convert_convolution,
    "Conv3DBackpropInputV2": _convert_to_input,
    "Conv3DBackpropFilterV2": _convert_to_filters,
    "DepthwiseConv2dNative": _convert_depthwise,
    "DepthwiseConv2dNativeBackpropInput": _convert_depthwise_to_input,
    "DepthwiseConv2dNativeBackpropFilter": _convert_depthwise_to_filters,
}


def _stock(kind: str) -> Callable[[Any], Any]:
    return pfor._pfor_converter_registry[kind]


def _shares_filters(given: Any, images: tf.Tensor, filters: tf.Tensor) -> bool:
    """Returns whether all tasks share filters, so that they can become examples; false for grouped convolutions.

    On a CPU, TensorFlow lacks some kernels of grouped convolutions.
    """
    channels = images.shape[1 if _is_channels_first(given.op) else -1]
    return not given.input(1).is_stacked and channels == filters.shape[-2]


def _is_channels_first(operation: tf.Operation) -> bool:
    return operation.get_attr("data_format").startswith(b"NC")


def _channels_last(tensor: tf.Tensor, operation: tf.Operation) -> tf.Tensor:
    if not _is_channels_first(operation):
        return tensor
    return tf.transpose(tensor, [0, 1, *range(3, tensor.shape.rank), 2])


def _wrapped(tensor: tf.Tensor, operation: tf.Operation) -> Any:
    """Wraps images [tasks, batch, *sizes, channels] as an operation's result."""
    if _is_channels_first(operation):
        last = tensor.shape.rank - 1
        tensor = tf.transpose(tensor, [0, 1, last, *range(2, last)])
    return pfor.wrap(tensor, True)


def _known(shape: tf.TensorShape) -> list[int]:
    if not shape.is_fully_defined():
        raise pfor.ConversionNotImplementedError(f"Expected filters of a known shape. Received: {shape}")
    return shape.as_list()


def _sizes(tensor: tf.Tensor) -> list[_Size]:
    """Returns a tensor's sizes, as integers if static."""
    dynamic = None if tensor.shape.is_fully_defined() else tf.shape(tensor)
    return [dynamic[axis] if size is None else size for axis, size in enumerate(tensor.shape)]


def _at_least_zero(value: _Size) -> _Size:
    return tf.maximum(value, 0) if tf.is_tensor(value) else max(value, 0)
