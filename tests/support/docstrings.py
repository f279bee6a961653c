"""What the docstring of a public class, function or method must say, checked on its source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Set

# Methods that Keras documents: a class with a base repeats it only where it has something to add.
OVERRIDES = frozenset(
    {
        "add_loss",
        "add_weight",
        "build",
        "build_from_config",
        "call",
        "compile",
        "compile_from_config",
        "compute_loss",
        "compute_metrics",
        "compute_output_shape",
        "compute_output_spec",
        "evaluate",
        "fit",
        "get_build_config",
        "get_compile_config",
        "load_own_variables",
        "metrics",
        "predict",
        "predict_step",
        "reset_state",
        "result",
        "save_own_variables",
        "test_step",
        "train_step",
        "update_state",
    }
)
# Keras asks any object that it saves for these.
SERIALIZATION = ("from_config", "get_config")
CALLBACK = re.compile(r"on_(train|test|predict|epoch)(_batch)?_(begin|end)|set_(model|params)")

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_HEADING = re.compile(r"^([A-Z][A-Za-z ]*):$", re.MULTILINE)


def problems(text: str, path: str = "module.py", documented: Mapping[str, Set[str]] | None = None) -> list[str]:
    """Returns what the docstrings of a module's public names lack, a line for each fault.

    `documented` is what methods_by_class() returns for the modules that classes here may derive from.
    """
    return list(_module_problems(ast.parse(text), path, documented or {}))


def methods_by_class(texts: Iterable[str]) -> dict[str, set[str]]:
    """Returns the names of the methods of each class that have a docstring, in all the modules given."""
    classes = [node for text in texts for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    return {node.name: {method.name for method in _methods(node) if ast.get_docstring(method)} for node in classes}


def _module_problems(tree: ast.Module, path: str, documented: Mapping[str, Set[str]]) -> Iterator[str]:
    if ast.get_docstring(tree) is None:
        yield f"{path}:1: the module has no docstring"
    for node in tree.body:
        if isinstance(node, _Function) and _is_public(node):
            yield from _function_problems(node, node.name, path)
        elif isinstance(node, ast.ClassDef) and _is_public(node):
            yield from _class_problems(node, path, documented)


def _class_problems(node: ast.ClassDef, path: str, documented: Mapping[str, Set[str]]) -> Iterator[str]:
    documentation = ast.get_docstring(node)
    where = f"{path}:{node.lineno}: {node.name}"
    if documentation is None:
        yield f"{where} has no docstring"
    yield from _stray_examples(where, documentation or "")
    inherited = {name for base in node.bases for name in documented.get(_last_name(base), ())}
    for function in _methods(node):
        if function.name == "__init__":
            both = f"{documentation or ''}\n\n{ast.get_docstring(function) or ''}"
            names = [name for name in _parameters(function, bound=True) if name != "kwargs" or not node.bases]
            yield from _unnamed(where, "Args", names, both)
        elif _is_public(function) and function.name not in inherited and not _is_of_keras(node, function):
            bound = not _has_decorator(function, "staticmethod")
            yield from _function_problems(function, f"{node.name}.{function.name}", path, bound)
    if _is_record(node):
        yield from _unnamed(where, "Attributes", _fields(node), documentation or "")


def _function_problems(node: _Function, name: str, path: str, bound: bool = False) -> Iterator[str]:
    if _has_decorator(node, "overload", "setter", "override"):
        return
    where = f"{path}:{node.lineno}: {name}"
    documentation = ast.get_docstring(node)
    if documentation is None:
        yield f"{where} has no docstring"
        return
    yield from _stray_examples(where, documentation)
    yield from _unnamed(where, "Args", _parameters(node, bound), documentation)
    sections = _sections(documentation)
    is_property = _has_decorator(node, "property", "cached_property")
    own = list(_own_nodes(node))
    if any(isinstance(child, ast.Yield | ast.YieldFrom) for child in own):
        if not {"Yields", "Returns"} & set(sections):
            yield f"{where} yields values and has no section Yields"
    elif not is_property and _returns_a_value(node, own) and "Returns" not in sections:
        yield f"{where} returns a value and has no section Returns"
    raised = sorted({error for child in own if isinstance(child, ast.Raise) if (error := _raised(child))})
    if raised and "Raises" not in sections:
        yield f"{where} raises {', '.join(raised)} and has no section Raises"
    elif raised:
        for error in raised:
            if not _names(sections["Raises"], error):
                yield f"{where} raises {error}, which its section Raises does not name"


def _unnamed(where: str, section: str, names: list[str], documentation: str) -> Iterator[str]:
    """The parameters of a function or fields of a record: these may stand in Args too, as they are both."""
    sections = _sections(documentation)
    text = "\n".join(sections.get(title, "") for title in {section, "Args"})
    missing = [name for name in names if not _names(text, name)]
    if missing:
        yield f"{where} does not say in its section {section} what these are: {', '.join(missing)}"


def _stray_examples(where: str, documentation: str) -> Iterator[str]:
    start, *parts = _HEADING.split(documentation)
    if any(
        ">>> " in text
        for title, text in zip(["", *parts[::2]], [start, *parts[1::2]], strict=True)
        if title != "Example"
    ):
        yield f"{where} has an example outside a section Example"


def _sections(documentation: str) -> dict[str, str]:
    """Returns the text under each heading such as "Args:" that stands at the left edge."""
    _, *parts = _HEADING.split(documentation)
    sections: dict[str, str] = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        sections[name] = sections.get(name, "") + text
    return sections


def _names(section: str, name: str) -> bool:
    """Whether an entry of the section starts with the name: `name: ...` or `first, name: ...`."""
    entries = re.findall(r"^ +((?:\*{0,2}[\w.]+(?: \([^)]*\))?(?:, | and )?)+):", section, re.MULTILINE)
    return any(name in re.findall(r"[\w.]+", re.sub(r"\([^)]*\)", "", entry)) for entry in entries)


def _is_public(node: ast.ClassDef | _Function) -> bool:
    return not node.name.startswith("_")


def _is_of_keras(owner: ast.ClassDef, method: _Function) -> bool:
    if method.name in SERIALIZATION:
        return True
    return bool(owner.bases) and (method.name in OVERRIDES or CALLBACK.fullmatch(method.name) is not None)


def _methods(node: ast.ClassDef) -> list[_Function]:
    return [child for child in node.body if isinstance(child, _Function)]


def _has_decorator(node: ast.ClassDef | _Function, *names: str) -> bool:
    return any(_last_name(decorator) in names for decorator in node.decorator_list)


def _is_record(node: ast.ClassDef) -> bool:
    return _has_decorator(node, "dataclass") or any(_last_name(base) == "NamedTuple" for base in node.bases)


def _fields(node: ast.ClassDef) -> list[str]:
    names = [child.target.id for child in node.body if isinstance(child, ast.AnnAssign)]
    return [name for name in names if not name.startswith("_")]


def _parameters(node: _Function, bound: bool) -> list[str]:
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args][1 if bound else 0 :]
    variadic = [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
    names = [argument.arg for argument in (*positional, *arguments.kwonlyargs, *variadic)]
    return [name for name in names if not name.startswith("_")]


def _returns_a_value(node: _Function, own: list[ast.AST]) -> bool:
    if isinstance(node.returns, ast.Constant) and node.returns.value is None:
        return False
    if any(isinstance(child, ast.Return) and not _is_none(child.value) for child in own):
        return True
    # A body without a return, as in a Protocol: what the annotation says, unless it never comes back.
    return node.returns is not None and _last_name(node.returns) not in ("NoReturn", "Never")


def _is_none(value: ast.expr | None) -> bool:
    return value is None or (isinstance(value, ast.Constant) and value.value is None)


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a function's body but those of the functions and classes inside it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, _Function | ast.ClassDef | ast.Lambda):
            yield child
            yield from _own_nodes(child)


def _raised(node: ast.Raise) -> str | None:
    """Returns the name of the error class raised, or None for an error that came from elsewhere."""
    error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    name = _last_name(error)
    return name if name and name[0].isupper() else None


def _last_name(node: ast.expr | None) -> str | None:
    if isinstance(node, ast.Call):
        node = node.func
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None
