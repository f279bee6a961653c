"""What --help says: a program's flags in groups, with their defaults and bounds, and its presets.

absl's own help sorts the flags of each module by the alphabet. argparse lays the text out.
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from maml_tf.configuration import Setting

# The flags of a configuration by the roles of its fields.
_GROUPS = {
    "training (a resume changes the number of iterations alone)": ("training", "length"),
    "validation and test": ("evaluation", "test"),
    "machine and files (no result depends on these)": ("runtime", "process"),
}
_WIDTH, _NAMES_WIDTH = 110, 28
_EPILOG = "--helpfull lists the flags of logging too, such as --verbosity."


def help_text(
    flags: Any, program: str, about: str, chosen: Sequence[Setting] = (), presets: Mapping[str, Any] | None = None
) -> str:
    """Makes the text of --help.

    Args:
        flags: The module `absl.flags`, after the program's flags were defined.
        program: What starts the program.
        about: What the program does.
        chosen: The settings of the program's configuration, which are grouped by their roles.
        presets: From the name of a preset to the fields that it sets.

    Returns:
        The text: the program's own flags in the order of their definition, those of the configuration, the presets.
    """
    by_module = flags.FLAGS.flags_by_module_dict()
    # absl defines flags too, and TensorFlow, which a registered file may import.
    defined = {flag.name: flag for module, found in by_module.items() if _is_ours(module) for flag in found}
    settings = {field.flag_name: field for field in chosen}
    width = min(_WIDTH, shutil.get_terminal_size((_WIDTH, 24)).columns)
    parser = argparse.ArgumentParser(
        prog=program,
        usage="%(prog)s [--flag=value ...]",
        description=about.strip(),
        epilog="\n\n".join(filter(None, [_presets_text(presets, width), _EPILOG])),
        formatter_class=lambda prog: _Formatter(prog, max_help_position=_NAMES_WIDTH, width=width),
        add_help=False,
    )
    # What a process chooses among is what is run, such as methods.
    run = {name for name, field in settings.items() if field.role == "process" and field.choices}
    _add_group(parser, "flags", (flag for name, flag in defined.items() if name not in settings or name in run))
    for title, roles in _GROUPS.items():
        of_roles = (name for name, field in settings.items() if field.role in roles and name not in run)
        _add_group(parser, title, (defined[name] for name in of_roles))
    return parser.format_help()


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """argparse's, with an equals sign between a flag and its value."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        [name] = action.option_strings
        return name if action.nargs == 0 else f"{name}={action.metavar}"


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == __name__.partition(".")[0]


def _add_group(parser: argparse.ArgumentParser, title: str, found: Iterable[Any]) -> None:
    found = list(found)
    if found:
        group = parser.add_argument_group(title)
        for flag in found:
            name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
            shown = {"action": "store_true"} if flag.boolean else {"metavar": _metavar(flag)}
            group.add_argument(name, dest=flag.name, help=_flag_text(flag).replace("%", "%%"), **shown)


def _metavar(flag: Any) -> str:
    kind = flag.flag_type().rpartition(" ")[2]
    return {"int": "N", "float": "X", "enum": "NAME", "list": "A,B"}.get(kind, "VALUE")


def _flag_text(flag: Any) -> str:
    """The help of a flag, what it takes, and the default where the help does not name it."""
    # absl writes the choices before the help, and behind it that it may be repeated.
    text, repeated, _ = re.sub(r"^<[^>]*>: ", "", flag.help).partition(";\n    repeat this option")
    parts = [text]
    takes = flag.parser.syntactic_help
    choices = getattr(flag.parser, "enum_values", None)
    if choices:
        parts.append(f"One of {', '.join(choices)}.")
    elif takes and takes != "a comma separated list":
        parts.append(f"{takes[0].upper()}{takes[1:]}.")
    if flag.default not in (None, [], "") and "By default" not in flag.help:
        parts.append(f"By default {_text(flag.default)}.")
    return " ".join([*parts, "May be repeated."] if repeated else parts)


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _presets_text(presets: Mapping[str, Any] | None, width: int) -> str:
    """A line a preset: the first one whole, of the others what differs from it."""
    if not presets:
        return ""
    first = next(iter(presets.values()))
    parser = argparse.ArgumentParser(
        usage=argparse.SUPPRESS,
        add_help=False,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=36, width=width),
    )
    group = parser.add_argument_group("presets (of those after the first, what differs from it)")
    for name, fields in presets.items():
        shown = fields if fields is first else {key: one for key, one in fields.items() if first.get(key) != one}
        group.add_argument(name, help="  ".join(f"{key}={_text(one)}" for key, one in shown.items()).replace("%", "%%"))
    return parser.format_help().strip("\n")
