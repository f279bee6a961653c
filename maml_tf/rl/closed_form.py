"""The Jacobian of the paper's adapted policy, derived by hand, with half the matrix products.

`maml_tf.core.adaptation.adapt` is the only inner loop that a reader must understand. This module computes the
derivative of that loop in another way, for one network; only the speed of training depends on it. Other networks, and
adaptations of some of the parameters, use automatic differentiation, with the same results up to rounding.

Meta-reinforcement learning spends most of its time in the Fisher-vector products of outer steps, which this speeds up:
docs/speed.md has the measurements.

In `ReluNetwork` activations are [units, steps], the hidden layers' errors [steps, units] and the outputs' errors
[outputs, steps]: the layouts with the fastest matrix products. Biases are the last rows of kernels, whose inputs have a
last row of ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from maml_tf.core.hessian import derivatives
from maml_tf.core.keras_interface import is_layer_graph
from maml_tf.core.update_rules import UpdateRule
from maml_tf.rl.hessian_products import Linearization
from maml_tf.rl.objectives import Experience, PolicyObjective
from maml_tf.rl.policy import Gaussian, GaussianPolicy, PurePolicy

Params = dict[str, tf.Tensor]

# Above this number of (input, output) pairs, the preparation of `FoldedReluNetwork` costs more than it saves.
_MOST_FOLDED = 12


class Weights(NamedTuple):
    """The network's parameters, or a change of them.

    Attributes:
        first: First hidden layer, [inputs + 1, units].
        second: Second hidden layer, [units of the first + 1, units].
        head: Output layer, [units of the second + 1, outputs].
    """

    first: tf.Tensor
    second: tf.Tensor
    head: tf.Tensor


class _Parameters(NamedTuple):
    """A policy's parameters, or a change of them."""

    weights: Weights
    log_std: tf.Tensor


_Product = Callable[[_Parameters], _Parameters]


def has_closed_form(policy: PurePolicy) -> bool:
    """Returns whether `AdaptedReluPolicy` supports a policy.

    It needs a network of dense layers with biases, two hidden ones with ReLU and an output layer, all of one data type.
    Subclasses of the network or the policy are not supported, because they may compute something else.
    """
    network = policy.policy.network
    stock = type(policy.policy) is GaussianPolicy and is_layer_graph(network)
    return stock and len(_dense_layers(network)) == 3


