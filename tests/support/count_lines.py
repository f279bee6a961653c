"""Prints how many files and lines of code a folder has, without docstrings, comments and blank lines.

python tests/support/count_lines.py [FOLDER]        (maml_tf where none is given)
"""

from __future__ import annotations

import ast
import io
import pathlib
import subprocess
import sys
import tokenize

_LAYOUT = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


def lines_of_code(text: str) -> int:
    code = {
        line
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in _LAYOUT
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(code - _docstring_lines(ast.parse(text)))


def _docstring_lines(module: ast.Module) -> set[int]:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = (
        node.body[0]
        for node in ast.walk(module)
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None
    )
    return {line for docstring in docstrings for line in range(docstring.lineno, docstring.end_lineno + 1)}


def main(folder: str = "maml_tf") -> None:
    listed = subprocess.run(["git", "ls-files", f"{folder}/*.py"], capture_output=True, text=True, check=True)
    counts: dict[str, list[int]] = {}
    for path in map(pathlib.Path, listed.stdout.split()):
        if path.exists():
            room = "/".join(path.parts[:2] if path.parent != pathlib.Path(folder) else path.parts[:1])
            counts.setdefault(room, []).append(lines_of_code(path.read_text(encoding="utf-8")))
    everything = [number for numbers in counts.values() for number in numbers]
    for room, lines in [*sorted(counts.items()), ("all", everything)]:
        print(f"{room:30}{len(lines):5} files{sum(lines):7} lines of code")


if __name__ == "__main__":
    main(*sys.argv[1:])
