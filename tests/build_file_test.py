"""Holds the BUILD file to the imports, and setup.py to what is imported."""

import functools
import itertools
import pathlib
import re

from absl.testing import absltest

from tests.support import build_file
from tests.support.source_tree import PROJECT, SourceTree, write_tree

FILES = {
    "maml_tf/__init__.py": "from maml_tf.core import adaptation\n",
    "maml_tf/checks.py": "import dataclasses\n",
    "maml_tf/core/__init__.py": "",
    "maml_tf/core/adaptation.py": "import tensorflow as tf\n",
    "maml_tf/core/rules.py": "def late():\n    from .adaptation import adapt\n    from maml_tf import checks\n",
    "maml_tf/tasks/omniglot.py": "from PIL import Image\n",
    "maml_tf/tasks/splits/test.txt": "",
    "bin/sinusoid.py": "from absl import app, flags\nimport maml_tf\n",
    "tests/bin/sinusoid_test.py": "",
    "tests/core/rules_test.py": "from maml_tf.core.rules import late\nfrom tests.support import numeric\n",
    "tests/support/numeric.py": "import numpy\n",
}


_PROJECT = SourceTree()


class ProjectTest(absltest.TestCase):
    def test_build_file_agrees_with_the_imports(self):
        text = (PROJECT / "BUILD").read_text(encoding="utf-8")
        self.assertEqual(text.splitlines(), build_file.build_text(_PROJECT).splitlines(), build_file.COMMAND)

    def test_no_target_depends_on_itself(self):
        self.assertEmpty(build_file.cycle(build_file.dependencies(_PROJECT)))

    def test_every_label_names_a_target_and_every_file_has_one(self):
        targets = run_build_file(PROJECT)
        lock = (PROJECT / "requirements_lock.txt").read_text(encoding="utf-8")
        locked = {f"@pypi//{name.replace('-', '_')}" for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}
        known = {f":{name}" for name in targets} | locked
        for target in targets.values():
            self.assertContainsSubset({*target.get("deps", ()), *target.get("data", ())} - set(_files(PROJECT)), known)
        sources = {file for target in targets.values() for file in target["srcs"]}
        self.assertContainsSubset({source.path for source in _PROJECT.files.values()}, sources)

    def test_setup_asks_for_every_distribution_imported(self):
        arguments = build_file.setup_arguments((PROJECT / "setup.py").read_text(encoding="utf-8"))
        asked = itertools.chain(arguments["install_requires"], *arguments["extras_require"].values())
        asked = {re.split(r"[\[<>=!~; ]", requirement)[0] for requirement in asked}
        used = set().union(*(build_file.distributions(_PROJECT, source) for source in _PROJECT.files.values()))
        self.assertContainsSubset(used, asked)


class TextTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.tree = write_tree(pathlib.Path(self.create_tempdir().full_path), FILES)

    def test_deps_are_what_the_modules_of_a_package_import(self):
        self.assertEqual(
            build_file.dependencies(self.tree),
            {
                "maml_tf": {"maml_tf.core"},
                "maml_tf.checks": set(),
                "maml_tf.core": {"maml_tf.checks", "@pypi//tensorflow"},
                "maml_tf.tasks": {"@pypi//pillow"},
                "bin": {"maml_tf", "@pypi//absl_py"},
                "tests.bin": {"bin"},
                "tests.core": {"maml_tf.core", "tests.support"},
                "tests.support": {"@pypi//numpy"},
            },
        )

    def test_new_module_changes_nothing_and_new_import_one_line(self):
        before = build_file.build_text(self.tree).splitlines()
        tree = write_tree(self.tree.root, {"maml_tf/core/masks.py": "", "tests/core/masks_test.py": ""})
        self.assertEqual(build_file.build_text(tree).splitlines(), before)
        tree = write_tree(self.tree.root, {"maml_tf/core/masks.py": "import keras\n"})
        self.assertEqual(
            set(build_file.build_text(tree).splitlines()) - set(before),
            {'        "maml_tf/core": [":maml_tf.checks", "@pypi//keras", "@pypi//tensorflow"],'},
        )

    def test_files_of_a_package_are_its_data(self):
        (self.tree.root / "BUILD").write_text(build_file.build_text(self.tree))
        targets = run_build_file(self.tree.root)
        self.assertEqual(targets["maml_tf.tasks"]["data"], ["maml_tf/tasks/splits/test.txt"])
        self.assertEqual(targets["maml_tf.core"]["data"], [])
        self.assertEqual(targets["maml_tf.checks"]["srcs"], ["maml_tf/checks.py"])
        self.assertLen(targets["maml_tf.core"]["srcs"], 3)

    def test_cycle_of_targets_is_found(self):
        tree = write_tree(self.tree.root, {"maml_tf/tasks/a.py": "import bin.sinusoid\nimport maml_tf.core.rules\n"})
        self.assertEmpty(build_file.cycle(build_file.dependencies(tree)))
        tree = write_tree(self.tree.root, {"maml_tf/checks.py": "import maml_tf.core.rules\n"})
        self.assertEqual(
            build_file.cycle(build_file.dependencies(tree)), ["maml_tf.checks", "maml_tf.core", "maml_tf.checks"]
        )


def run_build_file(root):
    """Runs BUILD as Python, of which its language is a part, and returns the attributes of its targets by name."""
    targets = {}

    def rule(name, **attributes):
        targets[name] = attributes

    def glob(patterns, exclude=(), allow_empty=False):
        found = [file for file in _files(root) if _matches(file, patterns) and not _matches(file, exclude)]
        if not (found or allow_empty):
            raise ValueError(f"glob({patterns}) finds nothing")
        return found

    rules = dict.fromkeys(("filegroup", "py_binary", "py_library", "py_test"), rule)
    others = dict.fromkeys(("licenses", "load", "package"), lambda *args, **kwargs: None)
    exec((root / "BUILD").read_text(encoding="utf-8"), {**rules, **others, "glob": glob})
    return targets


@functools.cache
def _files(root):
    folders = [root / name for name in ("bin", "docs", "maml_tf", "testdata", "tests")]
    paths = [*root.iterdir(), *(path for folder in folders for path in folder.rglob("*"))]
    return [path.relative_to(root).as_posix() for path in paths if path.is_file()]


def _matches(file, patterns):
    return any(re.fullmatch(_pattern(pattern), file) for pattern in patterns)


def _pattern(glob):
    return re.escape(glob).replace(r"\*\*/", "(.*/)?").replace(r"\*\*", ".*").replace(r"\*", "[^/]*")


if __name__ == "__main__":
    absltest.main()
