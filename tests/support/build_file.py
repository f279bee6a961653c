"""The BUILD file: what it must say, going by the imports, and what it says.

Run `python tests/support/build_file.py` to compare the two, with `--write` to write BUILD anew.
"""

from __future__ import annotations

import ast
import pathlib
import sys
from typing import NamedTuple

if not __package__:  # Run as a script: the project's folder is not on the path.
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from tests.support.source_tree import PACKAGE_FOLDERS, PROJECT, SourceFile, SourceTree

COMMAND = "python tests/support/build_file.py --write"

# The distribution that each foreign module comes from.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "absl": "absl-py",
    "gymnasium": "gymnasium",
    "h5py": "h5py",
    "hypothesis": "hypothesis",
    "imageio": "imageio",
    "keras": "keras",
    "matplotlib": "matplotlib",
    "mujoco": "mujoco",
    "numpy": "numpy",
    "pytest": "pytest",
    "tensorboard": "tensorboard",
    "tensorflow": "tensorflow",
    "tensorflow_probability": "tensorflow-probability",
    "tf_agents": "tf-agents",
    "tf_keras": "tf_keras",
}

# The package that a module of it names to importlib.resources, and the target of the files found there.
PACKAGE_FILES = {"maml_tf.pretrained": "pretrained_weights", "maml_tf.tasks": "splits"}

HEADER = f"""\
# Targets for Bazel with rules_python: one for each module, binary and test, named after its module, with the
# targets that it imports as its deps. `@pypi//x` is a package from outside: the distribution x that setup.py
# asks for, its name written as rules_python does, in small letters and with underscores for dashes and dots.
#
# tests/build_file_test.py holds this file to the imports. To write it anew: {COMMAND}

load("@rules_python//python:defs.bzl", "py_binary", "py_library", "py_test")

package(default_visibility = ["//visibility:public"])

licenses(["notice"])

filegroup(
    name = "testdata",
    testonly = True,
    srcs = glob(["testdata/**"], allow_empty = True),
)

filegroup(
    name = "pretrained_weights",
    srcs = glob(["maml_tf/pretrained/weights/**"]),
)

filegroup(
    name = "splits",
    srcs = glob(["maml_tf/tasks/splits/*.txt"]),
)
"""


class Target(NamedTuple):
    rule: str
    name: str
    attributes: dict[str, object]

    def __str__(self) -> str:
        lines = [f"    {name} = {_literal(value)}," for name, value in self.attributes.items()]
        return "\n".join([f"{self.rule}(", f'    name = "{self.name}",', *lines, ")\n"])


class UnknownImportError(ValueError):
    pass


def expected_targets(tree: SourceTree) -> dict[str, Target]:
    """Returns the targets that the project's files need, by name."""
    return {source.module: _target(tree, source) for source in tree.files.values()}


def build_text(tree: SourceTree) -> str:
    return "\n".join([HEADER, *map(str, expected_targets(tree).values())])


def parse_targets(text: str) -> list[Target]:
    """Returns the Python targets of a BUILD file, which is Python to the parser."""
    calls = [node.value for node in ast.parse(text).body if isinstance(node, ast.Expr)]
    return [
        _parse_target(call)
        for call in calls
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id.startswith("py_")
    ]


def problems(tree: SourceTree, text: str) -> list[str]:
    """Returns what is wrong with the text of a BUILD file, a line for each fault."""
    expected = expected_targets(tree)
    present = parse_targets(text)
    names = [target.name for target in present]
    found = [f"{name}: has more than one target" for name in sorted(set(names)) if names.count(name) > 1]
    found += [f"{name}: target is missing" for name in expected if name not in names]
    for target in present:
        if target.name in expected:
            found += _differences(target, expected[target.name])
        else:
            found.append(f"{target.name}: target is stale, no such module")
    return found


def distributions_used(tree: SourceTree) -> set[str]:
    """Returns the distributions that the project's files import from."""
    return {DISTRIBUTIONS[i.top] for source in tree.files.values() for i in tree.external_imports(source)}


