"""Checks of what environments are given: actions, and what a subclass computes."""

from __future__ import annotations

import numpy as np

# A state beyond it has left physics: MuJoCo's own bound.
_LARGEST = 1e10


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


def require_shape(name: str, values: np.ndarray, shape: tuple[int, ...]) -> None:
    """Checks what a subclass computes, for an array of another shape would be broadcast.

    Args:
        name: What it is.
        values: The array.
        shape: The shape expected.

    Raises:
        ValueError: If the shape is another.
    """
    if np.shape(values) != shape:
        raise ValueError(f"Expected {name} of shape {shape}. Received: {np.shape(values)}")


def within_physics(values: np.ndarray) -> np.ndarray:
    """Finds the simulations whose numbers are finite and not too large.

    Args:
        values: [B, size].

    Returns:
        bool [B].
    """
    # Without temporaries where all are, as nearly always. NaN compares false.
    if values.min() >= -_LARGEST and values.max() <= _LARGEST:
        return np.ones(len(values), bool)
    return (np.abs(values) <= _LARGEST).all(axis=1)
