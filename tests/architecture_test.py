"""Holds the package to its structure: floors, reserved imports, one home for gradients, and more."""

import pathlib

from absl.testing import absltest, parameterized

from tests.support import architecture
from tests.support.source_tree import SourceTree, write_tree

# Each rule with projects that break it, and what it then says.
VIOLATIONS = (
    (
        "import_from_above",
        architecture.floors,
        {"maml_tf/core/a.py": "\nfrom maml_tf.tasks import b\n", "maml_tf/tasks/b.py": ""},
        ["maml_tf/core/a.py:2: on floor 0, imports maml_tf.tasks.b from floor 1"],
    ),
    (
        "import_from_above_inside_a_function",
        architecture.floors,
        {"maml_tf/core/a.py": "def f():\n    import maml_tf.rl.b\n", "maml_tf/rl/b.py": ""},
        ["maml_tf/core/a.py:2: on floor 0, imports maml_tf.rl.b from floor 2"],
    ),
    (
        "relative_import_from_above",
        architecture.floors,
        {
            "maml_tf/layers/a.py": "from ..export import f\n",
            "maml_tf/export.py": "",
            "maml_tf/__init__.py": "",
        },
        ["maml_tf/layers/a.py:1: on floor 1, imports maml_tf.export from floor 2"],
    ),
    (
        "import_from_above_by_name",
        architecture.floors,
        {
            "maml_tf/models/a.py": "import importlib\nimportlib.import_module('maml_tf.plotting.b')\n",
            "maml_tf/plotting/b.py": "",
        },
        ["maml_tf/models/a.py:2: on floor 1, imports maml_tf.plotting.b from floor 2"],
    ),
    (
        "import_of_the_whole_package",
        architecture.floors,
        {"maml_tf/tasks/a.py": "import maml_tf\n", "maml_tf/__init__.py": ""},
        ["maml_tf/tasks/a.py:1: on floor 1, imports maml_tf from floor 2"],
    ),
    (
        "package_importing_an_experiment",
        architecture.floors,
        {"maml_tf/__init__.py": "from maml_tf.experiments import a\n", "maml_tf/experiments/a.py": ""},
        ["maml_tf/__init__.py:1: on floor 2, imports maml_tf.experiments.a from floor 3"],
    ),
    (
        "import_of_a_binary",
        architecture.floors,
        {"maml_tf/rl/a.py": "import bin.b\n", "bin/b.py": "", "bin/c.py": "from bin import b\n"},
        [
            "maml_tf/rl/a.py:1: on floor 2, imports bin.b from floor 4",
            "bin/c.py:1: imports bin.b; nothing imports a binary",
        ],
    ),
    (
        "module_without_a_floor",
        architecture.floors,
        {"maml_tf/misc.py": "", "bin/b.py": "import maml_tf.misc\n"},
        [
            "maml_tf/misc.py: its floor is not named in FLOORS in tests/support/architecture.py",
            "bin/b.py:1: imports maml_tf.misc, which has no floor",
        ],
    ),
    (
        "cycle",
        architecture.cycles,
        {
            "maml_tf/core/a.py": "import maml_tf.core.b\n",
            "maml_tf/core/b.py": "from maml_tf.core import c\n",
            "maml_tf/core/c.py": "def late():\n    from maml_tf.core.a import f\n",
        },
        ["cycle of imports: maml_tf.core.a -> maml_tf.core.b -> maml_tf.core.c -> maml_tf.core.a"],
    ),
    (
        "cycle_through_the_package",
        architecture.cycles,
        {
            "maml_tf/core/__init__.py": "from maml_tf.core.a import f\n",
            "maml_tf/core/a.py": "from maml_tf.core import g\n",
        },
        ["cycle of imports: maml_tf.core -> maml_tf.core.a -> maml_tf.core"],
    ),
    (
        "reinforcement_learning_packages",
        architecture.reserved_imports,
        {
            "maml_tf/tasks/a.py": "import mujoco\nimport gymnasium.envs\n",
            "maml_tf/training/b.py": "from tf_agents.nets import c\nimport tensorflow_probability as tfp\n",
        },
        [
            "maml_tf/tasks/a.py:1: imports mujoco; only maml_tf.rl may",
            "maml_tf/tasks/a.py:2: imports gymnasium.envs; only maml_tf.rl may",
            "maml_tf/training/b.py:1: imports tf_agents.nets.c; only maml_tf.rl may",
            "maml_tf/training/b.py:2: imports tensorflow_probability; only maml_tf.rl may",
        ],
    ),
    (
        "matplotlib",
        architecture.reserved_imports,
        {"maml_tf/experiments/a.py": "def f():\n    from matplotlib import pyplot as plt\n"},
        ["maml_tf/experiments/a.py:2: imports matplotlib.pyplot; only maml_tf.plotting may"],
    ),
    (
        "flags",
        architecture.reserved_imports,
        {"maml_tf/experiments/a.py": "from absl import flags, logging\nimport absl.app\n"},
        [
            "maml_tf/experiments/a.py:1: imports absl.flags; only bin may",
            "maml_tf/experiments/a.py:2: imports absl.app; only bin may",
        ],
    ),
    (
        "tf_keras_package",
        architecture.reserved_imports,
        {"maml_tf/rl/a.py": "import tf_keras\n"},
        ["maml_tf/rl/a.py:1: imports tf_keras; nothing may"],
    ),
    (
        "tf_keras",
        architecture.tf_keras,
        {
            "maml_tf/core/a.py": "import tensorflow as tf\nx = tf.keras.layers.Dense\n",
            "maml_tf/core/b.py": "from tensorflow import keras\nfrom tensorflow.keras import layers\n",
        },
        [
            "maml_tf/core/a.py:2: uses tf.keras; import keras",
            "maml_tf/core/b.py:1: uses tf.keras; import keras",
            "maml_tf/core/b.py:2: uses tf.keras; import keras",
        ],
    ),
    (
        "keras_private_interface",
        architecture.keras_interface,
        {
            "maml_tf/core/a.py": "def f(model):\n    return model._flatten_layers()\n",
            "maml_tf/core/keras_interface.py": "def f(model):\n    return model._flatten_layers()\n",
        },
        ["maml_tf/core/a.py:2: uses Keras' private _flatten_layers; maml_tf.core.keras_interface does that"],
    ),
    (
        "gradient_elsewhere",
        architecture.gradients,
        {
            "maml_tf/core/a.py": "import tensorflow as tf\ntape = tf.GradientTape()\n",
            "maml_tf/core/b.py": "from tensorflow import GradientTape\n",
            "maml_tf/core/c.py": "import tensorflow as tf\n"
            "tf.compat.v1.gradients(1, 2)\ntf.autodiff.ForwardAccumulator\n",
        },
        [
            "maml_tf/core/a.py:2: takes a gradient with GradientTape; adapt() does that",
            "maml_tf/core/b.py:1: takes a gradient with GradientTape; adapt() does that",
            "maml_tf/core/c.py:2: takes a gradient with gradients; adapt() does that",
            "maml_tf/core/c.py:3: takes a gradient with ForwardAccumulator; adapt() does that",
        ],
    ),
    (
        "assert_and_print",
        architecture.assertions_and_prints,
        {"maml_tf/core/a.py": "assert True\nprint('x')\n"},
        [
            "maml_tf/core/a.py:1: asserts; raise an error that says what was expected",
            "maml_tf/core/a.py:2: prints; use absl.logging",
        ],
    ),
)

