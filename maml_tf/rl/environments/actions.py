"""What environments take as actions."""

from __future__ import annotations

import numpy as np


class NonFiniteActionsError(ValueError):
    """An action holds a number that is not finite: a policy has diverged."""


def checked_actions(actions: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Checks actions of all simulations.

    Args:
        actions: [B, action], or what converts to it.
        shape: The shape expected.

    Returns:
        The actions as an array.

    Raises:
        ValueError: If the shape is another.
        NonFiniteActionsError: If a number is not finite.
    """
    actions = np.asarray(actions)
    if actions.shape != shape:
        raise ValueError(f"Expected actions of shape {shape}. Received: {actions.shape}")
    if not np.all(np.isfinite(actions)):
        raise NonFiniteActionsError(
            "Expected finite actions. Received: numbers that are not, in simulations "
            f"{np.flatnonzero(~np.isfinite(actions).all(axis=1))[:5]}"
        )
    return actions
