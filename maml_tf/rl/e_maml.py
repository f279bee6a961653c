"""E-MAML: MAML's outer loss with the sampling correction, which rewards rollouts for the adaptation they lead to.

Source: Stadie et al., Some considerations on learning to explore via meta-reinforcement learning, 2018.
"""

from __future__ import annotations

import tensorflow as tf

from maml_tf.checks import number
from maml_tf.rl.adaptation import TaskExperience
from maml_tf.rl.config import PolicyConfig
from maml_tf.rl.methods import PolicyMethod, trust_region
from maml_tf.rl.objectives import Experience
from maml_tf.rl.policy import Gaussian, log_probability


class SamplingCorrection:
    """The part of the outer loss that MAML leaves out, `-c R sum_i mean(log pi_theta_i(a | s))`.

    The mean is over the actions that the i-th inner step learns from, theta_i the parameters that they were drawn with,
    and R the `outcome` of the adapted policy. It is the derivative of the expected return through the distribution of
    the inner steps' rollouts.

    Args:
        weight: c. 1 as in ProMP's released code. With the number of time steps of a task's inner rollouts the mean
            becomes the sum, and the meta-gradient of the return after an adaptation to sampled rollouts unbiased, with
            `reinforce` as the inner objective and unbiased advantages.

    Raises:
        ValueError: If the weight is negative.

    Source: Stadie et al., 2018; Rothfuss et al., ProMP: Proximal meta-policy search, 2019 (Formulation II).
    """

    def __init__(self, weight: float = 1.0):
        self.weight = number("weight", weight, minimum=0)

    def __call__(self, before: tuple[Gaussian, ...], task: TaskExperience) -> tf.Tensor:
        """Computes the loss, a scalar.

        Args:
            before: The distributions before each inner step.
            task: The task's experience.

        Raises:
            ValueError: If it has no outcome.
        """
        if isinstance(task.outcome, tuple):
            raise ValueError("Expected the experience of a task with its outcome. Received: outcome=()")
        means = [_mean_log_probability(gaussian, batch) for gaussian, batch in zip(before, task.inner, strict=True)]
        return -self.weight * task.outcome * tf.add_n(means)


def e_maml(name: str, config: PolicyConfig) -> PolicyMethod:
    """MAML with the sampling correction."""
    return PolicyMethod(outer=_outer)


def _outer(adaptation, config):
    return trust_region(adaptation, config, SamplingCorrection(config.sampling_correction))


def _mean_log_probability(gaussian: Gaussian, batch: Experience) -> tf.Tensor:
    log_pi = log_probability(gaussian, batch.actions)
    return tf.reduce_sum(tf.where(batch.weights > 0, log_pi, tf.zeros_like(log_pi)) * batch.weights)
