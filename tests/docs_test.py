"""What the documentation names is there, and its tables are those of the results files."""

import ast
import importlib
import importlib.util
import pathlib
import re

from absl.testing import absltest, parameterized

from tests.support.source_tree import PROJECT

DOCS = PROJECT / "docs"
PAGES = (*(PROJECT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING")), *sorted(DOCS.rglob("*.md")))
# The packages whose names users import.
PUBLIC = ("algorithms", "baselines", "distribute", "evaluation", "export", "layers", "models", "plotting", "pretrained",
          "results", "tasks", "training")  # fmt: skip


def load_tables():
    """Loads docs/tables.py, which is a program and no part of a package."""
    spec = importlib.util.spec_from_file_location("tables", DOCS / "tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class LinksTest(absltest.TestCase):
    def test_the_tests_that_are_named_exist(self):
        named = re.findall(r"`([\w/]+_test\.py)`", (DOCS / "checks.md").read_text(encoding="utf-8"))
        self.assertNotEmpty(named)
        self.assertEmpty([name for name in named if not (PROJECT / "tests" / name).is_file()])

    def test_links_within_the_project_lead_somewhere(self):
        for page in PAGES:
            for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8")):
                self.assertTrue((page.parent / target).exists(), f"{page.name} links to {target}")

    def test_links_to_headings_lead_to_one(self):
        linked = 0
        for page in PAGES:
            for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)", page.read_text(encoding="utf-8")):
                self.assertIn(anchor, _anchors(page.parent / target if target else page), f"in a link of {page.name}")
                linked += 1
        self.assertGreater(linked, 0)

    def test_every_public_package_has_its_reference(self):
        shown = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.md"))
        shown = set(re.findall(r"automodule:: ([\w.]+)$", shown, re.MULTILINE))
        self.assertContainsSubset({"maml_tf", *(f"maml_tf.{name}" for name in PUBLIC)}, shown)
        for name in shown:
            self.assertIsNotNone(importlib.util.find_spec(name), name)

    def test_what_tutorials_import_is_there(self):
        imported = [
            (node.module, alias.name)
            for page in (DOCS / "tutorials").glob("*.md")
            for cell in re.findall(r"^```{code-cell}.*?\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
            for node in ast.walk(ast.parse(cell))
            if isinstance(node, ast.ImportFrom) and node.module.startswith("maml_tf") and "rl" not in node.module
            for alias in node.names
        ]
        self.assertNotEmpty(imported)
        for module, name in imported:
            self.assertTrue(hasattr(importlib.import_module(module), name), f"{module} has no {name}")


class TablesTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.tables = load_tables()

    def test_tables_are_those_of_the_results(self):
        drawn = 0
        for page in self.tables.PAGES:
            text = page.read_text(encoding="utf-8")
            self.assertEqual(self.tables.page_with_tables(text), text, f"{page}: run python docs/tables.py")
            drawn += text.count("<!-- table:")
        self.assertGreater(drawn, 20)

    def test_every_table_of_the_results_is_shown(self):
        shown = re.findall(r"<!-- table: ([\w/]+) -->", "".join(page.read_text("utf-8") for page in self.tables.PAGES))
        held = {
            f"{path.stem}/{name}"
            for path in (DOCS / "results").glob("*.json")
            for name in self.tables.read(path).get("tables", {})
        }
        self.assertEqual(held | {"comparison/methods", "pretrained/entries"}, set(shown))

    def test_cells_of_every_kind(self):
        columns = ["", {"title": "a", "digits": 1, "unit": "%"}, "b"]
        rows = [["x", [98.66, 0.449], 15000], ["y", {"mean": 1, "least": -0.04, "greatest": 2}, None]]
        rows.append(["z", {"card": "omniglot_5way_1shot", "steps": [3]}, "text"])
        rows.append(["w", {"from": "omniglot/main", "row": "MAML, 5-way 1-shot", "cells": [1, 4]}])
        self.assertEqual(
            self.tables.markdown({"columns": columns, "rows": rows}).replace("\u00a0", " "),
            "| | a | b |\n| --- | --- | --- |\n| x | 98.7 ± 0.4 % | 15,000 |\n| y | 1.0 (-0.0 to 2.0) % | |\n"
            "| z | 98.7 ± 0.5 % | text |\n| w | 98.7 ± 0.4 % | 15,000 |\n",
        )

    @parameterized.parameters(
        ("<!-- table: omniglot/main -->\n", "followed by"),
        ("<!-- table: omniglot/none -->\n<!-- /table -->", "none"),
        ("<!-- table: nothing/main -->\n<!-- /table -->", "nothing.json"),
    )
    def test_a_table_that_is_not_there_is_an_error(self, page, message):
        with self.assertRaisesRegex(ValueError, message):
            self.tables.page_with_tables(page)


def _anchors(page: pathlib.Path) -> list[str]:
    """Returns what a Markdown page's headings are linked by."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


if __name__ == "__main__":
    absltest.main()
