"""Tests of bin/bootstrap.py: what it installs and runs. The package index is not asked: pip's runs are recorded."""

import contextlib
import importlib.util
import io
import itertools
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
from unittest import mock

from absl.testing import absltest, parameterized

from tests.support.build_file import setup_arguments
from tests.support.source_tree import PROJECT


def load():
    """Loads the script as a module of its own, so that a test may change what it holds."""
    spec = importlib.util.spec_from_file_location("bootstrap", PROJECT / "bin" / "bootstrap.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class BootstrapTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.bootstrap = load()
        self.folder = pathlib.Path(self.create_tempdir().full_path, "venv")
        self.commands = []
        self.codes = {}

    def run_recorded(self, command, cwd=None):
        command = [str(part) for part in command]
        self.commands.append(command)
        if command[1:3] == ["-m", "venv"]:
            # A link to this Python stands for the environment: it runs, and has a pip.
            python = pathlib.Path(command[3], "bin", "python")
            python.parent.mkdir(parents=True)
            python.symlink_to(sys.executable)
        return next((code for word, code in self.codes.items() if word in command), 0)

    def main(self, *arguments):
        """Returns the exit code and what was said, with the commands recorded instead of run."""
        said = io.StringIO()
        with (
            mock.patch.object(self.bootstrap, "run", self.run_recorded),
            mock.patch.object(self.bootstrap, "become", self.run_recorded),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            try:
                code = self.bootstrap.main(["--venv", str(self.folder), *arguments])
            except SystemExit as stop:
                code = stop.code
        return code, said.getvalue()

    def ran(self, word):
        return [command for command in self.commands if word in command]

    def test_the_first_run_installs_and_the_next_starts_at_once(self):
        self.assertEqual(self.main("sinusoid", "--seed=2")[0], 0)
        [install] = self.ran("install")
        self.assertEqual(install[0], str(self.folder / "bin" / "python"))
        self.assertEqual(install[-2:], ["--editable", "."])
        self.assertEqual(
            self.commands[-1],
            [
                install[0],
                str(PROJECT / "bin" / "sinusoid.py"),
                "--seed=2",
            ],
        )

    def test_every_experiment_is_a_command_with_the_extras_it_needs(self):
        binaries = {path.stem for path in (PROJECT / "bin").glob("*.py")} - {"bootstrap"}
        self.assertEqual(binaries, set(self.bootstrap.EXPERIMENTS))
        for name, extras in self.bootstrap.EXPERIMENTS.items():
            binary = PROJECT / "bin" / f"{name}.py"
            self.assertTrue(binary.is_file(), binary)
            self.assertEqual(self.main(name.replace("_", "-"), "--seed=2")[0], 0)
            self.assertEqual(self.commands[-1][1:], [str(binary), "--seed=2"])
            self.assertContainsSubset(extras, self.bootstrap.Venv(self.folder).installed()["extras"])

    def test_a_command_with_more_needs_adds_them(self):
        self.main("sinusoid")
        self.main("test", "-k", "adapt")
        self.assertEqual([command[-1] for command in self.ran("install")], [".", ".[demo,rl,serve,test]", ".[sweep]"])
        self.assertEqual(self.commands[-1][1:3], ["-m", "pytest"])
        self.assertEqual(self.commands[-1][-2:], ["-k", "adapt"])
        self.main("lint")
        self.assertLen(self.ran("install"), 3)
        self.assertEqual([command[3:] for command in self.ran("ruff")], [["check", "."], ["format", "--check", "."]])

    def test_the_oldest_packages_have_an_environment_of_their_own(self):
        self.main("lowest", "-k", "adapt")
        install, last = self.ran("install")
        self.assertEqual(
            (install[:-1], last[-1]), ([part for part in last[:-1] if part != "--no-warn-conflicts"], ".[sweep]")
        )
        constraints = pathlib.Path(install[install.index("--constraint") + 1]).read_text().splitlines()
        required = setup_arguments((PROJECT / "setup.py").read_text(encoding="utf-8"))
        required = [*required["install_requires"], *itertools.chain(*required["extras_require"].values())]
        # All but the extra of this package that two others share.
        self.assertEqual(
            [line.partition("==")[0] for line in constraints],
            [re.split(r"[\[>]", r)[0] for r in required if not r.startswith("maml_tf[")],
        )
        self.assertContainsSubset(["keras==3.8", "numpy==1.26"], constraints)
        self.assertEqual(self.commands[-1][1:3], ["-m", "pytest"])
        self.main("test")
        self.assertLen(self.ran("install"), 4)

    def test_docs_are_built_with_warnings_as_errors_and_it_says_where(self):
        code, said = self.main("docs", "-j", "2")
        self.assertEqual(code, 0)
        # What rl asks for and docs cannot use is replaced by what docs asks for.
        self.assertEqual([command[-1] for command in self.ran("install")], [".[rl]", ".[docs]"])
        html = PROJECT / "build" / "docs" / "html"
        self.assertContainsSubset(["sphinx", "--fail-on-warning", "-j", "2"], self.commands[-1])
        self.assertEqual(self.commands[-1][-2:], ["docs", str(html)])
        self.assertIn(f"open file://{html}/index.html", said)
        self.codes["sphinx"] = 1
        code, said = self.main("docs")
        self.assertEqual((code, "open file" in said), (1, False))

    def test_meta_world_has_an_environment_of_its_own_and_its_tests_run_there(self):
        self.main("meta-world", "--benchmark=ml10")
        self.assertEqual(self.ran("install")[0][-1], ".[metaworld]")
        self.main("test_meta_world", "SpecTest")
        self.assertEqual(self.commands[-1][1:], ["-m", "tests.meta_world", "SpecTest"])
        self.assertLen(self.ran("install"), 1)
        venvs = {self.bootstrap.OWN_VENVS[name] for name in ("meta_world", "test_meta_world")}
        self.assertLen(venvs - {".venv"}, 1)

    def test_campaign_runs_the_parts_it_is_given(self):
        self.main("campaign", "--part=fuzz")
        self.assertEqual(self.commands[-1][1:], ["-m", "tests.campaign", "--part=fuzz"])

    def test_lint_fixes_on_demand_and_reports_either_failure(self):
        self.codes["format"] = 1
        self.assertEqual(self.main("lint", "--fix")[0], 1)
        self.assertEqual([command[3:] for command in self.ran("ruff")], [["check", "--fix", "."], ["format", "."]])

    def test_an_installation_that_fails_is_said_and_repeated(self):
        self.codes["install"] = 7
        code, said = self.main("sinusoid")
        self.assertEqual(code, 7)
        self.assertIn("pip could not install the packages", said)
        self.assertEmpty(self.ran(str(PROJECT / "bin" / "sinusoid.py")))
        del self.codes["install"]
        self.assertEqual(self.main("sinusoid")[0], 0)
        self.assertLen(self.ran("install"), 2)

    @parameterized.parameters("setup.py", "python")
    def test_what_the_installation_depends_on_is_looked_at(self, changed):
        self.main("sinusoid")
        marker = self.folder / self.bootstrap.MARKER
        marker.write_text(json.dumps({**json.loads(marker.read_text()), changed: "another"}))
        self.main("sinusoid")
        self.assertLen(self.ran("install"), 2)

    def test_an_environment_that_does_not_run_is_made_anew(self):
        self.main("sinusoid")
        (self.folder / "bin" / "python").unlink()
        self.main("sinusoid")
        self.assertLen(self.ran("venv"), 2)
        self.assertLen(self.ran("install"), 2)

    def test_a_folder_of_somebody_elses_is_left_alone(self):
        self.folder.mkdir()
        (self.folder / "letter").write_text("dear")
        code, said = self.main("sinusoid")
        self.assertEqual(code, 1)
        self.assertIn("--venv must name a new folder", said)
        self.assertEmpty(self.commands)
        self.assertEqual((self.folder / "letter").read_text(), "dear")

    @parameterized.parameters(
        (("fly",), "invalid choice: 'fly'"),
        (("lint", "--all"), "lint takes no argument but --fix. Received: --all"),
        (("test", "--venv=x"), "--venv must stand before test"),
    )
    def test_a_command_line_that_cannot_be_is_an_error(self, arguments, message):
        code, said = self.main(*arguments)
        self.assertEqual(code, 2)
        self.assertIn(message, said)
        self.assertEmpty(self.commands)

    @parameterized.parameters(((3, 9, 1), False), ((3, 10, 0), True), ((3, 13, 5), True), ((3, 14, 0), False))
    def test_pythons_it_runs_with(self, version, supported):
        said = io.StringIO()
        if supported:
            self.assertIsNone(self.bootstrap.check_python(version))
            return
        with contextlib.redirect_stderr(said), self.assertRaises(SystemExit):
            self.bootstrap.check_python(version)
        self.assertIn(
            f"needs Python 3.10, 3.11, 3.12 or 3.13: .* Received: Python 3.{version[1]}".split(":")[0], said.getvalue()
        )

    def test_the_exit_code_is_the_commands(self):
        for code, line in ((0, "pass"), (3, "raise SystemExit(3)"), (137, "import os; os.kill(os.getpid(), 9)")):
            with contextlib.redirect_stdout(io.StringIO()):
                self.assertEqual(self.bootstrap.run([sys.executable, "-c", line]), code)


# What bootstrap.py does with a command: argument 1 is its path, 2 the function, the rest the command.
PROGRAM = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("bootstrap", sys.argv[1])
bootstrap = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bootstrap)
sys.exit(getattr(bootstrap, sys.argv[2])(sys.argv[3:]))
"""
# Says its process id, and ends with 7 when a signal comes.
COMMAND = """
import os, signal, sys, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, frame: sys.exit(7))
print(os.getpid(), flush=True)
time.sleep(60)
"""


class SignalTest(parameterized.TestCase):
    def start(self, function):
        """Returns the process of bootstrap.py and the id of its command's."""
        command = [
            sys.executable,
            "-c",
            PROGRAM,
            PROJECT / "bin" / "bootstrap.py",
            function,
            sys.executable,
            "-c",
            COMMAND,
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.kill)
        lines = iter(process.stdout.readline, "")
        number = next(int(line) for line in lines if line.strip().isdecimal())
        self.addCleanup(process.stdout.close)
        return process, number

    @parameterized.product(function=("run", "become"), number=(signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    def test_signals_pass_to_the_command(self, function, number):
        process, child = self.start(function)
        process.send_signal(number)
        self.assertEqual(process.wait(60), 7)
        with self.assertRaises(ProcessLookupError):
            os.kill(child, 0)

    def test_a_kill_leaves_no_experiment_behind(self):
        process, child = self.start("become")
        process.kill()
        process.wait(60)
        with self.assertRaises(ProcessLookupError):
            os.kill(child, 0)


class ProcessTest(absltest.TestCase):
    def test_help_runs_with_the_standard_library_alone(self):
        finished = subprocess.run(
            [sys.executable, "-I", "-S", PROJECT / "bin" / "bootstrap.py", "--help"],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(finished.returncode, 0, finished.stderr)
        self.assertIn("train and evaluate on sinusoid regression", finished.stdout)

    def test_a_virtual_environment_is_made_and_works(self):
        bootstrap = load()
        venv = bootstrap.Venv(pathlib.Path(self.create_tempdir().full_path, "venv"))
        self.assertFalse(venv.works())
        with contextlib.redirect_stdout(io.StringIO()):
            venv.create()
        self.assertTrue(venv.works())
        self.assertEqual(venv.installed(), {})


if __name__ == "__main__":
    absltest.main()