class AdaptedReluPolicy:
    """Linearises a policy's outputs in its initial parameters, through steps of gradient descent on all parameters.

    With `theta_{i+1} = theta_i - alpha g_i(theta_i)` the Jacobian is `J (I - alpha H_k) ... (I - alpha H_0)`, where J
    is the Jacobian of the outputs in the adapted parameters and H_i the Hessian of the i-th inner loss.

    Args:
        policy: A policy for which `has_closed_form` is True.
        objective: The inner loss.
        rule: A rule whose updates are linear in the gradients and do not depend on the parameters, such as
            `maml_tf.SGD`.
        first_order: Whether to leave out the H_i.
    """

    def __init__(self, policy: PurePolicy, objective: PolicyObjective, rule: UpdateRule, first_order: bool = False):
        self._objective, self._rule, self._first_order = objective, rule, first_order
        self._floor = policy.policy.log_std_floor
        names = dict(zip(map(id, policy.policy.trainable_variables), policy.parameters(), strict=True))
        self._log_std = names[id(policy.policy.log_std)]
        self._layers = [
            (names[id(layer.kernel)], names[id(layer.bias)]) for layer in _dense_layers(policy.policy.network)
        ]

    def __call__(self, params: Params, inner: tuple[Experience, ...], observations: tf.Tensor) -> Linearization:
        """Linearises the outputs.

        Args:
            params: The initial parameters.
            inner: The experience of each inner step.
            observations: Inputs of the adapted policy, [steps, observation].

        Returns:
            Outputs, `Gaussian`, and the products with their Jacobian.
        """
        point = self._split(params)
        hessians = []
        for step, batch in enumerate(inner):
            point, hessian = self._step(point, batch, step)
            hessians.append(hessian)
        last = relu_network(point.weights, observations)
        above = self._above_floor(point)

        def push(vector: Params) -> Gaussian:
            change = self._split(vector)
            for step, hessian in enumerate(hessians):
                change = self._moved(change, hessian, step)
            return Gaussian(last.push(change.weights), above * change.log_std)

        def pull(cotangent: Gaussian) -> Params:
            change = _Parameters(last.pull(cotangent.mean), above * cotangent.log_std)
            for step, hessian in reversed(list(enumerate(hessians))):
                change = self._moved(change, hessian, step)
            return self._joined(change)

        return Linearization(self._gaussian(last, point), push, pull)

    def _step(self, point: _Parameters, batch: Experience, step: int) -> tuple[_Parameters, _Product]:
        """Returns the parameters after an inner step, and the products with the Hessian of its loss."""
        network, above = relu_network(point.weights, batch.observations), self._above_floor(point)
        _, cotangent, curve = derivatives(
            lambda gaussian: self._objective(gaussian, batch), self._gaussian(network, point)
        )
        product = network.hessian(cotangent.mean)

        def hessian(change: _Parameters) -> _Parameters:
            def curved(outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                result = curve(Gaussian(outputs, above * change.log_std))
                return result.mean, above * result.log_std

            return _Parameters(*product(change.weights, curved))

        gradient = _Parameters(network.pull(cotangent.mean), above * cotangent.log_std)
        return self._rule(point, gradient, step), hessian

    def _moved(self, change: _Parameters, hessian: _Product, step: int) -> _Parameters:
        return change if self._first_order else self._rule(change, hessian(change), step)

    def _gaussian(self, network: ReluNetwork, point: _Parameters) -> Gaussian:
        return Gaussian(network.outputs, tf.maximum(point.log_std, self._floor))

    def _above_floor(self, point: _Parameters) -> tf.Tensor:
        return tf.cast(point.log_std >= self._floor, point.log_std.dtype)

    def _split(self, params: Params) -> _Parameters:
        weights = (tf.concat([params[kernel], params[bias][tf.newaxis]], 0) for kernel, bias in self._layers)
        return _Parameters(Weights(*weights), params[self._log_std])

    def _joined(self, parameters: _Parameters) -> Params:
        params = {self._log_std: parameters.log_std}
        for (kernel, bias), joined in zip(self._layers, parameters.weights, strict=True):
            params |= {kernel: joined[:-1], bias: joined[-1]}
        return params


def _dense_layers(network: keras.Model) -> list[keras.layers.Dense]:
    """Returns the three dense layers of a network that the closed form supports, or an empty list."""
    layers = [layer for layer in network.layers if not isinstance(layer, keras.layers.InputLayer)]
    dense, activations = layers[::2], layers[1::2]
    follows = all(_is(later.input, earlier.output) for earlier, later in itertools.pairwise(layers))
    if (
        len(layers) == 5
        and follows
        and _is(network.inputs, layers[0].input)
        and _is(network.outputs, layers[-1].output)
        and all(type(layer) is keras.layers.Dense and layer.use_bias and _is_plain(layer) for layer in dense)
        and all(type(layer) is keras.layers.Activation for layer in activations)
        and all(layer.activation is keras.activations.relu for layer in activations)
        and len({(layer.compute_dtype, layer.variable_dtype) for layer in layers}) == 1
    ):
        return dense
    return []


def _is_plain(layer: keras.layers.Dense) -> bool:
    return layer.activation is keras.activations.linear and layer.lora_rank is None and layer.quantization_mode is None


def _is(tensors: Any, tensor: Any) -> bool:
    return all(one is tensor for one in keras.tree.flatten(tensors))


# The change of the outputs [steps, outputs] -> the change of a loss's gradient in the outputs, and any nest to return.
Curve = Callable[[tf.Tensor], tuple[tf.Tensor, Any]]


class ReluNetwork:
    """The network at its weights, on its inputs.

    Args:
        weights: The network's parameters.
        inputs: [steps, inputs].

    Attributes:
        outputs: [steps, outputs].
    """

    def __init__(self, weights: Weights, inputs: tf.Tensor):
        self._inputs = _with_ones(tf.transpose(inputs))
        first = _forward(weights.first, self._inputs)
        self._hidden = _with_ones(tf.nn.relu(first))
        second = _forward(weights.second, self._hidden)
        self._last = _with_ones(tf.nn.relu(second))
        self.outputs = tf.transpose(_forward(weights.head, self._last))
        # ReLU's derivative, 0 at 0 as in TensorFlow: [units, steps], and [steps, units] for errors. Booleans take a
        # quarter of the memory that many products would keep as floats.
        self._gates = first > 0, second > 0
        self._gates_of_errors = tuple(map(tf.transpose, self._gates))
        self._second, self._head = weights.second[:-1], weights.head[:-1]
        self._second_back, self._head_back = tf.transpose(self._second), tf.transpose(self._head)

    def push(self, change: Weights) -> tf.Tensor:
        """Computes the first-order change of the outputs, [steps, outputs], for a change of the weights."""
        return tf.transpose(self._changes(change)[-1])

    def pull(self, cotangent: tf.Tensor) -> Weights:
        """Computes the gradient in the weights from the gradient in the outputs, [steps, outputs]."""
        cotangent = tf.transpose(cotangent)
        error = self._error_from(cotangent, self._head_back)
        first = tf.matmul(self._inputs, _gated(tf.matmul(error, self._second_back), self._gates_of_errors[0]))
        return Weights(first, tf.matmul(self._hidden, error), _to_head(self._last, cotangent))

    def hessian(self, cotangent: tf.Tensor) -> Callable[[Weights, Curve], tuple[Weights, Any]]:
        """Makes products with the Hessian, in the weights, of a loss of the outputs.

        It is `J' C J + sum_n d_n nabla^2 y_n`, with the loss's Hessian C and gradient d in the outputs y.

        Args:
            cotangent: d, [steps, outputs].

        Returns:
            A function of a change of the weights and of a `Curve` that multiplies by C. It returns the product and the
            nest that the `Curve` returned.
        """
        cotangent = tf.transpose(cotangent)
        error_before = self._error_from(cotangent, self._head_back)

        def product(change: Weights, curve: Curve) -> tuple[Weights, Any]:
            first, second, outputs = self._changes(change)
            curved, handed_on = _curved(curve, outputs)
            error = self._change_of_error(change, curved, cotangent)
            below = tf.matmul(error, self._second_back)
            below += tf.matmul(error_before, change.second[:-1], transpose_b=True)
            return Weights(
                tf.matmul(self._inputs, _gated(below, self._gates_of_errors[0])),
                tf.matmul(self._hidden, error) + _without_bias(tf.matmul(first, error_before)),
                _to_head(self._last, curved) + _without_bias(_to_head(second, cotangent)),
            ), handed_on

        return product

    def _changes(self, change: Weights) -> tuple[Any, tf.Tensor, tf.Tensor]:
        """Returns the changes of the hidden layers, [units, steps], and of the outputs, [outputs, steps]."""
        first = _gated(_forward(change.first, self._inputs), self._gates[0])
        second = _forward(change.second, self._hidden) + _forward(self._second, first)
        second = _gated(second, self._gates[1])
        return first, second, _forward(change.head, self._last) + _forward(self._head, second)

    def _error_from(self, of_outputs: tf.Tensor, kernels: tf.Tensor) -> tf.Tensor:
        """Returns the second hidden layer's errors, [steps, units], from [rows, steps] and [rows, units]."""
        return _gated(tf.matmul(of_outputs, kernels, transpose_a=True), self._gates_of_errors[1])

    def _change_of_error(self, change: Weights, curved: tf.Tensor, cotangent: tf.Tensor) -> tf.Tensor:
        """Returns the change of the second hidden layer's errors: both terms in one product with few rows."""
        kernels = tf.concat([self._head_back, tf.transpose(change.head[:-1])], axis=0)
        return self._error_from(tf.concat([curved, cotangent], axis=0), kernels)


class FoldedReluNetwork(ReluNetwork):
    """The same network for few inputs and outputs: the effect of a change of the first layer is precomputed.

    The outputs' derivative in the first hidden layer, [units, steps] for each output, saves products with the second
    layer's kernel. The second derivative is linear in each layer's change, so the sum over the steps is computed once
    for each pair of an input and an output.

    Args:
        weights: The weights.
        inputs: [steps, inputs].
    """

    def __init__(self, weights: Weights, inputs: tf.Tensor):
        super().__init__(weights, inputs)
        self._count = self._head.shape[1]
        heads = tf.split(self._head, self._count, axis=1)
        of_outputs = [tf.matmul(self._second, _gated(head, self._gates[1])) for head in heads]
        # [units, outputs * steps].
        self._folded = tf.concat([_gated(of_output, self._gates[0]) for of_output in of_outputs], axis=1)
        self._repeated_inputs = tf.tile(self._inputs, [1, self._count])

    def pull(self, cotangent: tf.Tensor) -> Weights:
        cotangent = tf.transpose(cotangent)
        error = self._error_from(cotangent, self._head_back)
        return Weights(self._to_first(cotangent), tf.matmul(self._hidden, error), _to_head(self._last, cotangent))

    def hessian(self, cotangent: tf.Tensor) -> Callable[[Weights, Curve], tuple[Weights, Any]]:
        inputs, count = self._inputs.shape[0], self._count
        below, units = self._second.shape
        # The second derivative in the kernels of all three layers: [inputs * units below, outputs * units].
        active = tf.concat([_gated(row, self._gates[0]) for row in tf.unstack(self._inputs)], axis=0)
        errors = [_gated(column, self._gates_of_errors[1]) for column in tf.split(cotangent, count, axis=1)]
        paths = tf.matmul(active, tf.concat(errors, axis=1))
        first_head = paths * tf.tile(self._second, [inputs, count])
        by_output = zip(tf.split(paths, count, axis=1), tf.unstack(self._head_back), strict=True)
        first_second = tf.reshape(tf.add_n([path * head for path, head in by_output]), [inputs, below, units])
        cotangent = tf.transpose(cotangent)

        def product(change: Weights, curve: Curve) -> tuple[Weights, Any]:
            _, second, outputs = self._changes(change)
            curved, handed_on = _curved(curve, outputs)
            error = self._change_of_error(change, curved, cotangent)
            from_second = tf.reduce_sum(first_second * change.second[:-1], axis=2)
            from_head = tf.matmul(first_head, tf.reshape(tf.transpose(change.head[:-1]), [-1, 1]))
            to_second = tf.reduce_sum(first_second * change.first[:, :, tf.newaxis], axis=0)
            to_head = _forward(first_head, tf.reshape(change.first, [-1, 1]))
            to_head = _to_head(second, cotangent) + tf.transpose(tf.reshape(to_head, [count, units]))
            return Weights(
                self._to_first(curved) + from_second + tf.reshape(from_head, [inputs, below]),
                tf.matmul(self._hidden, error) + _without_bias(to_second),
                _to_head(self._last, curved) + _without_bias(to_head),
            ), handed_on

        return product

    def _changes(self, change: Weights) -> tuple[Any, tf.Tensor, tf.Tensor]:
        """Leaves out the change of the first hidden layer, and its effect on that of the second."""
        second = _gated(_forward(change.second, self._hidden), self._gates[1])
        from_first = tf.reduce_sum(tf.matmul(change.first, self._folded) * self._repeated_inputs, axis=0)
        from_first = tf.reshape(from_first, [self._count, -1])
        return (), second, from_first + _forward(change.head, self._last) + _forward(self._head, second)

    def _to_first(self, cotangent: tf.Tensor) -> tf.Tensor:
        """Returns the gradient in the first kernel, from that in the outputs."""
        by_input = self._repeated_inputs * tf.reshape(cotangent, [1, -1])
        return tf.matmul(by_input, self._folded, transpose_b=True)


def relu_network(weights: Weights, inputs: tf.Tensor) -> ReluNetwork:
    """Computes the network in the form with the faster derivatives: folded if inputs and outputs are few."""
    few = weights.first.shape[0] * weights.head.shape[1] <= _MOST_FOLDED
    return FoldedReluNetwork(weights, inputs) if few else ReluNetwork(weights, inputs)


def _with_ones(rows: tf.Tensor) -> tf.Tensor:
    return tf.concat([rows, tf.ones_like(rows[:1])], axis=0)


def _without_bias(kernel: tf.Tensor) -> tf.Tensor:
    return tf.pad(kernel, [[0, 1], [0, 0]])


def _forward(kernel: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    return tf.matmul(kernel, values, transpose_a=True)


def _gated(values: tf.Tensor, gate: tf.Tensor) -> tf.Tensor:
    return values * tf.cast(gate, values.dtype)


def _to_head(activations: tf.Tensor, of_outputs: tf.Tensor) -> tf.Tensor:
    """Returns [units, outputs] from [units, steps] and [outputs, steps]; the product's transpose is the faster."""
    return tf.transpose(tf.matmul(of_outputs, activations, transpose_b=True))


def _curved(curve: Curve, outputs: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """Calls `curve` on [outputs, steps]."""
    curved, handed_on = curve(tf.transpose(outputs))
    return tf.transpose(curved), handed_on
