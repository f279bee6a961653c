"""The Jacobian of the paper's adapted policy without automatic differentiation: half the matrix products."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from maml_tf.core.keras_interface import is_layer_graph
from maml_tf.core.update_rules import UpdateRule
from maml_tf.rl.gaussian import Gaussian
from maml_tf.rl.hessian_products import Linearization, derivatives
from maml_tf.rl.objectives import Experience, PolicyObjective
from maml_tf.rl.policy import GaussianPolicy, PurePolicy
from maml_tf.rl.relu_network import ReluNetwork, Weights, relu_network

Params = dict[str, tf.Tensor]


class _Parameters(NamedTuple):
    """A policy's parameters, or a change of them."""

    weights: Weights
    log_std: tf.Tensor


_Product = Callable[[_Parameters], _Parameters]


def has_closed_form(policy: PurePolicy) -> bool:
    """Tells whether a policy's network is one for `AdaptedReluPolicy`.

    Args:
        policy: The policy.

    Returns:
        True for two hidden layers of ReLU units, dense layers with biases, one after another, in one data type, where
        neither the network nor the policy is a subclass, which may compute something else.
    """
    network = policy.policy.network
    stock = type(policy.policy) is GaussianPolicy and is_layer_graph(network)
    return stock and len(_dense_layers(network)) == 3


class AdaptedReluPolicy:
    """Linearises a policy's outputs in its initial parameters, through steps of gradient descent on all of them.

    With `theta_{i+1} = theta_i - alpha g_i(theta_i)` the Jacobian is `J (I - alpha H_k) ... (I - alpha H_0)`, J that
    of the outputs in the adapted parameters and H_i the Hessian of the i-th inner loss.

    Args:
        policy: A policy that `has_closed_form`.
        objective: The inner loss.
        rule: A rule that is linear in the gradients and does not depend on the parameters otherwise, such as
            `maml_tf.SGD`.
        first_order: Whether to leave the H_i out.
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
            observations: What the adapted policy sees, [steps, observation].

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
        """Returns the parameters after an inner step, and the products with its loss' Hessian."""
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
    """Returns the three dense layers of a network for which the closed form is right, or none."""
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
