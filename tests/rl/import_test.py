"""Importing maml_tf.rl prepares for tf-agents, or says what to do."""

import os
import subprocess
import sys

from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401
from tests.support.source_tree import PROJECT


def run(code, **environment):
    kept = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=PROJECT,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def last_line(done):
    return done.stderr.strip().splitlines()[-1]


class ImportTest(parameterized.TestCase):
    def test_keras_stays_keras_3_and_navigation_needs_no_mujoco(self):
        done = run(
            "import tensorflow, maml_tf, os, sys\nsys.modules['mujoco'] = sys.modules['gymnasium'] = None\n"
            "from maml_tf.rl.environments import PointNavigation\nimport keras\n"
            "print(keras.__version__[0], keras.layers.Dense.__module__[:10], os.environ['TF_USE_LEGACY_KERAS'])\n"
            "print(PointNavigation(2).reset_batch().shape)"
        )
        self.assertEqual(done.stdout, "3 keras.src. 1\n(2, 2)\n", done.stderr)
        self.assertNotIn("Gym", done.stderr)

    def test_a_policy_needs_no_tf_agents_and_its_distribution_warns_of_nothing(self):
        done = run(
            "import sys, warnings\nfrom maml_tf.rl.policy import gaussian_mlp_policy\nimport numpy as np\n"
            "policy = gaussian_mlp_policy(2, 1, (4,))\nprint('tf_agents' in sys.modules)\n"
            "print(policy.distribution(np.zeros([3, 2], 'float32')).batch_shape)"
        )
        self.assertEqual(done.stdout, "False\n(3,)\n", done.stderr)

    def test_refuses_a_flag_that_is_off(self):
        done = run("import maml_tf.rl", TF_USE_LEGACY_KERAS="0")
        self.assertStartsWith(last_line(done), "ImportError: Expected the environment variable TF_USE_LEGACY_KERAS")
        self.assertEndsWith(last_line(done), "Received: TF_USE_LEGACY_KERAS='0'")

    @parameterized.named_parameters(
        ("python_3_11", (3, 11), ""),
        ("python_3_12", (3, 12), ", and: pip install --no-deps --requirement requirements_tf_agents.txt"),
    )
    def test_says_what_to_install(self, version, more):
        done = run(
            "import collections, maml_tf, sys\nfor name in ('tf_agents', 'tf_keras'): sys.modules[name] = None\n"
            f"sys.version_info = collections.namedtuple('Version', 'major minor')(*{version})\nimport maml_tf.rl.agents"
        )
        self.assertRegex(
            last_line(done),
            r"^ImportError: Expected the extra rl of maml_tf to be installed: in the project's folder, run: "
            rf"pip install '\.\[rl\]'{more}\. Received: Python 3\.{version[1]} without tf-agents, tf_keras$",
        )

    def test_without_the_extra_environments_are_listed_and_making_one_says_what_to_install(self):
        without = "import maml_tf, sys\nsys.modules['tf_agents'] = None\n"
        done = run(f"{without}from maml_tf.rl import environments\nprint(*environments.environments)")
        self.assertStartsWith(done.stdout, "point_navigation ", done.stderr)
        done = run(f"{without}from maml_tf.rl.environments import PointNavigation")
        self.assertStartsWith(last_line(done), "ImportError: Expected the extra rl of maml_tf to be installed: in ")

    def test_says_so_where_tf_agents_was_half_imported_without_the_flag(self):
        done = run(
            "import warnings\nwarnings.simplefilter('ignore')\ntry:\n    import tf_agents\n    print('whole')\n"
            "except AttributeError:\n    pass\nimport maml_tf.rl.agents"
        )
        if done.stdout:  # On Python 3.12 and later tf_agents needs no flag.
            self.assertEqual(done.returncode, 0, done.stderr)
            return
        self.assertStartsWith(last_line(done), "ImportError: Expected tf.keras to be Keras 2 for tf-agents: import ")


if __name__ == "__main__":
    absltest.main()
