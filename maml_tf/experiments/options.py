"""A configuration dataclass as command-line options, so that a binary repeats neither its fields nor their texts."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple


class Option(NamedTuple):
    """A field of a configuration.

    Attributes:
        name: Of the field.
        kind: bool, int, float or str.
        choices: The values it may have, or None for any.
        text: What the dataclass' docstring says of it.
        default: Its default, None where it has none.
    """

    name: str
    kind: type
    choices: tuple[str, ...] | None
    text: str
    default: Any


def options(config_class: type) -> list[Option]:
    """Lists the fields of a dataclass that hold a number, a truth value, a string or one of several strings.

    Args:
        config_class: A dataclass with an "Attributes:" section in its docstring. A field `X | None` counts as X.

    Returns:
        An option for each field, in their order.

    Raises:
        ValueError: If a field is not described in the docstring, or is of another type.

    Example:
    >>> import dataclasses
    >>> from maml_tf.experiments.options import options
    >>> @dataclasses.dataclass(frozen=True)
    ... class Config:
    ...     '''A configuration.
    ...
    ...     Attributes:
    ...         ways: Classes of a task.
    ...     '''
    ...     ways: int = 5
    >>> options(Config)
    [Option(name='ways', kind=<class 'int'>, choices=None, text='Classes of a task.', default=5)]
    """
    texts, hints = _attribute_texts(config_class), typing.get_type_hints(config_class)
    found = []
    for field in dataclasses.fields(config_class):
        if field.name not in texts:
            raise ValueError(f"Expected {field.name} among the attributes of {config_class.__name__}'s docstring")
        hint = hints[field.name]
        if typing.get_origin(hint) in (typing.Union, types.UnionType):
            hint = next(option for option in typing.get_args(hint) if option is not type(None))
        choices = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else None
        kind = str if choices else hint
        if kind not in (bool, int, float, str):
            raise ValueError(f"Expected {field.name} to be a bool, int, float or str. Received: {hint}")
        default = None if field.default is dataclasses.MISSING else field.default
        found.append(Option(field.name, kind, choices, texts[field.name], default))
    return found


def define_flags(flags: Any, chosen: Sequence[Option], note: str, noted: Collection[str] | None = None) -> None:
    """Defines a flag without a default for each option, so that `given` tells what a user gave.

    Args:
        flags: The module `absl.flags` of the binary that defines them, or what else has its functions.
        chosen: The options.
        note: What is said of the default, after an option's text.
        noted: The names of the options of which it is said; of the others the dataclass' default is. None for all.
    """
    flags.disclaim_key_flags()  # To --help they are the binary's own.
    define = {bool: flags.DEFINE_bool, int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string}
    for option in chosen:
        text = option.text
        if noted is None or option.name in noted:
            text += f" {note}"
        elif option.default is not None:
            text += f" By default {str(option.default).lower() if option.kind is bool else option.default}."
        if option.choices:
            flags.DEFINE_enum(option.name, None, option.choices, text)
        else:
            define[option.kind](option.name, None, text)


def given(values: Mapping[str, Any], chosen: Sequence[Option]) -> dict[str, Any]:
    """Picks the options that a user gave.

    Args:
        values: From flag to value.
        chosen: The options.

    Returns:
        From name to value, where the value is not None.
    """
    return {option.name: values[option.name] for option in chosen if values[option.name] is not None}


def check_choices(config: Any) -> None:
    """Checks the fields that are annotated with the strings they may hold.

    Args:
        config: An instance of a dataclass.

    Raises:
        ValueError: If one holds another value.
    """
    for name, hint in typing.get_type_hints(type(config)).items():
        value = getattr(config, name)
        if typing.get_origin(hint) is typing.Literal and value not in typing.get_args(hint):
            raise ValueError(f"Expected {name} to be one of {typing.get_args(hint)}. Received: {name}={value!r}")


def _attribute_texts(config_class: type) -> dict[str, str]:
    _, _, section = inspect.cleandoc(config_class.__doc__ or "").partition("Attributes:\n")
    texts: dict[str, str] = {}
    name = None
    for line in section.splitlines():
        start = re.fullmatch(r" {4}(\w+): (.*)", line)
        if start:
            name = start[1]
            texts[name] = start[2]
        elif name and line.startswith(" " * 8):
            texts[name] += " " + line.strip()
        else:
            name = None
    return texts
