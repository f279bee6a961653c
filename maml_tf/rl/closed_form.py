"""The Jacobian of the paper's adapted policy without automatic differentiation: half the matrix products."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from maml_tf.core.update_rules import UpdateRule
from maml_tf.rl.gaussian import Gaussian
from maml_tf.rl.hessian_products import Linearization, derivatives
from maml_tf.rl.objectives import Experience, PolicyObjective
from maml_tf.rl.policy import PurePolicy
from maml_tf.rl.relu_network import ReluNetwork, Weights, relu_network

Params = dict[str, tf.Tensor]


def has_closed_form(policy: PurePolicy) -> bool:
    """Tells whether a policy's network is one for `AdaptedReluPolicy`.

    Args:
        policy: The policy.

    Returns:
        True for two hidden layers of ReLU units, dense layers with biases, one after another, in one data type.
    """
    return len(_dense_layers(policy.policy.network)) == 3


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
        hessians = []
        for step, batch in enumerate(inner):
            params, hessian = self._step(params, batch, step)
            hessians.append(hessian)
        last = relu_network(self._weights(params), observations)
        above = self._above_floor(params)

        def push(vector: Params) -> Gaussian:
            for step, hessian in enumerate(hessians):
                vector = self._moved(vector, hessian, step)
            return Gaussian(tf.transpose(last.push(self._weights(vector))), above * vector[self._log_std])

        def pull(cotangent: Gaussian) -> Params:
            vector = self._params(last.pull(tf.transpose(cotangent.mean)), above * cotangent.log_std)
            for step, hessian in reversed(list(enumerate(hessians))):
                vector = self._moved(vector, hessian, step)
            return vector

        return Linearization(self._gaussian(last, params), push, pull)

    def _step(self, params: Params, batch: Experience, step: int) -> tuple[Params, Callable[[Params], Params]]:
        """Returns the parameters after an inner step, and the products with its loss' Hessian."""
        network, above = relu_network(self._weights(params), batch.observations), self._above_floor(params)
        _, cotangent, curve = derivatives(
            lambda gaussian: self._objective(gaussian, batch), self._gaussian(network, params)
        )
        of_mean = tf.transpose(cotangent.mean)
        gradient = self._params(network.pull(of_mean), above * cotangent.log_std)
        product = network.hessian(of_mean)

        def hessian(vector: Params) -> Params:
            def curved(change: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                result = curve(Gaussian(tf.transpose(change), above * vector[self._log_std]))
                return tf.transpose(result.mean), above * result.log_std

            return self._params(*product(self._weights(vector), curved))

        return self._rule(params, gradient, step), hessian

    def _moved(self, vector: Params, hessian: Callable[[Params], Params], step: int) -> Params:
        return vector if self._first_order else self._rule(vector, hessian(vector), step)

    def _gaussian(self, network: ReluNetwork, params: Params) -> Gaussian:
        return Gaussian(tf.transpose(network.outputs), tf.maximum(params[self._log_std], self._floor))

    def _above_floor(self, params: Params) -> tf.Tensor:
        log_std = params[self._log_std]
        return tf.cast(log_std >= self._floor, log_std.dtype)

    def _weights(self, params: Params) -> Weights:
        return Weights(*(tf.concat([params[kernel], params[bias][tf.newaxis]], 0) for kernel, bias in self._layers))

    def _params(self, weights: Weights, log_std: tf.Tensor) -> Params:
        params = {self._log_std: log_std}
        for (kernel, bias), joined in zip(self._layers, weights, strict=True):
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
        and layers[0].compute_dtype == layers[0].variable_dtype
    ):
        return dense
    return []


def _is_plain(layer: keras.layers.Dense) -> bool:
    return layer.activation is keras.activations.linear and layer.lora_rank is None and layer.quantization_mode is None


def _is(tensors: Any, tensor: Any) -> bool:
    return all(one is tensor for one in keras.tree.flatten(tensors))
