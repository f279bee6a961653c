"""The environment and the policy of each method of meta-reinforcement learning."""

from __future__ import annotations

import keras

from maml_tf.layers import ContextVector
from maml_tf.models import mlp
from maml_tf.rl.environments import DrawableEnvironment, TaskEnvironment, environments
from maml_tf.rl.policy import GaussianPolicy, gaussian_mlp_policy


def build_environment(method: str, name: str, simulations: int) -> DrawableEnvironment:
    """Makes the environment that a method acts in: for "oracle" the observations hold the task.

    Args:
        method: Name of the method.
        name: One of `maml_tf.rl.environments.environments`.
        simulations: How many run at once.
    """
    return environments[name].make(simulations, task_in_observation=method == "oracle")


def build_policy(method: str, environment: TaskEnvironment, hidden: int) -> GaussianPolicy:
    """Builds a method's policy with random weights: two hidden layers of ReLU units.

    For "context_vector" as many free parameters as an observation has numbers are joined to the observation.

    Args:
        method: Name of the method.
        environment: The environment to act in.
        hidden: Units of each hidden layer.
    """
    observation, action = environment.observation_spec().shape[0], environment.action_spec().shape[0]
    if method != "context_vector":
        return gaussian_mlp_policy(observation, action, (hidden, hidden))
    inputs = keras.Input((observation,))
    joined = ContextVector(observation, name="context_vector")(inputs)
    outputs = mlp((2 * observation,), (hidden, hidden), action, name="network")(joined)
    return GaussianPolicy(keras.Model(inputs, outputs, name="context_network"), name="policy")
