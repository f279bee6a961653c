"""What the documentation names is there."""

import re

from absl.testing import absltest

from tests.support.source_tree import PROJECT


class DocsTest(absltest.TestCase):
    def test_the_tests_that_are_named_exist(self):
        named = re.findall(r"`([\w/]+_test\.py)`", (PROJECT / "docs" / "checks.md").read_text(encoding="utf-8"))
        self.assertNotEmpty(named)
        self.assertEmpty([name for name in named if not (PROJECT / "tests" / name).is_file()])

    def test_links_within_the_project_lead_somewhere(self):
        for page in [PROJECT / "README.md", PROJECT / "RESULTS.md", *(PROJECT / "docs").rglob("*.md")]:
            for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8")):
                self.assertTrue((page.parent / target).exists(), f"{page.name} links to {target}")


if __name__ == "__main__":
    absltest.main()
