"""Registries of algorithms, data sets, environments and methods, by name."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

Entry = TypeVar("Entry")
# Of the modules that `import_file` makes.
_PREFIX = "registered_"


class Registry(Generic[Entry]):
    """A dictionary of entries by name, in the order of registration.

    It imports nothing, so that flags can list the names without TensorFlow.

    Args:
        kind: The kind of the entries, for error messages, such as "data set".

    Example:
    >>> from maml_tf.registry import Registry
    >>> colours = Registry("colour")
    >>> colours.register("red", "#ff0000")
    '#ff0000'
    >>> colours.names(), colours["red"]
    (('red',), '#ff0000')
    >>> colours["blue"]
    Traceback (most recent call last):
    ValueError: Expected the colour to be one of ['red']. Received: 'blue'
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._entries: dict[str, Entry] = {}

    def register(self, name: str, entry: Entry) -> Entry:
        """Adds an entry.

        Args:
            name: Name in flags: lower-case letters, digits and underscores.
            entry: The entry.

        Returns:
            The entry.

        Raises:
            ValueError: If the name has other characters, or already has another entry.
        """
        if not name.isidentifier() or name != name.lower():
            raise ValueError(f"Expected lower-case letters, digits and underscores. Received: {self.kind} {name!r}")
        if self._entries.get(name, entry) is not entry:
            raise ValueError(f"Expected a new name for each {self.kind}. Received: {name!r}, which is taken")
        self._entries[name] = entry
        return entry

    def names(self) -> tuple[str, ...]:
        """Lists the names in the order of registration."""
        return tuple(self._entries)

    def __getitem__(self, name: str) -> Entry:
        try:
            return self._entries[name]
        except (KeyError, TypeError):
            raise ValueError(
                f"Expected the {self.kind} to be one of {list(self._entries)}. Received: {name!r}"
            ) from None

    def __contains__(self, name: Any) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def items(self) -> tuple[tuple[str, Entry], ...]:
        """Lists the names with their entries."""
        return tuple(self._entries.items())


def import_file(path: str | os.PathLike[str]) -> None:
    """Imports a Python file by its path, such as a user's file that registers entries.

    Args:
        path: The file. A second call for the same file does nothing.

    Raises:
        ValueError: If the file does not exist.
    """
    path = pathlib.Path(path).expanduser().resolve()
    # Two files of one name in two folders are two modules.
    name = f"{_PREFIX}{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or not path.is_file():
        raise ValueError(f"Expected a Python file that registers entries. Received: {str(path)!r}")
    if spec.name not in sys.modules:
        sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[spec.name])


def imported_files() -> tuple[str, ...]:
    """Returns the files that `import_file` imported, in order."""
    return tuple(module.__file__ for name, module in sys.modules.items() if name.startswith(_PREFIX))
