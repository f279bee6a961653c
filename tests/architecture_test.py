"""Holds the package to its structure: floors, no cycles, reserved names and one home for Keras' private interface."""

import pathlib

from absl.testing import absltest, parameterized

from tests.support import architecture
from tests.support.source_tree import SourceTree, write_tree

# Each rule with projects that break it, and where it says so.
VIOLATIONS = (
    (
        "import_from_above",
        architecture.floors,
        {
            "maml_tf/core/a.py": "\nfrom maml_tf.tasks import b\n",
            "maml_tf/core/late.py": "def f():\n    import maml_tf.tasks.b\n",
            "maml_tf/layers/relative.py": "from ..evaluation import f\n",
            "maml_tf/models/by_name.py": "import importlib\nimportlib.import_module('maml_tf.plotting.b')\n",
            "maml_tf/tasks/b.py": "import maml_tf\n",
            "maml_tf/__init__.py": "from maml_tf.experiments import a\n",
        },
        [
            "maml_tf/__init__.py:1",
            "maml_tf/core/a.py:2",
            "maml_tf/core/late.py:2",
            "maml_tf/layers/relative.py:1",
            "maml_tf/models/by_name.py:2",
            "maml_tf/tasks/b.py:1",
        ],
    ),
    (
        "import_of_a_binary",
        architecture.floors,
        {"bin/b.py": "", "bin/c.py": "from bin import b\n"},
        ["bin/c.py:1"],
    ),
    (
        "module_without_a_floor",
        architecture.floors,
        {"maml_tf/misc.py": "", "bin/b.py": "import maml_tf.misc\n"},
        ["maml_tf/misc.py", "bin/b.py:1"],
    ),
    (
        "cycle",
        architecture.cycles,
        {
            "maml_tf/core/__init__.py": "from maml_tf.core.a import f\n",
            "maml_tf/core/a.py": "from maml_tf.core import b\n",
            "maml_tf/core/b.py": "def late():\n    from maml_tf.core.a import f\n",
        },
        ["cycle of imports"],
    ),
    (
        "packages_of_one_folder",
        architecture.reserved,
        {
            "maml_tf/experiments/a.py": "from absl import flags, logging\nfrom matplotlib import pyplot as plt\n",
            "maml_tf/training/b.py": "def f():\n    import mujoco\n    from tf_agents.nets import c\n",
        },
        [
            "maml_tf/experiments/a.py:1",
            "maml_tf/experiments/a.py:2",
            "maml_tf/training/b.py:2",
            "maml_tf/training/b.py:3",
        ],
    ),
    (
        "tf_keras",
        architecture.reserved,
        {
            "maml_tf/rl/a.py": "import tf_keras\n",
            "maml_tf/core/a.py": "import tensorflow as tf\nx = tf.keras\n",
            "maml_tf/core/b.py": "from tensorflow.keras import layers\n",
        },
        ["maml_tf/core/a.py:2", "maml_tf/core/b.py:1", "maml_tf/rl/a.py:1"],
    ),
    (
        "gradient_elsewhere",
        architecture.reserved,
        {
            "maml_tf/core/a.py": "import tensorflow as tf\ntape = tf.GradientTape()\n",
            "maml_tf/core/b.py": "from tensorflow import GradientTape\n",
            "maml_tf/core/c.py": "import tensorflow as tf\ntf.compat.v1.gradients(1, 2)\n",
        },
        ["maml_tf/core/a.py:2", "maml_tf/core/b.py:1", "maml_tf/core/c.py:2"],
    ),
    (
        "keras_interface",
        architecture.keras_interface,
        {
            "maml_tf/core/a.py": "def f(x):\n    x._flatten_layers()\n    getattr(x, '_keras_mask')\n",
        },
        ["maml_tf/core/a.py:2", "maml_tf/core/a.py:3"],
    ),
)

# What no rule may object to.
SOUND = {
    "maml_tf/__init__.py": "from maml_tf.core import adapt\nfrom maml_tf.evaluation import evaluate\n",
    "maml_tf/core/__init__.py": "from maml_tf.core.adaptation import adapt\n",
    "maml_tf/core/adaptation.py": "import tensorflow as tf\nwith tf.GradientTape() as tape:\n    pass\n",
    "maml_tf/core/keras_interface.py": "import keras.src\nkeras.Model._flatten_layers\n",
    "maml_tf/core/rules.py": "from .adaptation import adapt\ngradients = adapt.gradients\n",
    "maml_tf/evaluation.py": "class A:\n    def _f(self):\n        self._b = self._f()\n        return self._b\n",
    "maml_tf/plotting/curves.py": "import matplotlib.pyplot as plt\n",
    "maml_tf/experiments/sinusoid.py": "import maml_tf\nfrom maml_tf.plotting import curves\n",
    "maml_tf/rl/policy.py": "import tensorflow_probability as tfp\nimport tf_agents\n",
    "maml_tf/commands/sinusoid.py": "from absl import app, flags\nfrom maml_tf.experiments import sinusoid\n",
    "bin/sinusoid.py": "from maml_tf.commands.sinusoid import main\n",
    "tests/sinusoid_test.py": "import bin.sinusoid\nimport tf_agents\n",
}


_PROJECT = SourceTree()


class ProjectTest(parameterized.TestCase):
    @parameterized.named_parameters(*((rule.__name__, rule) for rule in architecture.RULES))
    def test_project_keeps_the_rule(self, rule):
        found = list(rule(_PROJECT))
        self.assertEmpty(found, "\n" + "\n".join(found))

    def test_table_names_only_what_exists(self):
        self.assertContainsSubset({*architecture.GRADIENT_MODULES, *architecture.PRIVATE_INTERFACES}, _PROJECT.files)


class RuleTest(parameterized.TestCase):
    def tree(self, files):
        return write_tree(pathlib.Path(self.create_tempdir().full_path), files)

    @parameterized.named_parameters(*VIOLATIONS)
    def test_violation_is_found(self, rule, files, places):
        found = list(rule(self.tree(files)))
        self.assertCountEqual([message.partition(": ")[0] for message in found], places)

    @parameterized.named_parameters(*((rule.__name__, rule) for rule in architecture.RULES))
    def test_sound_project_passes(self, rule):
        self.assertEqual(list(rule(self.tree(SOUND))), [])


if __name__ == "__main__":
    absltest.main()
