"""Runs the examples in the docstrings of maml_tf and the Python blocks of README.md and of docs/."""

import doctest
import importlib
import importlib.util
import os
import re
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf.algorithms import algorithms
from maml_tf.methods import methods
from maml_tf.rl.environments import environments
from maml_tf.tasks.dataset import datasets
from tests.support.keras_warnings import ignore_array_copy
from tests.support.source_tree import PROJECT, SourceTree

# An example imports the rest itself, so that a reader can paste it.
_NAMES = {"keras": keras, "np": np, "tf": tf}
_HAS_RL = importlib.util.find_spec("tf_agents") is not None
_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_FENCED_PYTHON = re.compile(r"^```python[^\S\n]*\n(.*?)^```[^\S\n]*$", re.DOTALL | re.MULTILINE)
_MODULES = [source.module for source in SourceTree().under("maml_tf") if ">>>" in source.text]


def _blocks(markdown: str) -> list[tuple[int, str]]:
    """Returns the line number and text of each fenced block of Python."""
    found = _FENCED_PYTHON.finditer(markdown)
    return [(markdown.count("\n", 0, match.start(1)) + 1, match[1]) for match in found]


_MARKDOWN = {
    path.relative_to(PROJECT).as_posix(): path
    for path in (PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md")))
    if _blocks(path.read_text(encoding="utf-8"))
}


def _run_block(text: str, line: int, path: str, names: dict[str, object]) -> None:
    """Runs a block as written, its tracebacks with the file's line numbers; `>>>` lines are compared too."""
    if ">>>" not in text:
        exec(compile("\n" * (line - 1) + text, path, "exec"), names)
        return
    test = doctest.DocTestParser().get_doctest(text, names, f"line {line}", path, line - 1)
    report: list[str] = []
    doctest.DocTestRunner(optionflags=_OPTIONS).run(test, out=report.append, clear_globs=False)
    names.update(test.globs)
    if report:
        raise AssertionError("".join(report))


class DoctestsTest(parameterized.TestCase):
    @parameterized.named_parameters(*((name, name) for name in _MODULES))
    def test_examples_of(self, name):
        if not _HAS_RL and name.startswith(("maml_tf.rl", "maml_tf.experiments.meta_rl")):
            self.skipTest("needs the extra rl")
        ignore_array_copy()
        examples = doctest.DocTestFinder(exclude_empty=True).find(
            importlib.import_module(name), name, globs=dict(_NAMES)
        )
        attempted = 0
        for example in examples:
            with self.subTest(example.name):
                report: list[str] = []
                runner = doctest.DocTestRunner(optionflags=_OPTIONS)
                attempted += runner.run(example, out=report.append).attempted
                self.assertEmpty(report, "\n" + "".join(report))
        self.assertGreater(attempted, 0, f"{name} shows `>>>` that no doctest runs")

    def test_package_has_examples(self):
        self.assertNotEmpty(_MODULES, "no docstring of maml_tf has an example")


class MarkdownTest(parameterized.TestCase):
    @parameterized.named_parameters(*_MARKDOWN.items())
    def test_blocks_run_in_their_order(self, path):
        ignore_array_copy()
        blocks = _blocks(path.read_text(encoding="utf-8"))
        if not _HAS_RL and any("maml_tf.rl" in text for _, text in blocks):
            self.skipTest("needs the extra rl")
        for registry in (
            algorithms,
            datasets,
            environments,
            methods,
        ):  # What a page registers, other tests do not have.
            self.enter_context(mock.patch.dict(registry._entries))
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.create_tempdir().full_path)
        names: dict[str, object] = {"__name__": "__main__"}
        for line, text in blocks:
            with self.subTest(f"line {line}"):
                _run_block(text, line, str(path), names)

    def test_the_pages_that_show_python_are_found(self):
        self.assertContainsSubset({"README.md", "docs/getting_started.md", "docs/guides/policies.md"}, _MARKDOWN)
        self.assertGreater(len(_MARKDOWN), 20)


class BlocksTest(absltest.TestCase):
    MARKDOWN = "Text\n```python\na = 1\n```\n\n```shell\nls\n```\n```python\n>>> a + 1\n2\n>>> b = a\n```\n"

    def test_finds_blocks_of_python_alone(self):
        self.assertEqual(_blocks(self.MARKDOWN), [(3, "a = 1\n"), (10, ">>> a + 1\n2\n>>> b = a\n")])

    def test_blocks_share_their_names(self):
        names = {}
        for line, text in _blocks(self.MARKDOWN):
            _run_block(text, line, "README.md", names)
        self.assertEqual(names["b"], 1)

    def test_failure_names_the_line_of_the_file(self):
        try:
            _run_block("x = 1\nx.missing\n", 41, "README.md", {})
        except AttributeError as error:
            self.assertEqual(error.__traceback__.tb_next.tb_next.tb_lineno, 42)
        else:
            self.fail("no error")

    def test_wrong_output_fails(self):
        with self.assertRaisesRegex(AssertionError, 'File "README.md", line 7(.|\n)*Expected:\n    3'):
            _run_block(">>> 1 + 1\n3\n", 7, "README.md", {})


if __name__ == "__main__":
    absltest.main()
