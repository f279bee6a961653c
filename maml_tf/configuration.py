"""Configurations: frozen dataclasses whose fields say of themselves what flags, checks and checkpoints need to know.

TensorFlow is not imported here, so that a binary's flags answer at once.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

from maml_tf import checks

Config = TypeVar("Config", bound="Configuration")
Choices = Collection[str] | Callable[[], Collection[str]]

# What a field is for: whether a resume may change it, whether an evaluation may, whether results depend on it.
_ROLES = {
    "training": (False, False, True),
    "length": (True, False, True),
    # Validation uses it in training too, so a resume must not change it.
    "evaluation": (False, True, True),
    "test": (True, True, True),
    "runtime": (True, True, False),
    "process": (True, False, False),
}


def setting(default: Any, help: str, **rules: Any) -> Any:
    """Makes a field of a `Configuration`.

    Args:
        default: The default. A field whose default is None may be None.
        help: What the field means, for a reader who sees no other field.
        **rules: Attributes of `Setting` that differ from their defaults.

    Returns:
        A field of a dataclass.

    Raises:
        TypeError: If a rule is no attribute of `Setting`.
        ValueError: If the role is unknown.
    """
    Setting("", str, False, default, help, **rules)  # A wrong rule is told of here, where it stands.
    return dataclasses.field(default=default, metadata={"help": help, **rules})


@dataclasses.dataclass(frozen=True)
class Setting:
    """A field of a configuration with all that is known of it; see `setting`.

    Attributes:
        name: The field's name.
        kind: bool, int, float or str; of the items where `repeated`.
        repeated: Whether the field is a tuple.
        default: The default.
        help: What the field means.
        minimum: The least allowed number, of an item where the field is a tuple.
        maximum: The greatest allowed number.
        positive: Whether a number must be greater than 0.
        choices: The allowed strings, such as a `Registry`, or a function that returns them: what is registered later
            counts.
        role: "training": fixed once a training began. "length": a resume may change it. "evaluation": an evaluation
            may change it. "test": both may. "runtime": both may, and no result depends on it. "process": a resume may
            change it, an evaluation has no use for it, and no result depends on it.
        since: The version that brought the field. Older checkpoints do not hold it, so `identity` leaves it out at
            its default.
        flag: The flag's name, by default the field's.
    """

    name: str
    kind: type
    repeated: bool
    default: Any
    help: str
    minimum: float | None = None
    maximum: float | None = None
    positive: bool = False
    choices: Choices | None = None
    role: str = "training"
    since: str | None = None
    flag: str | None = None

    def __post_init__(self) -> None:
        checks.choice("role", self.role, _ROLES)

    @property
    def flag_name(self) -> str:
        """The flag's name."""
        return self.flag or self.name

    @property
    def known(self) -> tuple[str, ...] | None:
        """The allowed strings at this moment, or None for any."""
        found = self.choices() if callable(self.choices) else self.choices
        return None if found is None else tuple(found)

    @property
    def resumable(self) -> bool:
        """Whether a resumed training may change the field."""
        return _ROLES[self.role][0]

    @property
    def for_evaluation(self) -> bool:
        """Whether an evaluation may change the field after the training."""
        return _ROLES[self.role][1]

    @property
    def shapes_results(self) -> bool:
        """Whether results depend on the field."""
        return _ROLES[self.role][2]

    def check(self, value: Any) -> Any:
        """Checks a value of the field.

        Args:
            value: The value; a list counts as a tuple, a path as a string.

        Returns:
            The value in the field's type.

        Raises:
            ValueError: If it is of another type, or out of range.
        """
        if value is None and self.default is None:
            return None
        if not self.repeated:
            return self._check_one(value)
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"Expected {self.name} to be a tuple. Received: {self.name}={value!r}")
        return tuple(self._check_one(item) for item in value)

    def parse(self, text: str) -> Any:
        """Reads a value from a flag, where commas part the items of a tuple.

        Args:
            text: What stands after the flag's equals sign.

        Returns:
            The value in the field's type.

        Raises:
            ValueError: If it is of another type, or out of range.
        """
        return self.check([self._read(item) for item in text.split(",") if item] if self.repeated else self._read(text))

    def _read(self, text: str) -> Any:
        try:
            return self.kind(text)
        except ValueError:
            return text  # The check names the field.

    def _check_one(self, value: Any) -> Any:
        if self.kind is bool:
            return checks.flag(self.name, value)
        if self.kind is int:
            return checks.whole_number(self.name, value, self.minimum, self.maximum)
        if self.kind is float:
            return checks.number(self.name, value, self.minimum, self.maximum, positive=self.positive)
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if (known := self.known) is not None:
            checks.choice(self.name, value, known)
        if not isinstance(value, str):
            raise ValueError(f"Expected {self.name} to be a string. Received: {self.name}={value!r}")
        return value


