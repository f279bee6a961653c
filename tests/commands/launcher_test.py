"""Tests of maml_tf.commands.launcher: `maml-tf`."""

import pathlib
import subprocess
import sys

from absl.testing import absltest, parameterized

from maml_tf.commands.launcher import COMMANDS
from tests.support.build_file import setup_arguments
from tests.support.source_tree import PROJECT

_NAMES = [name for of_group in COMMANDS.values() for name in of_group]


def run(*arguments):
    """Runs `maml-tf` in a Python in which the import of TensorFlow fails."""
    code = (
        "import sys\n"
        "sys.modules.update(tensorflow=None)\n"
        "from maml_tf.commands.launcher import main\n"
        f"main({list(arguments)!r})\n"
    )
    return subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)


class LauncherTest(parameterized.TestCase):
    def test_every_binary_is_a_command_and_its_script_runs_it(self):
        scripts = {path.stem: path.read_text() for path in (PROJECT / "bin").glob("*.py") if path.stem != "bootstrap"}
        self.assertCountEqual(_NAMES, scripts)
        for name, text in scripts.items():
            self.assertIn(f"from maml_tf.commands.{name} import main\n", text)
            self.assertTrue(pathlib.Path(PROJECT, "maml_tf", "commands", f"{name}.py").is_file())

    @parameterized.parameters(((),), (("--help",),))
    def test_all_commands_are_listed_a_line_each(self, arguments):
        finished = run(*arguments)
        self.assertEqual((finished.returncode, finished.stderr), (0, ""))
        lines = [line.split(maxsplit=1) for line in finished.stdout.splitlines() if line.startswith("  ")]
        self.assertEqual([line[0] for line in lines], [name.replace("_", "-") for name in _NAMES])
        self.assertTrue(all(line[1].endswith(".") for line in lines), lines)

    @parameterized.parameters("import-original", "import_original")
    def test_dashes_and_underscores_are_the_same(self, name):
        finished = run(name, "--checkpoint=a", "--shot=2")
        self.assertEqual(finished.returncode, 1)
        self.assertEqual(finished.stderr, "Error: Unknown command line flag 'shot'. Did you mean: shots ?\n")
        self.assertStartsWith(run(name, "--help").stdout, "usage: maml-tf import-original [--flag=value ...]")

    def test_a_mistyped_command_is_answered_with_the_nearest(self):
        finished = run("sinusoids")
        self.assertEqual(finished.returncode, 1)
        self.assertEqual(
            finished.stderr,
            "Error: Expected a command that `maml-tf --help` lists. Received: 'sinusoids'. Did you mean sinusoid?\n",
        )
        self.assertNotIn("Did you mean", run("zzz").stderr)

    def test_setup_installs_it(self):
        arguments = setup_arguments((PROJECT / "setup.py").read_text(encoding="utf-8"))
        self.assertEqual(arguments["entry_points"], {"console_scripts": ["maml-tf = maml_tf.commands.launcher:main"]})


if __name__ == "__main__":
    absltest.main()
