"""Trained policies as tf-agents policies, before and after adaptation."""

from __future__ import annotations

import tensorflow as tf

from maml_tf.core.clone import clone
from maml_tf.core.functional import unique_names
from maml_tf.rl.agents import policy_step, py_environment, tensor_spec, tf_policy, tfp
from maml_tf.rl.agents import time_step as ts
from maml_tf.rl.policy import GaussianPolicy


class AgentsPolicy(tf_policy.TFPolicy):
    """A Gaussian policy with the interface of tf-agents, for its drivers and its `PolicySaver`.

    Actions are clipped to the environment's bounds, as the environment does; the distribution is not.

    Args:
        policy: The policy, whose weights are shared.
        environment: The environment, for the specifications of observations and actions.
        name: The policy's name.

    Example:
    >>> from maml_tf.rl.environments import PointNavigation
    >>> from maml_tf.rl.export import AgentsPolicy
    >>> from maml_tf.rl.policy import gaussian_mlp_policy
    >>> environment = PointNavigation(batch_size=4)
    >>> policy = AgentsPolicy(gaussian_mlp_policy(2, 2), environment)
    >>> policy.action(environment.reset()).action.shape
    TensorShape([4, 2])
    """

    def __init__(self, policy: GaussianPolicy, environment: py_environment.PyEnvironment, name: str = "AgentsPolicy"):
        observation = tensor_spec.from_spec(environment.observation_spec())
        super().__init__(ts.time_step_spec(observation), tensor_spec.from_spec(environment.action_spec()), name=name)
        self._policy = policy
        # tf.Module collects variables, but does not look into Keras models.
        self._weights = [variable.value for variable in policy.variables]

    def _distribution(self, time_step: ts.TimeStep, policy_state: tuple) -> policy_step.PolicyStep:
        # tf-agents needs actions of the specification's dtype.
        mean, log_std = (tf.cast(value, self.action_spec.dtype) for value in self._policy(time_step.observation))
        return policy_step.PolicyStep(tfp.distributions.MultivariateNormalDiag(mean, tf.exp(log_std)), policy_state)

    def _variables(self) -> list[tf.Variable]:
        return self._weights


def with_parameters(policy: GaussianPolicy, params: dict[str, tf.Tensor]) -> GaussianPolicy:
    """Copies a policy and gives the copy other parameters, such as those adapted to a task.

    Args:
        policy: The policy, which does not change.
        params: A tensor for each parameter, as `PolicyAdaptation.adapt` returns them.

    Returns:
        A policy that shares no variable with `policy`.

    Raises:
        TypeError: If a subclass cannot be rebuilt from its configuration.
    """
    copy = clone(policy)
    # By position: a copy's layers may have other paths.
    for name, variable in zip(unique_names(policy), copy.trainable_variables, strict=True):
        variable.assign(params[name])
    return copy
