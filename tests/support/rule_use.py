"""Parameters to adapt, and an update rule's updates of them: what the tests of the rules start from."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from maml_tf.core.update_rules import UpdateRule


def parameters() -> dict[str, tf.Tensor]:
    """Makes the parameters of two layers."""
    return {"a/kernel": tf.ones((2, 3)), "a/bias": tf.ones(3), "b/kernel": tf.ones((3, 1))}


def built(rule: UpdateRule) -> UpdateRule:
    """Builds a rule for these parameters."""
    rule.build(parameters())
    return rule


def applied(rule: UpdateRule, gradients: Any, step: Any = 0) -> Any:
    """Computes a rule's updates, by applying it to zeros."""
    params = tf.nest.map_structure(tf.zeros_like, gradients)
    return tf.nest.map_structure(lambda value: -value, rule(params, gradients, step))
