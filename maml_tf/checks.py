"""Checks of plain Python arguments: whole numbers, numbers, flags and choices.

Every function returns the checked value as a plain Python type.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection
from typing import Any, TypeVar

Value = TypeVar("Value")


def whole_number(name: str, value: Any, minimum: int | None = None, maximum: int | None = None) -> int:
    """Checks a whole number: Python's or NumPy's integers, not bools, floats or strings.

    Args:
        name: The argument's name, for the message.
        value: The value to check.
        minimum: The smallest allowed value, or None.
        maximum: The largest allowed value, or None.

    Returns:
        The number as an `int`.

    Raises:
        ValueError: If `value` is not a whole number, or out of range.

    Example:
    >>> import numpy as np
    >>> from maml_tf.checks import whole_number
    >>> whole_number("steps", np.int64(2), minimum=0)
    2
    >>> whole_number("steps", 1.5, minimum=0)
    Traceback (most recent call last):
    ValueError: Expected steps to be a whole number of at least 0. Received: steps=1.5
    """
    integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not integer or (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
        raise ValueError(f"Expected {name} to be a whole number{_range(minimum, maximum)}. Received: {name}={value!r}")
    return int(value)


def number(
    name: str, value: Any, minimum: float | None = None, maximum: float | None = None, *, positive: bool = False
) -> float:
    """Checks a finite real number.

    Args:
        name: The argument's name, for the message.
        value: The value to check.
        minimum: The smallest allowed value, or None.
        maximum: The largest allowed value, or None.
        positive: Whether it must be greater than 0.

    Returns:
        The number as a `float`.

    Raises:
        ValueError: If `value` is not a finite number, or out of range.

    Example:
    >>> from maml_tf.checks import number
    >>> number("learning_rate", float("inf"), minimum=0)
    Traceback (most recent call last):
    ValueError: Expected learning_rate to be a finite number of at least 0. Received: learning_rate=inf
    """
    real = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    below = real and ((minimum is not None and value < minimum) or (positive and not value > 0))
    if not real or below or (maximum is not None and value > maximum):
        allowed = " greater than 0" if positive else _range(minimum, maximum)
        raise ValueError(f"Expected {name} to be a finite number{allowed}. Received: {name}={value!r}")
    return float(value)


def flag(name: str, value: Any) -> bool:
    """Checks a truth value: Python's or NumPy's bools, not numbers or strings.

    Args:
        name: The argument's name, for the message.
        value: The value to check.

    Returns:
        The value as a `bool`.

    Raises:
        ValueError: If `value` is neither True nor False.

    Example:
    >>> from maml_tf.checks import flag
    >>> flag("first_order", "no")
    Traceback (most recent call last):
    ValueError: Expected first_order to be True or False. Received: first_order='no'
    """
    if isinstance(value, bool):
        return value
    # A NumPy bool, recognized by its type's name because NumPy is not imported here.
    if type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    raise ValueError(f"Expected {name} to be True or False. Received: {name}={value!r}")


def choice(name: str, value: Value, choices: Collection[Any]) -> Value:
    """Checks that a value is one of the allowed values, and returns it.

    Args:
        name: The argument's name, for the message.
        value: The value to check.
        choices: The allowed values.

    Raises:
        ValueError: If `value` is not one of them.

    Example:
    >>> from maml_tf.checks import choice
    >>> choice("mode", "least", ("min", "max"))
    Traceback (most recent call last):
    ValueError: Expected mode to be one of ('min', 'max'). Received: mode='least'
    """
    if value not in tuple(choices):
        raise ValueError(f"Expected {name} to be one of {tuple(choices)}. Received: {name}={value!r}")
    return value


def _range(minimum: float | None, maximum: float | None) -> str:
    if minimum is not None and maximum is not None:
        return f" from {minimum} to {maximum}"
    if minimum is not None:
        return f" of at least {minimum}"
    return "" if maximum is None else f" of at most {maximum}"
