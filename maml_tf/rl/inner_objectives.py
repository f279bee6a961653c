"""The registry of inner objectives: the losses whose gradient steps adapt a policy. It needs no TensorFlow."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from maml_tf.registry import Registry

if TYPE_CHECKING:
    from maml_tf.rl.objectives import PolicyObjective

# A function of `(gaussian, batch)`, or its place as "module:name", imported at first use.
inner_objectives: Registry[str | PolicyObjective] = Registry("inner objective")


def inner_objective(name: str) -> PolicyObjective:
    """Returns a registered inner objective.

    Raises:
        ValueError: If the name is not registered.

    Example:
    >>> from maml_tf.rl.inner_objectives import inner_objective, inner_objectives
    >>> inner_objectives.names()
    ('reinforce', 'likelihood_ratio', 'low_variance_curvature', 'dice')
    >>> inner_objective("dice").__name__
    'dice'
    """
    entry = inner_objectives[name]
    if isinstance(entry, str):
        module, _, attribute = entry.partition(":")
        return getattr(importlib.import_module(module), attribute)
    return entry


for _name in ("reinforce", "likelihood_ratio", "low_variance_curvature", "dice"):
    inner_objectives.register(_name, f"maml_tf.rl.objectives:{_name}")
