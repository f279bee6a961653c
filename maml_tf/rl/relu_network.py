"""A network of two hidden layers of ReLU units, and its derivatives written out as few large matrix products.

Arrays lie as [units, steps], in which products with few rows, an action's or an observation's, are fast too. Biases
are the last rows of kernels, for a last row of ones in their inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

# Up to so many pairs of an input and an output `FoldedReluNetwork` is worth what it computes beforehand.
_MOST_FOLDED = 12


class Weights(NamedTuple):
    """The network's parameters, or a change of them.

    Attributes:
        first: Of the first hidden layer, [inputs + 1, units].
        second: Of the second one, [units + 1, units].
        head: Of the output layer, [units + 1, outputs].
    """

    first: tf.Tensor
    second: tf.Tensor
    head: tf.Tensor


# The change of the outputs [outputs, steps] -> the change of a loss' gradient in them, and a nest to hand on.
Curve = Callable[[tf.Tensor], tuple[tf.Tensor, Any]]


class ReluNetwork:
    """The network at its weights, on its inputs.

    Args:
        weights: The weights.
        inputs: [steps, inputs].

    Attributes:
        outputs: [outputs, steps].
    """

    def __init__(self, weights: Weights, inputs: tf.Tensor):
        self._inputs = _with_ones(tf.transpose(inputs))
        first = _product(weights.first, self._inputs)
        self._hidden = _with_ones(tf.nn.relu(first))
        second = _product(weights.second, self._hidden)
        self._last = _with_ones(tf.nn.relu(second))
        self.outputs = _product(weights.head, self._last)
        # Their derivative at 0 is 0, as TensorFlow's.
        self._gates = tf.cast(first > 0, first.dtype), tf.cast(second > 0, first.dtype)
        self._second, self._head = weights.second[:-1], weights.head[:-1]

    def push(self, change: Weights) -> tf.Tensor:
        """Computes the change of the outputs that a change of the weights makes, to first order.

        Args:
            change: Of the weights.

        Returns:
            [outputs, steps].
        """
        return self._forward(change)[-1]

    def pull(self, cotangent: tf.Tensor) -> Weights:
        """Computes the gradient in the weights from a gradient in the outputs.

        Args:
            cotangent: [outputs, steps].

        Returns:
            The gradient.
        """
        second = self._gates[1] * tf.matmul(self._head, cotangent)
        first = self._gates[0] * tf.matmul(self._second, second)
        return Weights(_outer(self._inputs, first), _outer(self._hidden, second), _outer(self._last, cotangent))

    def hessian(self, cotangent: tf.Tensor) -> Callable[[Weights, Curve], tuple[Weights, Any]]:
        """Makes products with the Hessian, in the weights, of a loss of the outputs.

        It is `J' C J + sum_n d_n nabla^2 y_n`, with C the loss' Hessian in the outputs y and d its gradient in them.

        Args:
            cotangent: d, [outputs, steps].

        Returns:
            A function of a change of the weights and of what multiplies by C, which returns the product and what C's
            handed on.
        """
        second_error = self._gates[1] * tf.matmul(self._head, cotangent)

        def product(change: Weights, curve: Curve) -> tuple[Weights, Any]:
            first, second, outputs = self._forward(change)
            curved, handed_on = curve(outputs)
            # Both terms in one product with few rows.
            error = tf.matmul(tf.concat([self._head, change.head[:-1]], axis=1), tf.concat([curved, cotangent], axis=0))
            error = self._gates[1] * error
            below = tf.matmul(self._second, error) + tf.matmul(change.second[:-1], second_error)
            return Weights(
                _outer(self._inputs, self._gates[0] * below),
                _outer(self._hidden, error) + _without_bias(_outer(first, second_error)),
                _outer(self._last, curved) + _without_bias(_outer(second, cotangent)),
            ), handed_on

        return product

    def _forward(self, change: Weights) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        first = self._gates[0] * _product(change.first, self._inputs)
        second = self._gates[1] * (_product(change.second, self._hidden) + _product(self._second, first))
        return first, second, _product(change.head, self._last) + _product(self._head, second)

    def _back_to_second(self, change: Weights, curved: tf.Tensor, cotangent: tf.Tensor) -> tf.Tensor:
        """Returns the change of the second hidden layer's errors: both terms in one product with few rows."""
        kernels = tf.concat([self._head, change.head[:-1]], axis=1)
        return self._gates[1] * tf.matmul(kernels, tf.concat([curved, cotangent], axis=0))


