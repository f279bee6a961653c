"""Frozen configuration dataclasses: to and from what JSON can hold, and the checks of their values."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

Config = TypeVar("Config")


def to_dict(config: Any) -> dict[str, Any]:
    """Turns a dataclass into nested dictionaries, with tuples as lists, as JSON gives it back.

    Args:
        config: An instance of a dataclass; its fields may be dataclasses.

    Returns:
        From field name to value.

    Example:
    >>> import dataclasses
    >>> from maml_tf.experiments.config import from_dict, to_dict
    >>> @dataclasses.dataclass(frozen=True)
    ... class Config:
    ...     hidden: tuple[int, ...] = (40, 40)
    >>> to_dict(Config())
    {'hidden': [40, 40]}
    >>> from_dict(Config, {"hidden": [8]})
    Config(hidden=(8,))
    """
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def from_dict(config_class: type[Config], values: Mapping[str, Any]) -> Config:
    """Builds a dataclass from a mapping such as `to_dict` returns; what is absent takes its default.

    Args:
        config_class: A dataclass; its fields may be dataclasses, and tuples.
        values: From field name to value.

    Returns:
        An instance of `config_class`.

    Raises:
        ValueError: If a key is no field, or a field without default has no value.
    """
    fields = {field.name: field for field in dataclasses.fields(config_class) if field.init}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ValueError(f"Expected keys of {config_class.__name__}: {', '.join(fields)}. Received: {unknown}")
    missing = [name for name, field in fields.items() if name not in values and _is_required(field)]
    if missing:
        raise ValueError(f"Expected values of {missing} for {config_class.__name__}. Received: {sorted(values)}")
    hints = typing.get_type_hints(config_class)
    return config_class(**{name: _typed(hints[name], value) for name, value in values.items()})


def at_default(config: Any, names: Iterable[str]) -> set[str]:
    """Finds the fields that have their default, such as those to leave out where older files do not hold them.

    Args:
        config: An instance of a dataclass.
        names: Fields with a default.

    Returns:
        Those of `names` whose value is the default.
    """
    return {name for name in names if getattr(config, name) == getattr(type(config), name)}


def check_at_least(config: Any, minimum: float, names: Iterable[str]) -> None:
    """Checks that fields are finite numbers of at least so much.

    Args:
        config: An instance of a dataclass.
        minimum: The least allowed value.
        names: Fields.

    Raises:
        ValueError: If one is less, or not finite.
    """
    _check(config, names, lambda value: value >= minimum and math.isfinite(value), f"at least {minimum}")


def check_shares(config: Any, names: Iterable[str]) -> None:
    """Checks that fields are numbers between 0 and 1.

    Args:
        config: An instance of a dataclass.
        names: Fields.

    Raises:
        ValueError: If one is not.
    """
    _check(config, names, lambda value: 0 <= value <= 1, "between 0 and 1")


def check_positive(config: Any, names: Iterable[str]) -> None:
    """Checks that fields are finite numbers greater than 0, or None.

    Args:
        config: An instance of a dataclass.
        names: Fields.

    Raises:
        ValueError: If one is not.
    """
    _check(config, names, lambda value: value is None or (value > 0 and math.isfinite(value)), "greater than 0")


def check_multiple(config: Any, name: str, of: str) -> None:
    """Checks that a field is a multiple of another.

    Args:
        config: An instance of a dataclass.
        name: The field.
        of: The other field, positive.

    Raises:
        ValueError: If it is not.
    """
    value, divisor = getattr(config, name), getattr(config, of)
    if value % divisor:
        raise ValueError(f"Expected {name} to be a multiple of {of}={divisor}. Received: {name}={value}")


def _check(config: Any, names: Iterable[str], allowed: Callable[[Any], bool], expected: str) -> None:
    for name in names:
        value = getattr(config, name)
        if not allowed(value):
            raise ValueError(f"Expected {name} to be {expected}. Received: {name}={value}")


def _is_required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def _typed(hint: Any, value: Any) -> Any:
    """Returns a value of JSON as the type that a field is annotated with."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        # Of a union only `X | None` is decided by the value; the first alternative that is not None stands
        # for it.
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        return value if value is None else _typed(options[0], value)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return from_dict(hint, value)
    if typing.get_origin(hint) is tuple and isinstance(value, (list, tuple)):
        items = typing.get_args(hint)
        of_item = [items[0]] * len(value) if items[1:] == (Ellipsis,) else items
        if len(of_item) != len(value):
            raise ValueError(f"Expected {len(of_item)} values. Received: {value}")
        return tuple(_typed(item, part) for item, part in zip(of_item, value, strict=True))
    return value
