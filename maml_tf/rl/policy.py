"""Gaussian policies over any Keras network, and the closed forms of diagonal Gaussians for the losses.

TensorFlow Probability's `MultivariateNormalDiag` gives the same values. These functions can be merged over tasks and
differentiated several times at a fraction of its cost.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import tensorflow as tf

from maml_tf.checks import number
from maml_tf.core.functional import FunctionalModel
from maml_tf.models import mlp

if TYPE_CHECKING:
    from maml_tf.rl.agents import tfp

_LOG_2_PI = math.log(2.0 * math.pi)


class Gaussian(NamedTuple):
    """The parameters of diagonal Gaussians.

    Attributes:
        mean: [..., action].
        log_std: Log standard deviation, [..., action] or [action].
    """

    mean: tf.Tensor
    log_std: tf.Tensor


def log_probability(gaussian: Gaussian, actions: tf.Tensor) -> tf.Tensor:
    """Computes `log N(a; mu, sigma) = -sum((a - mu)^2 / sigma^2 / 2 + log sigma + log(2 pi) / 2)`.

    Args:
        gaussian: The distributions.
        actions: [..., action].

    Returns:
        [...].

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.rl.policy import Gaussian, log_probability
    >>> round(float(log_probability(Gaussian(tf.zeros([1]), tf.zeros([1])), tf.zeros([1]))), 4)
    -0.9189
    """
    scaled = (actions - gaussian.mean) * tf.exp(-gaussian.log_std)
    return -tf.reduce_sum(0.5 * scaled**2 + gaussian.log_std + 0.5 * _LOG_2_PI, axis=-1)


def kl_divergence(first: Gaussian, second: Gaussian) -> tf.Tensor:
    """Computes `KL(first || second)` of diagonal Gaussians, [...].

    `sum(log sigma_2 - log sigma_1 + (sigma_1^2 + (mu_1 - mu_2)^2) / (2 sigma_2^2) - 1 / 2)`.
    """
    shift = first.log_std - second.log_std
    squares = tf.exp(2.0 * shift) + ((first.mean - second.mean) * tf.exp(-second.log_std)) ** 2
    return tf.reduce_sum(0.5 * (squares - 1.0) - shift, axis=-1)


def entropy(gaussian: Gaussian) -> tf.Tensor:
    """Computes the differential entropy, `sum(log sigma + (1 + log(2 pi)) / 2)`, for the log std's leading axes."""
    return tf.reduce_sum(gaussian.log_std + 0.5 * (1.0 + _LOG_2_PI), axis=-1)


def fisher(gaussian: Gaussian, tangent: Gaussian) -> Gaussian:
    """Multiplies by the Fisher matrix of the parameters, which is diagonal: `1 / sigma^2` and 2.

    It is the Hessian of `KL(gaussian || other)` in the parameters of `other`, where both are equal.

    Args:
        gaussian: The parameters at which the matrix is computed.
        tangent: The change of the parameters to multiply by, of the same shapes.

    Returns:
        The product, of the same shapes.
    """
    return Gaussian(tf.exp(-2.0 * gaussian.log_std) * tangent.mean, 2.0 * tangent.log_std)


_register = keras.saving.register_keras_serializable(package="maml_tf")


@_register
class GaussianPolicy(keras.Model):
    """A policy `pi(a | s) = N(a; mu(s), sigma)` whose log standard deviation is a parameter, the same in all states.

    Args:
        network: A functional or sequential Keras model from observations [batch, observation] to means
            [batch, action], in float32 or float64, without state (batch statistics, dropout) and without added losses
            (regularizers), because the objectives depend only on the actions.
        initial_log_std: Initial log standard deviation of every action dimension.
        min_std: Smallest standard deviation; below it the parameter has no effect.

    Raises:
        ValueError: If the network is not such a model, or `min_std` is not positive.

    Source: Section 5.3; the policies of the authors' code.

    Example:
    >>> import keras
    >>> from maml_tf.rl.policy import gaussian_mlp_policy
    >>> policy = gaussian_mlp_policy(observation_size=2, action_size=2)
    >>> policy.distribution(keras.ops.zeros((5, 2))).batch_shape
    TensorShape([5])
    """

    def __init__(self, network: keras.Model, initial_log_std: float = 0.0, min_std: float = 1e-6, **kwargs):
        _check_network(network)
        super().__init__(**{"dtype": network.trainable_variables[-1].dtype, **kwargs})
        self.network = network
        self.initial_log_std = float(initial_log_std)
        self.min_std = number("min_std", min_std, positive=True)
        self.log_std = self.add_weight(
            shape=(network.output_shape[-1],),
            initializer=keras.initializers.Constant(self.initial_log_std),
            name="log_std",
        )
        self.built = True

    @property
    def log_std_floor(self) -> float:
        """The smallest log standard deviation; below it the parameter has no effect."""
        return math.log(self.min_std)

    def call(self, observations):
        """Computes the mean [batch, action] and the log standard deviation [action]."""
        return self.network(observations), keras.ops.maximum(self.log_std, self.log_std_floor)

    def distribution(self, observations: tf.Tensor) -> tfp.distributions.Distribution:
        """Returns the actions' `MultivariateNormalDiag`: batch shape [batch], event shape [action]."""
        from maml_tf.rl.agents import tfp  # A policy that only adapts needs no tf-agents.

        mean, log_std = self(observations)
        return tfp.distributions.MultivariateNormalDiag(mean, tf.exp(log_std))

    def get_config(self):
        return {
            "network": keras.saving.serialize_keras_object(self.network),
            "initial_log_std": self.initial_log_std,
            "min_std": self.min_std,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config):
        network = keras.saving.deserialize_keras_object(config.pop("network"))
        return cls(network, **config)