class Configuration:
    """The base of configurations: a frozen dataclass in which every field is a `setting`.

    A rule between fields is plain code in the subclass' `__post_init__`, after `super().__post_init__()`.

    Raises:
        ValueError: If a value is of another type than its field, or out of range.

    Example:
    >>> import dataclasses
    >>> from maml_tf.configuration import Configuration, from_dict, setting, to_dict
    >>> @dataclasses.dataclass(frozen=True)
    ... class Training(Configuration):
    ...     ways: int = setting(5, "Classes of a task.", minimum=2)
    ...     iterations: int = setting(100, "Training iterations.", minimum=1, role="length")
    ...     hidden: tuple[int, ...] = setting((40, 40), "Units of each hidden layer.", minimum=1)
    >>> Training(ways=1)
    Traceback (most recent call last):
    ValueError: Expected ways to be a whole number of at least 2. Received: ways=1
    >>> to_dict(Training(hidden=(8,)))
    {'ways': 5, 'iterations': 100, 'hidden': [8]}
    >>> from_dict(Training, {"hidden": [8]})
    Training(ways=5, iterations=100, hidden=(8,))
    >>> Training().identity()
    {'ways': 5, 'hidden': [40, 40]}
    """

    def __post_init__(self) -> None:
        for name, field in settings(type(self)).items():
            self._set(name, field.check(getattr(self, name)))

    def _set(self, name: str, value: Any) -> None:
        """Sets a field while the configuration is made."""
        object.__setattr__(self, name, value)

    def identity(self, **more: Any) -> dict[str, Any]:
        """Lists what a training depends on, which a resume must not change.

        Args:
            **more: What the training depends on beside the configuration, such as the method.

        Returns:
            From name to value, as JSON holds it.
        """
        fields = settings(type(self))
        return more | {
            name: value
            for name, value in to_dict(self).items()
            if not fields[name].resumable and not (fields[name].since and getattr(self, name) == fields[name].default)
        }

    def results_identity(self) -> dict[str, Any]:
        """Lists what results depend on, which rows of one results.json share.

        Returns:
            From name to value, as JSON holds it.
        """
        fields = settings(type(self))
        return {name: value for name, value in to_dict(self).items() if fields[name].shapes_results}

    def for_evaluation(self: Config, changes: Mapping[str, Any]) -> Config:
        """Makes the configuration of an evaluation of what was trained.

        Args:
            changes: Values of fields that an evaluation may change.

        Returns:
            This configuration with the changes.

        Raises:
            ValueError: If a field is another's than an evaluation's, or a value is out of range.
        """
        free = [name for name, field in settings(type(self)).items() if field.for_evaluation]
        if fixed := sorted(set(changes) - set(free)):
            raise ValueError(f"Expected an evaluation to change {free} alone. Received: {fixed}")
        return dataclasses.replace(self, **changes)


@functools.cache
def settings(config_class: type[Configuration]) -> dict[str, Setting]:
    """Lists the fields of a configuration.

    Args:
        config_class: The configuration's class.

    Returns:
        From name to setting, in the order of the fields.

    Raises:
        TypeError: If a field was not made by `setting`, or its type is not bool, int, float, str or a tuple of these.
    """
    hints = typing.get_type_hints(config_class)
    found = {}
    for field in dataclasses.fields(config_class):
        if "help" not in field.metadata:
            raise TypeError(f"Expected {field.name} of {config_class.__name__} to be made by setting()")
        hint = next((part for part in _parts(hints[field.name]) if part is not type(None)), None)
        repeated = typing.get_origin(hint) is tuple
        kind = typing.get_args(hint)[0] if repeated else hint
        if kind not in (bool, int, float, str):
            raise TypeError(f"Expected {field.name} to be a bool, int, float or str, or several. Received: {hint}")
        found[field.name] = Setting(field.name, kind, repeated, field.default, **field.metadata)
    return found


def _parts(hint: Any) -> tuple[Any, ...]:
    """Returns the parts of `X | None`; `tuple[X, ...]` is one."""
    return (hint,) if typing.get_origin(hint) in (None, tuple) else typing.get_args(hint)


def to_dict(config: Any) -> dict[str, Any]:
    """Turns a dataclass into what JSON can hold: tuples become lists.

    Args:
        config: An instance of a dataclass.

    Returns:
        From field name to value.
    """
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(config_class: type[Config], values: Mapping[str, Any]) -> Config:
    """Makes a configuration of a mapping such as `to_dict` returns; what is absent takes its default.

    Args:
        config_class: The configuration's class.
        values: From field name to value.

    Returns:
        The configuration.

    Raises:
        ValueError: If a key is no field, or a value is out of range.
    """
    fields = settings(config_class)
    if unknown := sorted(set(values) - set(fields)):
        raise ValueError(f"Expected keys of {config_class.__name__}: {', '.join(fields)}. Received: {unknown}")
    return config_class(**values)


