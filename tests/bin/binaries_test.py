"""Every binary has a test of its own, which runs it."""

from absl.testing import absltest

from tests.support.source_tree import PROJECT


def untested(binaries: set[str], tests: set[str]) -> list[str]:
    """Returns what is wrong between the names of the files in bin/ and those in tests/bin/."""
    expected = {f"{binary}_test" for binary in binaries}
    missing = [f"bin/{name.removesuffix('_test')}.py has no tests/bin/{name}.py" for name in expected - tests]
    stale = [f"tests/bin/{name}.py tests no binary" for name in tests - expected - {"binaries_test"}]
    return sorted(missing + stale)


class BinariesTest(absltest.TestCase):
    def test_every_binary_has_its_test(self):
        binaries = {path.stem for path in (PROJECT / "bin").glob("*.py")}
        tests = {path.stem for path in (PROJECT / "tests" / "bin").glob("*_test.py")}
        self.assertEmpty(untested(binaries, tests))

    def test_missing_and_stale_tests_are_found(self):
        self.assertEqual(
            untested({"sinusoid", "omniglot"}, {"binaries_test", "omniglot_test", "wave_test"}),
            ["bin/sinusoid.py has no tests/bin/sinusoid_test.py", "tests/bin/wave_test.py tests no binary"],
        )


if __name__ == "__main__":
    absltest.main()
