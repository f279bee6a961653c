"""Every binary has a test of its own, which runs it; every binary reads its flags before TensorFlow is imported."""

import pathlib
import subprocess
import sys

from absl.testing import absltest, parameterized

from tests.support.source_tree import PROJECT

BINARIES = sorted(path.stem for path in (PROJECT / "bin").glob("*.py"))


def untested(binaries: set[str], tests: set[str]) -> list[str]:
    """Returns what is wrong between the names of the files in bin/ and those in tests/bin/."""
    expected = {f"{binary}_test" for binary in binaries}
    missing = [f"bin/{name.removesuffix('_test')}.py has no tests/bin/{name}.py" for name in expected - tests]
    stale = [f"tests/bin/{name}.py tests no binary" for name in tests - expected - {"binaries_test"}]
    return sorted(missing + stale)


class BinariesTest(absltest.TestCase):
    def test_every_binary_has_its_test(self):
        tests = {path.stem for path in (PROJECT / "tests" / "bin").glob("*_test.py")}
        self.assertEmpty(untested(set(BINARIES), tests))

    def test_missing_and_stale_tests_are_found(self):
        self.assertEqual(
            untested({"sinusoid", "omniglot"}, {"binaries_test", "omniglot_test", "wave_test"}),
            ["bin/sinusoid.py has no tests/bin/sinusoid_test.py", "tests/bin/wave_test.py tests no binary"],
        )


def run(name, *arguments):
    """Runs a binary in a Python in which the import of TensorFlow fails."""
    code = (
        "import runpy, sys\n"
        "sys.modules.update(tensorflow=None)\n"
        f"sys.argv = ['bin/{name}.py', *{arguments!r}]\n"
        f"runpy.run_path('bin/{name}.py', run_name='__main__')\n"
    )
    return subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)


class FlagsTest(parameterized.TestCase):
    @parameterized.parameters(*(name for name in BINARIES if name not in ("benchmark", "bootstrap")))
    def test_flags_are_read_before_tensorflow_is_imported(self, name):
        listed = run(name, "--help")
        self.assertEqual(listed.returncode, 0, listed.stderr)
        self.assertIn("--register", listed.stdout)
        mistyped = run(name, "--registr=file.py")
        self.assertEqual(mistyped.returncode, 1)
        self.assertEqual(mistyped.stderr.splitlines()[0][:43], "Error: Unknown command line flag 'registr'.")

    def test_a_flag_s_earlier_name_is_an_error_that_says_the_new_one(self):
        finished = run("evaluate", "--checkpoint=runs/omniglot")
        self.assertEqual((finished.returncode, finished.stderr), (1, "Error: --checkpoint is --logdir now\n"))


class RegisterTest(absltest.TestCase):
    def register(self, text, *arguments):
        path = pathlib.Path(self.create_tempdir().full_path, "own.py")
        path.write_text(text)
        return run("sinusoid", *arguments, f"--register={path}")

    def test_a_registered_name_is_a_choice(self):
        text = "from maml_tf.methods import Method, methods\nmethods.register('own', Method('Own', {'sinusoid': {}}))\n"
        self.assertIn("own", self.register(text, "--help").stdout)
        # The flags are right: the next thing is TensorFlow, which is not there.
        self.assertIn("_start_tensorflow", self.register(text, "--method=own").stderr)
        self.assertIn("methods='own'", run("sinusoid", "--method=own").stderr)

    def test_a_file_that_is_not_there_is_one_error(self):
        finished = run("sinusoid", "--register=nowhere.py")
        self.assertEqual(finished.returncode, 1)
        self.assertEqual(finished.stderr, "Error: Expected a Python file. Received: --register=nowhere.py\n")

    def test_a_file_that_raises_keeps_its_traceback(self):
        finished = self.register("raise ValueError('of my own')")
        self.assertEqual(finished.returncode, 1)
        self.assertIn("own.py", finished.stderr)
        self.assertIn("ValueError: of my own", finished.stderr)


if __name__ == "__main__":
    absltest.main()
