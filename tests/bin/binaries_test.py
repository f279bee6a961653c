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
    @parameterized.parameters(*(name for name in BINARIES if name != "bootstrap"))
    def test_flags_are_read_before_tensorflow_is_imported(self, name):
        listed = run(name, "--help")
        self.assertEqual(listed.returncode, 0, listed.stderr)
        self.assertStartsWith(listed.stdout, f"usage: bin/{name}.py [--flag=value ...]")
        self.assertIn("--register", listed.stdout)
        self.assertNotIn("--alsologtostderr", listed.stdout)
        self.assertNotIn("%%", listed.stdout)
        mistyped = run(name, "--registr=file.py")
        self.assertEqual(mistyped.returncode, 1)
        self.assertEqual(mistyped.stderr.splitlines()[0][:43], "Error: Unknown command line flag 'registr'.")

    def test_a_flag_s_earlier_name_is_an_error_that_says_the_new_one(self):
        finished = run("evaluate", "--checkpoint=runs/omniglot")
        self.assertEqual((finished.returncode, finished.stderr), (1, "Error: --checkpoint is --logdir now\n"))


class HelpTest(absltest.TestCase):
    """The text of --help; its width follows the terminal."""

    def setUp(self):
        super().setUp()
        self.text = run("omniglot", "--help").stdout

    def test_groups_are_by_role_and_keep_the_order_of_the_fields(self):
        places = [
            self.text.index(part)
            for part in (
                "\nflags:", "--mode=NAME", "--preset=NAME", "--[no]resume",
                "\ntraining (", "--ways=N", "--inner_steps=N", "--iterations=N", "--shots=N",
                "\nvalidation and test:", "--evaluation_steps=N", "--seed=N",
                "\nmachine and files (", "--data_dir=VALUE",
                "\npresets (",
            )
        ]  # fmt: skip
        self.assertEqual(places, sorted(places))

    def test_defaults_bounds_and_choices_are_told(self):
        words = " ".join(self.text.split())
        self.assertIn("Directory for checkpoints, weights, events and figures", words)
        self.assertIn("By default runs/omniglot.", words)
        self.assertIn(
            "Whether to train, or to evaluate what was trained. One of train, evaluate. By default train.", words
        )
        self.assertIn("Tasks of a validation, the same each time. By default 200. A whole number of at least 1.", words)
        self.assertIn("Number N of classes in a task. By default the preset's. A whole number of at least 1.", words)

    def test_presets_are_a_table_of_what_differs(self):
        lines = [line.split() for line in self.text.partition("\npresets (")[2].splitlines()]
        self.assertIn(["5way_1shot_first_order", "first_order=true"], lines)
        self.assertIn(["5way_1shot_paper", "loss_scale=original", "head=normal", "adapted=weights"], lines)

    def test_a_mistyped_flag_is_answered_with_the_nearest(self):
        finished = run("omniglot", "--inner_step=2")
        self.assertEqual(
            finished.stderr, "Error: Unknown command line flag 'inner_step'. Did you mean: inner_steps ?\n"
        )


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
