"""Errors of environments that a caller may want to tell from others."""


class NonFiniteActionsError(ValueError):
    """An action holds a number that is not finite: a policy has diverged."""