class FoldedReluNetwork(ReluNetwork):
    """The same for few inputs and outputs: what a change of the first layer does is folded into arrays beforehand.

    The outputs' derivative in the first hidden layer, [units, steps] for each output, spares products with the
    second layer's kernel. The second derivative is linear in each layer's change, so the sum over the steps is
    taken once, for each pair of an input and an output.

    Args:
        weights: The weights.
        inputs: [steps, inputs].
    """

    def __init__(self, weights: Weights, inputs: tf.Tensor):
        super().__init__(weights, inputs)
        self._count = self._head.shape[1]
        # [units, outputs * steps]
        self._folded = tf.concat(
            [
                self._gates[0] * tf.matmul(self._second, self._gates[1] * self._head[:, number : number + 1])
                for number in range(self._count)
            ],
            axis=1,
        )
        self._repeated_inputs = tf.tile(self._inputs, [1, self._count])

    def pull(self, cotangent: tf.Tensor) -> Weights:
        second = self._gates[1] * tf.matmul(self._head, cotangent)
        return Weights(self._pulled_to_first(cotangent), _outer(self._hidden, second), _outer(self._last, cotangent))

    def hessian(self, cotangent: tf.Tensor) -> Callable[[Weights, Curve], tuple[Weights, Any]]:
        inputs, units, count = self._inputs.shape[0], self._head.shape[0], self._count
        active = tf.reshape(self._inputs[:, tf.newaxis] * self._gates[0], [inputs * units, -1])
        errors = tf.reshape(cotangent[:, tf.newaxis] * self._gates[1], [count * units, -1])
        # The second derivative in the kernels of all three layers: [inputs, units, outputs, units].
        paths = tf.reshape(_outer(active, errors), [inputs, units, count, units])
        first_second = tf.einsum("ijak,ka->ijk", paths, self._head)
        first_head = tf.reshape(paths * self._second[:, tf.newaxis], [inputs * units, count * units])

        def product(change: Weights, curve: Curve) -> tuple[Weights, Any]:
            _, second, outputs = self._forward(change)
            curved, handed_on = curve(outputs)
            error = self._back_to_second(change, curved, cotangent)
            head = tf.reshape(tf.transpose(change.head[:-1]), [-1, 1])
            from_second = tf.reduce_sum(first_second * change.second[:-1], axis=2)
            from_head = tf.reshape(tf.matmul(first_head, head), [inputs, units])
            from_first = _product(first_head, tf.reshape(change.first, [-1, 1]))
            return Weights(
                self._pulled_to_first(curved) + from_second + from_head,
                _outer(self._hidden, error)
                + _without_bias(tf.reduce_sum(first_second * change.first[:, :, tf.newaxis], axis=0)),
                _outer(self._last, curved)
                + _without_bias(_outer(second, cotangent) + tf.transpose(tf.reshape(from_first, [count, units]))),
            ), handed_on

        return product

    def _forward(self, change: Weights) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns no change of the first hidden layer, and that of the second without what comes from the first."""
        second = self._gates[1] * _product(change.second, self._hidden)
        by_input = tf.matmul(change.first, self._folded) * self._repeated_inputs
        from_first = tf.reshape(tf.reduce_sum(by_input, axis=0), [self._count, -1])
        return (), second, from_first + _product(change.head, self._last) + _product(self._head, second)

    def _pulled_to_first(self, cotangent: tf.Tensor) -> tf.Tensor:
        return _outer(self._repeated_inputs * tf.reshape(cotangent, [1, -1]), self._folded)


def relu_network(weights: Weights, inputs: tf.Tensor) -> ReluNetwork:
    """Computes the network in the form whose derivatives are the faster.

    Args:
        weights: The weights.
        inputs: [steps, inputs].

    Returns:
        A `FoldedReluNetwork` where inputs and outputs are few, otherwise a `ReluNetwork`.
    """
    few = weights.first.shape[0] * weights.head.shape[1] <= _MOST_FOLDED
    return FoldedReluNetwork(weights, inputs) if few else ReluNetwork(weights, inputs)


def _with_ones(rows: tf.Tensor) -> tf.Tensor:
    return tf.concat([rows, tf.ones_like(rows[:1])], axis=0)


def _without_bias(kernel: tf.Tensor) -> tf.Tensor:
    return tf.pad(kernel, [[0, 1], [0, 0]])


def _product(kernel: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    return tf.matmul(kernel, values, transpose_a=True)


def _outer(inputs: tf.Tensor, errors: tf.Tensor) -> tf.Tensor:
    """Sums the products of inputs and errors over the steps."""
    return tf.matmul(inputs, errors, transpose_b=True)
