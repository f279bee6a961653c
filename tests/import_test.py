"""Importing maml_tf costs nothing beyond TensorFlow and Keras and leaves no trace outside the package."""

import json
import subprocess
import sys

from absl.testing import absltest

import maml_tf
from tests.support.build_file import setup_arguments
from tests.support.source_tree import PROJECT

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


class ImportTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        done = subprocess.run(
            [sys.executable, "-c", _OBSERVE], cwd=PROJECT, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"`import maml_tf` failed:\n{done.stderr}")
        cls.before, cls.after = json.loads(done.stdout.splitlines()[-1])
        cls.loaded = set(cls.after["modules"]) - set(cls.before["modules"])

    def test_loads_the_package(self):
        self.assertIn("maml_tf.core.adaptation", self.loaded)

    def test_loads_no_optional_package(self):
        for package in OPTIONAL:
            with self.subTest(package):
                self.assertEmpty([name for name in self.loaded if name.split(".")[0] == package])

    def test_loads_nothing_else_from_outside(self):
        allowed = {"maml_tf", "keras", "tensorflow", *sys.stdlib_module_names}
        self.assertEmpty([name for name in sorted(self.loaded) if name.split(".")[0] not in allowed])

    def test_its_parts_are_attributes(self):
        """In a process of its own, for other tests import them."""
        code = "import maml_tf; maml_tf.tasks.ClassPool, maml_tf.layers.GroupNormalization, maml_tf.pretrained.load"
        done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_what_is_not_there_is_an_attribute_error(self):
        with self.assertRaisesRegex(AttributeError, "module 'maml_tf' has no attribute 'taks'"):
            maml_tf.taks  # noqa: B018

    def test_defines_no_flag(self):
        self.assertEqual(self.after["flags"], self.before["flags"])

    def test_leaves_the_environment_alone(self):
        self.assertEqual(self.after["environment"], self.before["environment"])


class VersionTest(absltest.TestCase):
    def test_version_is_that_of_the_distribution(self):
        arguments = setup_arguments((PROJECT / "setup.py").read_text(encoding="utf-8"))
        self.assertEqual(maml_tf.__version__, arguments["version"])


if __name__ == "__main__":
    absltest.main()
