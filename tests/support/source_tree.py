"""The project's Python files and what each of them imports, read without running any."""

from __future__ import annotations

import ast
import functools
import pathlib
import sys
from collections.abc import Iterator
from typing import NamedTuple

PROJECT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE_FOLDERS = ("maml_tf", "bin", "tests")


class Import(NamedTuple):
    """One imported name: `from absl import flags` is "absl.flags"."""

    name: str
    line: int

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]


class SourceFile(NamedTuple):
    path: str  # Relative to the project, with slashes.
    module: str  # The dotted name; for an __init__.py, its package's.
    text: str
    tree: ast.Module


class SourceTree:
    """All Python files under maml_tf/, bin/ and tests/ of a project folder."""

    def __init__(self, root: pathlib.Path = PROJECT):
        self.root = pathlib.Path(root)

    @functools.cached_property
    def files(self) -> dict[str, SourceFile]:
        """Every file by the name of its module, in the order of the paths."""
        paths = [path for folder in PACKAGE_FOLDERS for path in sorted((self.root / folder).rglob("*.py"))]
        sources = [_read(path, self.root) for path in paths]
        return {source.module: source for source in sources}

    def under(self, *prefixes: str) -> list[SourceFile]:
        """The files of the modules named, and of all modules below these."""
        return [source for module, source in self.files.items() if is_under(module, *prefixes)]

    def internal_imports(self, source: SourceFile) -> list[Import]:
        """The project's own modules that the file imports, each by the module's name alone."""
        return [
            Import(self._module_of(imported), imported.line)
            for imported in imports(source)
            if imported.top in PACKAGE_FOLDERS
        ]

    def external_imports(self, source: SourceFile) -> list[Import]:
        """What the file imports from outside both the project and Python's standard library."""
        known = {*PACKAGE_FOLDERS, *sys.stdlib_module_names}
        return [imported for imported in imports(source) if imported.top not in known]

    def _module_of(self, imported: Import) -> str:
        base = imported.name.rpartition(".")[0]
        return base if imported.name not in self.files and base in self.files else imported.name


def is_under(module: str, *prefixes: str) -> bool:
    return any(module == prefix or module.startswith(prefix + ".") for prefix in prefixes)


def imports(source: SourceFile) -> list[Import]:
    """Every import in the file: at the top, inside functions, under TYPE_CHECKING, and by import_module."""
    return [Import(name, node.lineno) for node in ast.walk(source.tree) for name in _imported(node, source)]


def _imported(node: ast.AST, source: SourceFile) -> Iterator[str]:
    match node:
        case ast.Import():
            yield from (alias.name for alias in node.names)
        case ast.ImportFrom():
            base = _absolute_base(node, source)
            yield from (base if alias.name == "*" else f"{base}.{alias.name}" for alias in node.names)
        case ast.Call(
            func=ast.Name("import_module" | "__import__") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(str() as name), *_],
        ):
            yield name


def _absolute_base(node: ast.ImportFrom, source: SourceFile) -> str:
    if not node.level:
        return node.module
    package = source.module.split(".")
    if not source.path.endswith("__init__.py"):
        package = package[:-1]
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, node.module] if node.module else package)


def _read(path: pathlib.Path, root: pathlib.Path) -> SourceFile:
    relative = path.relative_to(root)
    text = path.read_text(encoding="utf-8")
    parts = relative.with_suffix("").parts
    module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return SourceFile(relative.as_posix(), module, text, ast.parse(text, filename=str(path)))


def write_tree(root: pathlib.Path, files: dict[str, str]) -> SourceTree:
    """Writes a small project, for the tests of what reads projects."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return SourceTree(root)
