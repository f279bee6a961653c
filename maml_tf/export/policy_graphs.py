"""A policy's adaptation to a task, in the form in which it is exported: one gradient step on rollouts."""

from __future__ import annotations

import tensorflow as tf

from maml_tf.core.faults import EXAMPLES, fault_of_set, first_fault
from maml_tf.core.keras_interface import layers_of
from maml_tf.export.task_graphs import Adapted, Part, TaskGraphs
from maml_tf.rl.adaptation import PolicyAdaptation
from maml_tf.rl.objectives import Experience


class PolicyGraphs(TaskGraphs):
    """One inner step on a batch of rollouts, and the distribution of actions.

    Each step needs rollouts of the policy before the step. So `adapt` takes one step from the weights that it is given;
    the number of the step selects the step size.

    Args:
        adaptation: The policy and how it adapts.
    """

    number = "step"
    continues = True

    def __init__(self, adaptation: PolicyAdaptation):
        self._adaptation = adaptation
        self._policy = adaptation.policy
        observation, action = self._policy.policy.network.input_shape[-1], self._policy.policy.network.output_shape[-1]
        dtype = self._policy.dtype
        self.support = {
            "observations": tf.TensorSpec([None, observation], dtype),
            "actions": tf.TensorSpec([None, action], dtype),
            "advantages": tf.TensorSpec([None], dtype),
        }
        self.query = {"observations": self.support["observations"]}
        params = self._policy.parameters()
        self.parts = [Part(name, tuple(params[name].shape), params[name].dtype) for name in adaptation.adapted]

    def variables(self):
        return [variable.value for variable in self._policy.policy.variables]

    def layers(self):
        return [layer.name for layer in layers_of(self._policy.policy)]

    def frozen(self):
        return [name for name in self._policy.parameters() if name not in self._adaptation.adapted]

    def initial(self):
        params = self._policy.parameters()
        return [params[name] for name in self._adaptation.adapted]

    def adapt(self, weights, support, number):
        params = self._params(weights)
        counts = [tf.shape(values)[0] for values in support.values()]
        least = tf.reduce_min(tf.stack(counts))
        faults = [fault_of_set(EXAMPLES, (counts[0] != count) | (least == 0), count, counts[0]) for count in counts[1:]]
        observations, actions, advantages = (values[:least] for values in support.values())
        # The actions were drawn from this policy: its distributions at the observations are those of the sampling.
        sampling = self._policy(params, observations)
        mean, log_std = tf.stop_gradient(sampling.mean), tf.stop_gradient(sampling.log_std)
        share = tf.ones_like(advantages) / tf.cast(tf.maximum(least, 1), advantages.dtype)
        batch = Experience(observations, actions, advantages, share, mean, log_std)
        result = self._adaptation.step_of_task(params, batch, number)
        adapted = [result.params[name] for name in self._adaptation.adapted]
        fault = first_fault(tf.zeros([1, 2, 3], tf.float64), sizes=faults)
        return Adapted(adapted, result.loss[tf.newaxis], fault)

    def predict(self, weights, query):
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(weight)) for weight in weights])
        observations = query["observations"]
        gaussian = self._policy(self._params(weights), observations)
        # ReLU turns NaN into 0, so that the action would look valid.
        valid = finite & ~tf.reduce_any(tf.math.is_nan(observations), axis=1, keepdims=True)
        nan = tf.constant(float("nan"), gaussian.mean.dtype)
        return {
            "mean": tf.where(valid, gaussian.mean, nan),
            "log_std": tf.where(finite, gaussian.log_std, nan),
        }  # fmt: skip

    def _params(self, weights):
        return {**self._policy.parameters(), **dict(zip(self._adaptation.adapted, weights, strict=True))}
