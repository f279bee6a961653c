"""Packages whose names are imported at their first use (PEP 562), so that flags can be read without TensorFlow."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Callable, Collection
from typing import Any


def exports(
    package: str, names: Collection[str], modules: Collection[str], parts: Collection[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Makes the functions `__getattr__` and `__dir__` of a package.

    Args:
        package: The package's name.
        names: The names that it exports.
        modules: The modules that define the names; the first use of a name imports all of them.
        parts: Subpackages that are attributes of the package without an explicit import. A subpackage that cannot be
            imported, for example without its extra, raises an AttributeError.
    """
    namespace = vars(sys.modules[package])

    def get(name: str) -> Any:
        if name in names:
            for module in map(importlib.import_module, modules):
                namespace.update({name: vars(module)[name] for name in names if name in vars(module)})
            return namespace[name]
        if name in parts:
            try:
                return importlib.import_module(f"{package}.{name}")
            except ImportError as error:  # `hasattr` returns False only for an AttributeError.
                raise AttributeError(str(error)) from error
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get, lambda: sorted({*namespace, *names, *parts})


def import_with_keras(modules: Collection[str], unless_importing: Collection[str]) -> None:
    """Imports modules as soon as Keras is imported: now, or right after Keras.

    Keras loads a saved object only if its class is registered, and does not import the module that registers it.

    Args:
        modules: The modules, which register classes with Keras.
        unless_importing: Packages that the modules import. If one of them is importing Keras, the modules are imported
            at the first use of a name of `maml_tf` instead.
    """

    def do() -> None:
        begun = [
            module
            for name, module in list(sys.modules.items())
            if name.startswith(tuple(unless_importing)) and getattr(module.__spec__, "_initializing", False)
        ]
        if not begun:
            for module in modules:
                importlib.import_module(module)

    if "keras" in sys.modules:
        do()
    else:
        sys.meta_path.insert(0, _After("keras", do))


class _After(importlib.abc.MetaPathFinder):
    """Calls a function once, after a module is imported."""

    def __init__(self, module: str, do: Callable[[], None]):
        self._module, self._do = module, do

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname != self._module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_do(module: Any) -> None:
                execute(module)
                self._do()

            spec.loader.exec_module = execute_and_do
        return spec