def setup_arguments(text: str) -> dict[str, object]:
    """Returns those arguments of the call of setup() in the text of a setup.py that are literals."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    (setup,) = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "setup"]
    arguments = {}
    for keyword in setup.keywords:
        try:
            arguments[keyword.arg] = ast.literal_eval(keyword.value)
        except ValueError:
            continue
    return arguments


def _target(tree: SourceTree, source: SourceFile) -> Target:
    attributes: dict[str, object] = {"srcs": [source.path]}
    rule = "py_library"
    if source.module.startswith("bin."):
        rule = "py_binary"
        attributes["main"] = source.path
    elif source.path.endswith("_test.py"):
        rule = "py_test"
        attributes["main"] = source.path
    elif source.module.startswith("tests."):
        attributes["testonly"] = True
    attributes["data"] = _data(tree, source)
    attributes["deps"] = _deps(tree, source)
    return Target(rule, source.module, {name: value for name, value in attributes.items() if value != []})


def _data(tree: SourceTree, source: SourceFile) -> list[str]:
    """What a module runs or reads without importing it: a test its binary and files of testdata/, others of theirs."""
    constants = {node.value for node in ast.walk(source.tree) if isinstance(node, ast.Constant)}
    if not source.path.endswith("_test.py"):
        return [
            f":{target}"
            for package, target in PACKAGE_FILES.items()
            if source.module.startswith(package) and package in constants
        ]
    data = []
    binary = source.module.removeprefix("tests.").removesuffix("_test")
    if binary.startswith("bin.") and binary in tree.files:
        data.append(f":{binary}")
    if any(isinstance(value, str) and "testdata" in value for value in constants):
        data.append(":testdata")
    return data


def _deps(tree: SourceTree, source: SourceFile) -> list[str]:
    deps = set()
    for imported in tree.internal_imports(source):
        if imported.name not in tree.files:
            where = f"{source.path}:{imported.line}"
            raise UnknownImportError(f"{where}: no module {imported.name} in this project")
        if imported.name != source.module:
            deps.add(f":{imported.name}")
    for imported in tree.external_imports(source):
        if imported.top not in DISTRIBUTIONS:
            raise UnknownImportError(
                f"{source.path}:{imported.line}: {imported.name} comes from no known distribution. A module "
                f"of this project is imported by its full name, from {' or '.join(PACKAGE_FOLDERS)}; a new "
                "package is named in DISTRIBUTIONS in tests/support/build_file.py and in setup.py"
            )
        deps.add(f"@pypi//{_label(DISTRIBUTIONS[imported.top])}")
    return sorted(deps)


def _label(distribution: str) -> str:
    return distribution.lower().replace("-", "_").replace(".", "_")


def _differences(present: Target, expected: Target) -> list[str]:
    name = present.name
    found = []
    if present.rule != expected.rule:
        found.append(f"{name}: is a {present.rule}, should be a {expected.rule}")
    for key in sorted({*present.attributes, *expected.attributes}):
        old, new = present.attributes.get(key), expected.attributes.get(key)
        if isinstance(old or [], list) and isinstance(new or [], list):
            old, new = old or [], new or []
            found += [f"{name}: {key} lacks {value}" for value in new if value not in old]
            found += [f"{name}: {key} has {value}, which is superfluous" for value in old if value not in new]
            found += [f"{name}: {key} repeats {value}" for value in sorted(set(old)) if old.count(value) > 1]
        elif old != new:
            found.append(f"{name}: {key} is {old!r}, should be {new!r}")
    return found


def _parse_target(call: ast.Call) -> Target:
    attributes = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    return Target(call.func.id, attributes.pop("name"), attributes)


def _literal(value: object) -> str:
    if isinstance(value, list) and len(value) > 1:
        return "\n".join(["[", *(f'        "{item}",' for item in value), "    ]"])
    if isinstance(value, list):
        return f'["{value[0]}"]'
    return f'"{value}"' if isinstance(value, str) else repr(value)


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--write"]):
        sys.exit(f"usage: python {sys.argv[0]} [--write]")
    build = PROJECT / "BUILD"
    try:
        if arguments:
            build.write_text(build_text(SourceTree()), encoding="utf-8")
        found = problems(SourceTree(), build.read_text(encoding="utf-8"))
    except UnknownImportError as error:
        sys.exit(str(error))
    print("\n".join([*found, f"To write BUILD anew: {COMMAND}"] if found else ["BUILD agrees with the imports"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
