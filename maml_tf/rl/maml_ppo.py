"""MAML with proximal policy optimisation outside: the clipped surrogate, minimised by several steps of Adam."""

from __future__ import annotations

from typing import Any

from maml_tf.rl.adaptation import PolicyAdaptation
from maml_tf.rl.config import PolicyConfig
from maml_tf.rl.methods import PolicyMethod
from maml_tf.rl.objectives import ClippedSurrogate
from maml_tf.rl.proximal import ProximalSteps


def maml_ppo(name: str, config: PolicyConfig) -> PolicyMethod:
    """MAML whose outer step is that of proximal policy optimisation, without a trust region."""
    return PolicyMethod(outer=_outer)


def _outer(adaptation: PolicyAdaptation, config: Any) -> ProximalSteps:
    return ProximalSteps(
        adaptation.problem(ClippedSurrogate(config.clip or 0.3)),
        adaptation.policy.parameters(),
        epochs=config.outer_epochs,
        learning_rate=config.outer_learning_rate,
    )