def gaussian_mlp_policy(
    observation_size: int,
    action_size: int,
    hidden: tuple[int, ...] = (100, 100),
    name: str = "policy",
) -> GaussianPolicy:
    """Builds the paper's policy: two hidden layers of 100 ReLU units, Glorot-uniform kernels, standard deviation 1.

    Args:
        observation_size: Numbers in an observation.
        action_size: Numbers in an action.
        hidden: Units of the hidden layers.
        name: The policy's name.

    Raises:
        ValueError: If a size is below 1.
    """
    return GaussianPolicy(mlp((observation_size,), hidden, action_size, name="network"), name=name)


class PurePolicy:
    """A policy as a pure function of its parameters, which may be adapted to a task.

    Args:
        policy: The policy.

    Attributes:
        policy: The policy.
    """

    def __init__(self, policy: GaussianPolicy):
        self.policy = policy
        self._model = FunctionalModel(policy)

    @property
    def dtype(self) -> tf.DType:
        """Data type of the parameters and the means."""
        return tf.as_dtype(self.policy.log_std.dtype)

    def parameters(self) -> dict[str, tf.Tensor]:
        """Reads the trainable variables, a dictionary from path to tensor."""
        return self._model.parameters()

    def assign(self, params: dict[str, tf.Tensor]) -> None:
        """Writes parameters, a tensor for each of `parameters()`, into the policy's variables."""
        for name, variable in zip(self._model.names, self.policy.trainable_variables, strict=True):
            variable.assign(params[name])

    def __call__(self, params: dict[str, tf.Tensor], observations: tf.Tensor) -> Gaussian:
        """Computes the distribution of the actions.

        Args:
            params: A tensor for each of `parameters()`.
            observations: [batch, observation].

        Returns:
            Mean [batch, action] and log standard deviation [action].

        Raises:
            ValueError: If a subclassed policy's log standard deviation depends on the state, or it adds losses.
        """
        called = self._model(params, [], observations, training=False)
        mean, log_std = called.outputs
        if log_std.shape.rank != 1 or called.added_loss is not None:
            raise ValueError(
                "Expected a policy with the same log standard deviation [action] in all states and without added "
                f"losses. Received: {type(self.policy).__name__} with one of shape {log_std.shape}"
                f"{'' if called.added_loss is None else ', which adds losses'}"
            )
        return Gaussian(mean, log_std)


def _check_network(network: keras.Model) -> None:
    pure = FunctionalModel(network)
    if not (hasattr(network, "input_shape") and hasattr(network, "output_shape")):
        raise ValueError(
            "Expected a functional or sequential network, whose sizes are known; call a subclassed network on a "
            f"keras.Input and make a keras.Model of both. Received: {type(network).__name__}"
        )
    if not (_is_matrix(network.input_shape) and _is_matrix(network.output_shape)):
        raise ValueError(
            "Expected a network from observations [batch, observation] to means [batch, action]. Received: a network "
            f"from {network.input_shape} to {network.output_shape}"
        )
    if network.non_trainable_variables:
        names = [variable.path for variable in network.non_trainable_variables]
        raise ValueError(f"Expected a network whose variables are all trainable. Received: non-trainable {names}")
    if not pure.names:
        raise ValueError(f"Expected a network with variables to train. Received: {network.name!r}, which has none")
    called = pure(pure.parameters(), [], tf.zeros([1, network.input_shape[-1]]), training=False)
    if isinstance(called.outputs, dict):
        raise ValueError(f"Expected a network whose only output is the means. Received: a dict of {[*called.outputs]}")
    if called.added_loss is not None:
        raise ValueError(
            "Expected a network without added losses (regularizers, add_loss), which objectives would ignore. "
            f"Received: {network.name!r}, which adds losses"
        )
    dtypes = {called.outputs.dtype.name, *(variable.dtype for variable in network.variables)}
    if dtypes not in ({"float32"}, {"float64"}):
        raise ValueError(
            f"Expected a network whose variables and means are all float32 or all float64. Received: {sorted(dtypes)}"
        )


def _is_matrix(shape: Any) -> bool:
    return isinstance(shape, tuple) and len(shape) == 2 and isinstance(shape[-1], int)
