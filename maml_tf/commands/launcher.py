"""`maml-tf`: one program for all commands."""

from __future__ import annotations

import ast
import difflib
import importlib
import pathlib
import re
import sys
from collections.abc import Sequence

import maml_tf
from maml_tf.tables import aligned

# In the order in which they are listed.
COMMANDS = {
    "experiments of the paper, and Meta-World": (
        "sinusoid", "omniglot", "mini_imagenet", "point_navigation", "half_cheetah", "ant", "meta_world",
    ),
    "your own data, algorithms and environments": ("few_shot", "compare", "meta_rl"),
    "what was trained": ("evaluate", "evaluate_policy", "export", "serve", "publish", "import_original"),
    "tools": ("sweep", "demo", "prepare_mini_imagenet", "benchmark"),
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command; without one, lists all of them.

    Args:
        arguments: The command's name, with dashes or underscores, and its flags; by default those of the process.
    """
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    names = [name for of_group in COMMANDS.values() for name in of_group]
    if name in ("--help", "-h", "help"):
        sys.stdout.write(listing())
    elif name == "--version":
        sys.stdout.write(f"maml_tf {maml_tf.__version__}\n")
    elif (module := name.replace("-", "_")) in names:
        sys.argv = [f"maml-tf {_dashed(module)}", *rest]
        importlib.import_module(f"maml_tf.commands.{module}").main()
    else:
        near = difflib.get_close_matches(module, names, n=1, cutoff=0.5)
        hint = f" Did you mean {_dashed(near[0])}?" if near else ""
        sys.exit(f"Error: Expected a command that `maml-tf --help` lists. Received: {name!r}.{hint}")


def listing() -> str:
    """Lists the commands, a line each; nothing of them is imported."""
    lines = ["usage: maml-tf COMMAND [--flag=value ...]", ""]
    width = max(len(name) for of_group in COMMANDS.values() for name in of_group)
    for title, of_group in COMMANDS.items():
        rows = [("  " + _dashed(name).ljust(width), _summary(name)) for name in of_group]
        lines += [f"{title}:", aligned(rows), ""]
    return "\n".join([*lines, "`maml-tf COMMAND --help` lists its flags, with their defaults, and its presets.", ""])


def _summary(name: str) -> str:
    """Reads the first line of a command's docstring, without its parentheses."""
    text = pathlib.Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    return re.sub(r" \(.*?\)", "", (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0])


def _dashed(name: str) -> str:
    return name.replace("_", "-")
