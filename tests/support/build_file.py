"""Writes the BUILD file from the imports: `python tests/support/build_file.py --write`.

One target a package, binary and test. A package is a folder or a module directly under maml_tf/; its sources are a
glob, so that a new module changes nothing in BUILD and an import between packages one line.
"""

from __future__ import annotations

import argparse
import ast
import pathlib
import sys
import textwrap

if not __package__:  # Run as a script: the project's folder is not on the path.
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from tests.support.source_tree import PROJECT, SourceTree

COMMAND = "python tests/support/build_file.py --write"

# The distribution of each foreign module that is named otherwise.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "absl": "absl-py",
    "tensorflow_datasets": "tensorflow-datasets",
    "tensorflow_probability": "tensorflow-probability",
    "tf_agents": "tf-agents",
}

# Not beside the other packages in Bazel's lock: it asks for an older MuJoCo.
NOT_LOCKED = {"metaworld"}

HEADER = f"""\
# One target a package, binary and test; MODULE.bazel brings the rules and the packages from outside (@pypi//).
# tests/build_file_test.py holds the deps to the imports. To write this file anew: {COMMAND}

load("@rules_python//python:defs.bzl", "py_binary", "py_library", "py_test")

package(default_visibility = ["//visibility:public"])

licenses(["notice"])

# What the tests of the repository read.
filegroup(name = "project", testonly = True, srcs = glob(["*", "bin/**", "docs/**", "maml_tf/**", "tests/**"]))

filegroup(name = "testdata", testonly = True, srcs = glob(["testdata/**"], allow_empty = True))
"""

LIBRARIES = """\
[
    py_library(
        name = path.replace("/", "."),
        srcs = glob([path + ".py", path + "/**/*.py"], allow_empty = True),
        data = glob([path + "/**"], exclude = ["**/*.py", "**/*.pyc"], allow_empty = True),
        deps = deps,
    )
    for path, deps in {{
{packages}
    }}.items()
]

py_library(
    name = "maml_tf",
    srcs = ["maml_tf/__init__.py"],
    deps = {maml_tf},
)

py_library(
    name = "tests.support",
    testonly = True,
    srcs = glob(["tests/**/*.py"], exclude = ["tests/**/*_test.py"]),
    deps = {support},
)
"""

BINARIES = """\
[
    py_binary(name = file[:-len(".py")].replace("/", "."), srcs = [file], main = file, deps = [":bin"])
    for file in glob(["bin/*.py"])
]
"""

TESTS = """\
[
    py_test(
        name = file[:-len(".py")].replace("/", "."),
        srcs = [file],
        main = file,
        data = [":testdata"] + ([":project"] if folder in ("tests", "tests/bin") else []),
        deps = deps,
    )
    for folder, deps in {{
{folders}
    }}.items()
    for file in glob([folder + "/*_test.py"])
]
"""


def target_of(module: str) -> str:
    """Returns the target that a module belongs to; a test's is its folder, which has one target a test."""
    parts = module.split(".")
    if parts[0] == "maml_tf":
        return ".".join(parts[:2])
    if parts[0] == "tests":
        return ".".join(parts[:-1]) if parts[-1].endswith("_test") else "tests.support"
    return parts[0]


def dependencies(tree: SourceTree) -> dict[str, set[str]]:
    """Returns every target's deps: targets by their names, distributions as "@pypi//name"."""
    targets: dict[str, set[str]] = {}
    for module, source in sorted(tree.files.items()):
        deps = targets.setdefault(target_of(module), set())
        deps |= {target_of(imported.name) for imported in tree.internal_imports(source)}
        deps |= {f"@pypi//{_label(name)}" for name in distributions(tree, source) - NOT_LOCKED}
    if "tests.bin" in targets:  # These run the binaries as processes.
        targets["tests.bin"].add("bin")
    return {target: deps - {target} for target, deps in targets.items()}


def distributions(tree: SourceTree, source) -> set[str]:
    return {DISTRIBUTIONS.get(i.top, i.top) for i in tree.external_imports(source)}


def build_text(tree: SourceTree) -> str:
    targets = dependencies(tree)
    tests = {target_of(source.module) for source in tree.files.values() if source.path.endswith("_test.py")}
    packages = [target for target in targets if target not in {*tests, "maml_tf", "tests.support"}]
    libraries = LIBRARIES.format(
        packages=_table(targets, packages),
        maml_tf=_labels(targets["maml_tf"], indent=4),
        support=_labels(targets["tests.support"], indent=4),
    )
    return "\n".join([HEADER, libraries, BINARIES, TESTS.format(folders=_table(targets, sorted(tests)))])


def _table(targets: dict[str, set[str]], names: list[str]) -> str:
    return "\n".join(f'        "{name.replace(".", "/")}": {_labels(targets[name], indent=8)},' for name in names)


def cycle(deps: dict[str, set[str]]) -> list[str]:
    """Returns a way through the targets that comes back to its start, or nothing."""

    def back_to(start: str, target: str, seen: set[str]) -> list[str]:
        for dep in sorted(deps.get(target, ())):
            if dep == start:
                return [target, dep]
            if dep not in seen:
                seen.add(dep)
                if way := back_to(start, dep, seen):
                    return [target, *way]
        return []

    return next((way for target in deps if (way := back_to(target, target, set()))), [])


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


def _labels(deps: set[str], indent: int) -> str:
    """The list of labels: the project's own and then those from outside, each on lines of its own if they are long."""
    own, foreign = (
        ", ".join(f'"{label}"' for label in labels)
        for labels in (
            sorted(f":{dep}" for dep in deps if not dep.startswith("@")),
            sorted(dep for dep in deps if dep.startswith("@")),
        )
    )
    if len(own + foreign) < 103:
        return f"[{', '.join(filter(None, (own, foreign)))}]"
    margin = " " * (indent + 4)
    lines = [
        line
        for labels in (own, foreign)
        for line in textwrap.wrap(f"{labels},", 120, initial_indent=margin, subsequent_indent=margin)
        if labels
    ]
    return "\n".join(["[", *lines, " " * indent + "]"])


def _label(distribution: str) -> str:
    return distribution.lower().replace("-", "_").replace(".", "_")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="Write BUILD; without, print what it would be.")
    text = build_text(SourceTree())
    if parser.parse_args().write:
        (PROJECT / "BUILD").write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
