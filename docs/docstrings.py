"""A Sphinx extension: docstrings, with Markdown's code and tables, as reStructuredText, and classes' arguments."""

import inspect
import itertools
import re

from sphinx.util.inspect import signature, stringify_signature

_CODE = re.compile(r"(`+)(.+?)\1", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][\w.]*(\(\))?")
_TABLE = ".. list-table::\n   :header-rows: 1\n"


def restructured(lines):
    """Returns the lines of a docstring in reStructuredText; examples stay as they are."""
    converted, in_example = [], False
    blocks = []
    for line in lines:
        in_example = bool(line.strip()) and (in_example or line.lstrip().startswith(">>>"))
        blocks.append(("example" if in_example else "table" if line.lstrip().startswith("|") else "text", line))
    for kind, group in itertools.groupby(blocks, key=lambda block: block[0]):
        text = "\n".join(line for _, line in group)
        if kind == "text":
            text = _text(text)
        elif kind == "table":
            text = _table(text)
        converted += text.split("\n")
    return converted


def _text(text):
    parts, end = [], 0
    for code in _CODE.finditer(text):
        parts += [_escaped(text[end : code.start()]), _code(code[2])]
        end = code.end()
    text = "".join([*parts, _escaped(text[end:])])
    # Napoleon takes no section whose lines are not indented.
    text = re.sub(r"^( *)Example:$", r"\1.. rubric:: Example\n", text, flags=re.MULTILINE)
    return re.sub(r"^( *)Source: ", r"\1**Source:** ", text, flags=re.MULTILINE)


def _code(code):
    return f":py:obj:`{code}`" if _NAME.fullmatch(code) else f"``{code}``"


def _escaped(text):
    return re.sub(r"([*|])|(?<=\w)(_)(?!\w)", r"\\\1\2", text)


def _table(text):
    indent = re.match(" *", text)[0]
    rows = [line.strip().strip("|").split("|") for line in text.split("\n")]
    lines = [*_TABLE.split("\n")]
    for row in [rows[0], *rows[2:]]:
        lines += [f"   {'-' if place else '* -'} {_text(cell.strip())}" for place, cell in enumerate(row)]
    return "\n".join(indent + re.sub("^   - ", "     - ", line) for line in ["", *lines, ""])


def _convert(app, what, name, documented, options, lines):
    lines[:] = restructured(lines)


def _arguments(app, what, name, documented, options, arguments, returned):
    """Returns a class's arguments, which Keras hides behind a `__new__` that takes any."""
    if what != "class" or not inspect.isfunction(documented.__init__) or (arguments or "") != "(*args, **kwargs)":
        return None
    return stringify_signature(signature(documented.__init__, bound_method=True), unqualified_typehints=True), returned


def setup(app):
    """Converts docstrings before napoleon reads their sections."""
    app.connect("autodoc-process-docstring", _convert, priority=400)
    app.connect("autodoc-process-signature", _arguments)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