def differences(stored: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Says in what two configurations differ.

    Args:
        stored: The configuration that a training was made with.
        given: The other.

    Returns:
        Each field that differs, with both values; nothing where none does.

    Example:
    >>> from maml_tf.configuration import differences
    >>> differences({"seed": 1, "ways": 5}, {"seed": 2, "ways": 5})
    'seed: stored 1, given 2'
    """
    return "; ".join(
        f"{key}: stored {stored.get(key, 'absent')!r}, given {given.get(key, 'absent')!r}"
        for key in sorted({*stored, *given})
        if stored.get(key, "absent") != given.get(key, "absent")
    )


def check_multiple(config: Any, name: str, of: str) -> None:
    """Checks that a field is a multiple of another.

    Args:
        config: A configuration.
        name: The field.
        of: The other field, positive.

    Raises:
        ValueError: If it is not.
    """
    value, divisor, flag = getattr(config, name), getattr(config, of), settings(type(config))[of].flag_name
    if value % divisor:
        where = "" if of == flag else f" (--{flag})"
        raise ValueError(f"Expected {name} to be a multiple of {of}={divisor}{where}. Received: {name}={value}")


def nearest_divisor(number: int, wish: int, multiple_of: int = 1) -> int:
    """Finds an interval that parts a number of iterations evenly.

    Args:
        number: The number of iterations.
        wish: The interval that would be best.
        multiple_of: What the interval must be a multiple of.

    Returns:
        The divisor of `number` that is nearest to `wish` by ratio; `wish` if there is none.

    Example:
    >>> from maml_tf.configuration import nearest_divisor
    >>> nearest_divisor(60_000, 500), nearest_divisor(100, 500), nearest_divisor(1700, 500)
    (500, 100, 425)
    """
    divisors = [d for d in range(multiple_of, number + 1, multiple_of) if number % d == 0]
    return min(divisors, key=lambda divisor: abs(math.log(divisor / wish)), default=wish)


def define_flags(
    flags: Any, chosen: Iterable[Setting], note: str | None = None, noted: Collection[str] | None = None
) -> None:
    """Defines a flag without a default for each setting, so that `given` tells what a user gave.

    Args:
        flags: The module `absl.flags` of the binary that defines them, or what else has its functions.
        chosen: The settings.
        note: What is said of the default, after a setting's help.
        noted: The names of the settings of which it is said; of the others the field's default is. None for all.
    """
    flags.disclaim_key_flags()  # To --help they are the binary's own.

    class Parser(flags.ArgumentParser):
        """Reads a setting's value."""

        def __init__(self, field):
            self.field = field

        @property
        def syntactic_help(self):
            return _range_text(self.field)

        def flag_type(self):
            return self.field.kind.__name__

        def parse(self, argument):
            return self.field.parse(argument) if isinstance(argument, str) else self.field.check(argument)

    for field in chosen:
        text = field.help
        if note and (noted is None or field.name in noted):
            text += f" {note}"
        elif field.default is not None:
            text += f" By default {_default_text(field)}."
        if field.kind is bool:
            flags.DEFINE_bool(field.flag_name, None, text)
        elif field.repeated:
            flags.DEFINE_multi(Parser(field), None, field.flag_name, None, text)
        else:
            flags.DEFINE(Parser(field), field.flag_name, None, text)


def given(values: Mapping[str, Any], chosen: Iterable[Setting]) -> dict[str, Any]:
    """Picks the settings that a user gave.

    Args:
        values: From flag to value.
        chosen: The settings.

    Returns:
        From field name to value.
    """
    found = {field.name: (field, values[field.flag_name]) for field in chosen if values[field.flag_name] is not None}
    return {name: sum(value, ()) if field.repeated else value for name, (field, value) in found.items()}


def _default_text(field: Setting) -> str:
    if field.repeated:
        return ",".join(str(item) for item in field.default)
    return str(field.default).lower() if field.kind is bool else str(field.default)


def _range_text(field: Setting) -> str:
    """Says what a flag takes."""
    if field.kind is str:
        known = field.known
        text = "" if known is None else f"one of {', '.join(known)}"
    else:
        text = {int: "a whole number", float: "a number"}[field.kind]
        if field.positive:
            text += " greater than 0"
        if field.minimum is not None:
            text += f" of at least {field.minimum}"
        if field.maximum is not None:
            text += f"{' and' if field.minimum is not None else ' of'} at most {field.maximum}"
    return f"several by commas: each {text}" if field.repeated and text else text
