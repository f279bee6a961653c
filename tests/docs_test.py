"""What the documentation names is there."""

import pathlib
import re

from absl.testing import absltest

from tests.support.source_tree import PROJECT

PAGES = (PROJECT / "README.md", PROJECT / "RESULTS.md", *sorted((PROJECT / "docs").rglob("*.md")))


class DocsTest(absltest.TestCase):
    def test_the_tests_that_are_named_exist(self):
        named = re.findall(r"`([\w/]+_test\.py)`", (PROJECT / "docs" / "checks.md").read_text(encoding="utf-8"))
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


def _anchors(page: pathlib.Path) -> list[str]:
    """Returns what a Markdown page's headings are linked by."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


if __name__ == "__main__":
    absltest.main()
