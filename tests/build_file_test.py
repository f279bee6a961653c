"""Holds the BUILD file to the imports: a target for every file, with exactly the deps that it has."""

import itertools
import pathlib

from absl.testing import absltest, parameterized

from tests.support import build_file
from tests.support.source_tree import PROJECT, SourceTree, write_tree

FILES = {
    "maml_tf/__init__.py": "from maml_tf.core import adaptation\n",
    "maml_tf/core/__init__.py": "",
    "maml_tf/core/adaptation.py": "import tensorflow as tf\n",
    "maml_tf/core/rules.py": "def late():\n    from .adaptation import adapt\n    import numpy as np\n",
    "maml_tf/tasks/omniglot.py": "import importlib.resources\nimportlib.resources.files('maml_tf.tasks')\n",
    "bin/sinusoid.py": "from absl import app, flags\nimport maml_tf\n",
    "tests/bin/sinusoid_test.py": "from absl.testing import absltest\n",
    "tests/core/rules_test.py": "from maml_tf.core.rules import late\nfrom tests.support import numeric\n"
    "GOLDEN = 'testdata/golden.npz'\n",
    "tests/support/numeric.py": "import dataclasses\n",
}


class ProjectTest(absltest.TestCase):
    def test_build_file_agrees_with_the_imports(self):
        text = (PROJECT / "BUILD").read_text(encoding="utf-8")
        found = build_file.problems(SourceTree(), text)
        self.assertEmpty(found, "\n".join([*found, f"To write BUILD anew: {build_file.COMMAND}"]))

    def test_setup_asks_for_every_distribution_imported(self):
        arguments = build_file.setup_arguments((PROJECT / "setup.py").read_text(encoding="utf-8"))
        required = list(itertools.chain(arguments["install_requires"], *arguments["extras_require"].values()))
        for name in sorted(build_file.distributions_used(SourceTree())):
            with self.subTest(name):
                starts = [requirement for requirement in required if _distribution(requirement) == name]
                self.assertNotEmpty(starts, f"setup.py does not ask for {name}")


class AnalysisTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.tree = write_tree(pathlib.Path(self.create_tempdir().full_path), FILES)
        self.text = build_file.build_text(self.tree)

    def problems_after(self, old, new):
        self.assertEqual(self.text.count(old), 1, f"{old} in\n{self.text}")
        return build_file.problems(self.tree, self.text.replace(old, new))

    def test_text_written_has_no_problem(self):
        self.assertEqual(build_file.problems(self.tree, self.text), [])

    @parameterized.named_parameters(
        ("package_init", "maml_tf", "py_library", [":maml_tf.core.adaptation"]),
        ("library", "maml_tf.core.adaptation", "py_library", ["@pypi//tensorflow"]),
        (
            "relative_and_late",
            "maml_tf.core.rules",
            "py_library",
            [":maml_tf.core.adaptation", "@pypi//numpy"],
        ),
        ("binary", "bin.sinusoid", "py_binary", [":maml_tf", "@pypi//absl_py"]),
        ("test", "tests.core.rules_test", "py_test", [":maml_tf.core.rules", ":tests.support.numeric"]),
    )
    def test_deps_are_the_imports(self, name, rule, deps):
        target = build_file.expected_targets(self.tree)[name]
        self.assertEqual(target.rule, rule)
        self.assertEqual(target.attributes["deps"], deps)

    def test_standard_library_needs_no_deps(self):
        target = build_file.expected_targets(self.tree)["tests.support.numeric"]
        self.assertEqual(target.attributes, {"srcs": ["tests/support/numeric.py"], "testonly": True})

    def test_data_are_the_binary_tested_testdata_and_files_in_the_package(self):
        targets = build_file.expected_targets(self.tree)
        self.assertEqual(targets["tests.bin.sinusoid_test"].attributes["data"], [":bin.sinusoid"])
        self.assertEqual(targets["tests.core.rules_test"].attributes["data"], [":testdata"])
        self.assertEqual(targets["maml_tf.tasks.omniglot"].attributes["data"], [":splits"])
        self.assertNotIn("data", targets["maml_tf.core.rules"].attributes)

    def test_every_packages_files_of_setup_are_a_target(self):
        arguments = build_file.setup_arguments((PROJECT / "setup.py").read_text(encoding="utf-8"))
        self.assertEqual(set(arguments["package_data"]), set(build_file.PACKAGE_FILES))

    def test_missing_dep(self):
        found = self.problems_after('    deps = ["@pypi//tensorflow"],\n', "")
        self.assertEqual(found, ["maml_tf.core.adaptation: deps lacks @pypi//tensorflow"])

    def test_superfluous_dep(self):
        found = self.problems_after('["@pypi//tensorflow"]', '["@pypi//keras", "@pypi//tensorflow"]')
        self.assertEqual(found, ["maml_tf.core.adaptation: deps has @pypi//keras, which is superfluous"])

    def test_repeated_dep(self):
        found = self.problems_after('["@pypi//tensorflow"]', '["@pypi//tensorflow", "@pypi//tensorflow"]')
        self.assertEqual(found, ["maml_tf.core.adaptation: deps repeats @pypi//tensorflow"])

    def test_missing_and_stale_target(self):
        found = self.problems_after('name = "maml_tf.core.adaptation"', 'name = "maml_tf.core.adapt"')
        self.assertEqual(
            found,
            [
                "maml_tf.core.adaptation: target is missing",
                "maml_tf.core.adapt: target is stale, no such module",
            ],
        )

    def test_doubled_target(self):
        found = build_file.problems(self.tree, self.text + '\npy_library(name = "maml_tf.core")\n')
        self.assertIn("maml_tf.core: has more than one target", found)

    def test_wrong_rule_and_main(self):
        found = self.problems_after(
            'py_binary(\n    name = "bin.sinusoid",\n    srcs = ["bin/sinusoid.py"],\n    main = "bin/sin',
            'py_test(\n    name = "bin.sinusoid",\n    srcs = ["bin/sinusoid.py"],\n    main = "bin/cos',
        )
        self.assertEqual(
            found,
            [
                "bin.sinusoid: is a py_test, should be a py_binary",
                "bin.sinusoid: main is 'bin/cosusoid.py', should be 'bin/sinusoid.py'",
            ],
        )

    @parameterized.named_parameters(
        (
            "inside",
            "from maml_tf.nowhere import x\n",
            "maml_tf/new.py:1: no module maml_tf.nowhere.x in",
        ),
        ("outside", "\nimport torch\n", "maml_tf/new.py:2: torch comes from no known distribution"),
    )
    def test_unknown_import(self, text, message):
        tree = write_tree(self.tree.root, {"maml_tf/new.py": text})
        with self.assertRaisesRegex(build_file.UnknownImportError, message):
            build_file.problems(tree, self.text)

    def test_reads_the_literals_of_setup(self):
        text = "import setuptools\nsetup(name='x', packages=find(), install_requires=['keras>=3.8'])\n"
        self.assertEqual(build_file.setup_arguments(text), {"name": "x", "install_requires": ["keras>=3.8"]})


def _distribution(requirement: str) -> str:
    end = next((at for at, letter in enumerate(requirement) if letter in "[<>=!~; "), len(requirement))
    return requirement[:end]


if __name__ == "__main__":
    absltest.main()
