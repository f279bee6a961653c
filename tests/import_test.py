"""Importing maml_tf costs nothing, TensorFlow neither, and leaves no trace outside the package."""

import ast
import importlib
import json
import pathlib
import subprocess
import sys

from absl.testing import absltest, parameterized

import maml_tf
from tests.support.build_file import setup_arguments
from tests.support.keras_warnings import ignore_array_copy
from tests.support.source_tree import PROJECT, SourceTree

_OBSERVE = """
import json, os, sys
import keras, tensorflow
from absl import flags

def state():
    return {"modules": sorted(sys.modules), "flags": sorted(flags.FLAGS), "environment": dict(os.environ)}

before = state()
import maml_tf
print(json.dumps([before, state()]))
"""

# Packages that only some experiments need; `import maml_tf` must work, and be quick, without them.
OPTIONAL = ("PIL", "gymnasium", "matplotlib", "mujoco", "tensorboard", "tensorflow_probability", "tf_agents")
LIGHT = (
    "maml_tf",
    "maml_tf.configuration",
    "maml_tf.experiments.classification.config",
    "maml_tf.experiments.meta_rl.config",
    "maml_tf.experiments.sinusoid.config",
    "maml_tf.experiments.sweep.running",
    "maml_tf.methods",
    "maml_tf.registry",
    "maml_tf.results",
    "maml_tf.rl.environments",
    "maml_tf.tasks",
)


def run(code):
    return subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)


def lazy_packages():
    """The packages whose `__init__` imports their names at first use, each with its names by module."""
    for source in SourceTree().under("maml_tf"):
        if not source.path.endswith("__init__.py"):
            continue
        for node in source.tree.body:
            if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
                yield source.module, {part.module: [name.name for name in part.names] for part in node.body}


class ImportTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        done = run(_OBSERVE)
        if done.returncode:
            raise RuntimeError(f"`import maml_tf` failed:\n{done.stderr}")
        cls.before, cls.after = json.loads(done.stdout.splitlines()[-1])
        cls.loaded = set(cls.after["modules"]) - set(cls.before["modules"])

    def test_loads_no_optional_package(self):
        for package in OPTIONAL:
            with self.subTest(package):
                self.assertEmpty([name for name in self.loaded if name.split(".")[0] == package])

    def test_loads_nothing_else_from_outside(self):
        allowed = {"maml_tf", "keras", "tensorflow", *sys.stdlib_module_names}
        self.assertEmpty([name for name in sorted(self.loaded) if name.split(".")[0] not in allowed])

    def test_its_parts_are_attributes(self):
        """In a process of its own, for other tests import them."""
        done = run(
            "import maml_tf; maml_tf.tasks.ClassPool, maml_tf.layers.GroupNormalization, maml_tf.pretrained.load"
        )
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_dir_lists_every_subpackage(self):
        packages = [path.parent.name for path in (PROJECT / "maml_tf").glob("*/__init__.py")]
        self.assertContainsSubset(packages, dir(maml_tf))
        self.assertContainsSubset(maml_tf.__all__, dir(maml_tf))

    def test_what_is_not_there_is_an_attribute_error(self):
        with self.assertRaisesRegex(AttributeError, "module 'maml_tf' has no attribute 'taks'"):
            maml_tf.taks  # noqa: B018

    def test_defines_no_flag(self):
        self.assertEqual(self.after["flags"], self.before["flags"])

    def test_leaves_the_environment_alone(self):
        self.assertEqual(self.after["environment"], self.before["environment"])


class LazyTest(parameterized.TestCase):
    def test_configurations_and_registries_need_no_tensorflow(self):
        done = run(f"import sys, {', '.join(LIGHT)}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNoCommonElements(done.stdout.split(), ["tensorflow", "keras"])

    @parameterized.named_parameters(*((name.replace(".", "_"), name, exports) for name, exports in lazy_packages()))
    def test_every_name_is_what_its_module_defines(self, name, exports):
        package = importlib.import_module(name)
        names = [name for of_module in exports.values() for name in of_module]
        self.assertContainsSubset(names, package.__all__)
        self.assertContainsSubset(names, dir(package))
        for module, of_module in exports.items():
            for name in of_module:
                self.assertIs(getattr(package, name), getattr(importlib.import_module(module), name))

    @parameterized.parameters(
        "import maml_tf, keras",
        "import keras, maml_tf",
        "from maml_tf.models import mlp; import keras",
        "from maml_tf.core.adaptation import adapt; from maml_tf import SGD; import keras",
    )
    def test_keras_loads_a_learner_once_the_package_is_imported(self, imports):
        path = pathlib.Path(self.create_tempdir().full_path, "learner.keras")
        learner = maml_tf.MAML(maml_tf.models.omniglot_conv(5), "sparse_categorical_crossentropy", 0.1)
        ignore_array_copy()
        learner.save(path)
        done = run(f"{imports}; print(type(keras.saving.load_model({str(path)!r})).__name__)")
        self.assertEqual(done.stdout.split()[-1:], ["MAML"], done.stderr)


class VersionTest(absltest.TestCase):
    def test_one_version_stands_everywhere(self):
        arguments = setup_arguments((PROJECT / "setup.py").read_text(encoding="utf-8"))
        self.assertEqual(maml_tf.__version__, arguments["version"])
        for file, line in (
            ("CITATION.cff", f"version: {maml_tf.__version__}\n"),
            ("MODULE.bazel", f'module(name = "maml_tf", version = "{maml_tf.__version__}")\n'),
            ("CHANGELOG.md", f"# Changelog\n\n## {maml_tf.__version__}\n"),
        ):
            self.assertIn(line, (PROJECT / file).read_text(encoding="utf-8"))


if __name__ == "__main__":
    absltest.main()
