"""ProMP, proximal meta-policy search: MAML's likelihood ratios inside, a clipped surrogate and a penalty outside.

Source: Rothfuss et al., ProMP: Proximal meta-policy search, 2019, and its released code.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from maml_tf.checks import number, whole_number
from maml_tf.rl.adaptation import PolicyAdaptation, TaskExperience
from maml_tf.rl.config import PolicyConfig
from maml_tf.rl.methods import PolicyMethod
from maml_tf.rl.objectives import ClippedSurrogate, mean_divergence
from maml_tf.rl.policy import Gaussian
from maml_tf.rl.proximal import ProximalSteps


class ProMP(ProximalSteps):
    """Outer steps on `L_clip(theta') + mean_i eta_i KL(pi_sampling_i || pi_theta_i)` (J^ProMP of the paper).

    theta_i are the parameters before the i-th inner step, theta' those after the last. The penalty keeps the policies
    that sample near those that did: the likelihood ratios of the inner steps compare the two.

    Args:
        adaptation: The policy and its adaptation; its inner objective is to be `likelihood_ratio`, or another but
            `reinforce`.
        inner_steps: Number of inner steps.
        clip: How far from 1 the clipped surrogate lets a ratio go.
        penalty: eta of every inner step, at first.
        target: Divergence to which each eta is adapted after a call: halved below 2/3 of it, doubled above 3/2 of it.
            By default eta stays.
        epochs: Steps of Adam for each call.
        learning_rate: Adam's step size.

    Raises:
        ValueError: If a number is out of range.

    Source: Rothfuss et al., 2019; the defaults and the adaptation of eta are those of its released code.
    """

    def __init__(
        self,
        adaptation: PolicyAdaptation,
        *,
        inner_steps: int = 1,
        clip: float = 0.3,
        penalty: float = 5e-4,
        target: float | None = None,
        epochs: int = 5,
        learning_rate: float = 1e-3,
    ):
        steps = whole_number("inner_steps", inner_steps, minimum=1)
        self.target = None if target is None else number("target", target, positive=True)
        penalty = number("penalty", penalty, minimum=0)
        self.penalties = tf.Variable(tf.fill([steps], tf.cast(penalty, adaptation.policy.dtype)))
        super().__init__(
            adaptation.problem(ClippedSurrogate(clip), self._penalty),
            adaptation.policy.parameters(),
            epochs=epochs,
            learning_rate=learning_rate,
        )

    @property
    def state(self) -> dict[str, Any]:
        return {**super().state, "divergence_penalties": self.penalties}

    def _penalty(self, before: tuple[Gaussian, ...], task: TaskExperience) -> tf.Tensor:
        return tf.reduce_mean(self.penalties * _divergences(before, task))

    def _measured_of_block(self, outputs: Any, block: TaskExperience) -> tf.Tensor:
        return _divergences(outputs[1], block)

    def _finished(self, means: tf.Tensor) -> dict[str, float]:
        used = self.penalties.numpy()
        if self.target is not None:
            low, high = self.target / 1.5, self.target * 1.5
            factor = tf.where(means < low, 0.5, tf.where(means > high, 2.0, 1.0))
            self.penalties.assign(self.penalties * tf.cast(factor, self.penalties.dtype))
        return {"kl_before_adaptation": float(tf.reduce_mean(means)), "divergence_penalty": float(used.mean())}


def promp(name: str, config: PolicyConfig) -> PolicyMethod:
    """ProMP: likelihood ratios inside, the clipped surrogate and a penalty on the divergence outside."""
    return PolicyMethod(outer=_outer, inner_objective="likelihood_ratio")


def _outer(adaptation: PolicyAdaptation, config: Any) -> ProMP:
    return ProMP(
        adaptation,
        inner_steps=config.inner_steps,
        clip=config.clip or 0.3,
        penalty=config.divergence_penalty,
        target=config.divergence_target,
        epochs=config.outer_epochs,
        learning_rate=config.outer_learning_rate,
    )


def _divergences(before: tuple[Gaussian, ...], task: TaskExperience) -> tf.Tensor:
    """Computes the mean divergence of the policy before each inner step from the one that sampled, [inner steps]."""
    return tf.stack([mean_divergence(gaussian, batch) for gaussian, batch in zip(before, task.inner, strict=True)])