# What no rule may object to.
SOUND = {
    "maml_tf/__init__.py": "from maml_tf.core import adapt\nfrom maml_tf.export import export\n",
    "maml_tf/core/__init__.py": "from maml_tf.core.adaptation import adapt\n",
    "maml_tf/core/adaptation.py": "import tensorflow as tf\nwith tf.GradientTape() as tape:\n    pass\n",
    "maml_tf/core/rules.py": "from .adaptation import adapt\ngradients = adapt.gradients\n",
    "maml_tf/export.py": "import keras\nfrom maml_tf.core import adapt\nfrom absl import logging\n",
    "maml_tf/plotting/curves.py": "import matplotlib.pyplot as plt\n",
    "maml_tf/experiments/sinusoid.py": "import maml_tf\nfrom maml_tf.plotting import curves\n",
    "maml_tf/rl/policy.py": "import tensorflow_probability as tfp\nimport tf_agents\n",
    "bin/sinusoid.py": "from absl import app, flags\nfrom maml_tf.experiments import sinusoid\nprint('x')\n",
    "tests/sinusoid_test.py": "import bin.sinusoid\nimport tf_agents\nassert True\n",
}


class ProjectTest(parameterized.TestCase):
    @parameterized.named_parameters(*((rule.__name__, rule) for rule in architecture.RULES))
    def test_project_keeps_the_rule(self, rule):
        found = list(rule(SourceTree()))
        self.assertEmpty(found, "\n" + "\n".join(found))

    def test_table_names_only_what_exists(self):
        modules = set(SourceTree().files)
        self.assertContainsSubset(architecture.GRADIENT_MODULES, modules)


class RuleTest(parameterized.TestCase):
    def tree(self, files):
        return write_tree(pathlib.Path(self.create_tempdir().full_path), files)

    @parameterized.named_parameters(*VIOLATIONS)
    def test_violation_is_found(self, rule, files, messages):
        self.assertEqual(list(rule(self.tree(files))), messages)

    @parameterized.named_parameters(*((rule.__name__, rule) for rule in architecture.RULES))
    def test_sound_project_passes(self, rule):
        self.assertEqual(list(rule(self.tree(SOUND))), [])

    def test_every_rule_has_a_violation(self):
        self.assertCountEqual({rule for _, rule, _, _ in VIOLATIONS}, architecture.RULES)


if __name__ == "__main__":
    absltest.main()
