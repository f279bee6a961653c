"""Tests of bin/few_shot.py: a data set and an algorithm of one's own, each added in one file outside of the package."""

import json
import pathlib
import tempfile

from absl.testing import absltest

from tests.support import binary
from tests.support.source_tree import PROJECT

# Complete files that the documentation shows: all that a data set and an algorithm take.
STRIPES, HALVES = (PROJECT / "docs" / "contributing" / "files" / f"{name}.py" for name in ("stripes", "halves"))


class FewShotTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

    def run_stripes(self, *arguments):
        return binary.run("few_shot", f"--register={STRIPES}", "--dataset=stripes", *arguments)

    def test_a_data_set_of_ones_own_is_trained_on_evaluated_and_plotted(self):
        logdir = f"--logdir={self.folder / 'run'}"
        for arguments in ((), ("--iterations=6", "--resume"), ("--mode=evaluate",)):
            finished = self.run_stripes(logdir, *arguments)
            self.assertEqual(finished.code, 0, finished.stderr)
        self.assertIn("after 2 steps", finished.stdout)
        results = json.loads((self.folder / "run" / "results.json").read_text())
        self.assertEqual(results["experiment"], "stripes")
        self.assertEqual([(row["step"], row["tasks"]) for row in results["rows"]], [(0, 6), (1, 6), (2, 6)])
        self.assertEqual((results["config"]["network"], results["config"]["split"]), ("small", None))
        self.assertEqual([one["iteration"] for one in results["training"]["validation"]], [2, 4, 6])
        for figure in ("training.png", "accuracy.png"):
            self.assertTrue(binary.is_png(self.folder / "run" / figure))

    def test_an_algorithm_of_ones_own_is_trained_evaluated_and_plotted(self):
        run = self.folder / "run"
        for arguments in (("--method=halves",), ("--mode=evaluate",)):
            finished = self.run_stripes(f"--register={HALVES}", f"--logdir={run}", *arguments)
            self.assertEqual(finished.code, 0, finished.stderr)
        results = json.loads((run / "results.json").read_text())
        self.assertEqual([(row["method"], row["step"]) for row in results["rows"]], [("halves", n) for n in range(3)])
        self.assertEqual((results["config"]["method"], results["config"]["inner_steps"]), ("halves", 2))
        self.assertTrue(binary.is_png(run / "accuracy.png"))
        refused = self.run_stripes(f"--logdir={run}", "--resume")
        self.assertEqual(refused.code, 1)
        self.assertIn("halves", refused.errors[0])

    def test_help_has_what_the_data_set_offers(self):
        finished = self.run_stripes("--help")
        self.assertEqual(finished.code, 0)
        self.assertIn("One of 3way_1shot, 3way_2shot.", " ".join(finished.stdout.split()))
        self.assertNotIn("op_conversion_fallback", finished.stdout)  # The file imports TensorFlow, which has flags.
        self.assertIn("omniglot, stripes. By default omniglot.", " ".join(finished.stdout.split()))
        self.assertNotIn("--split", finished.stdout)

    def test_the_papers_data_sets_are_there(self):
        finished = binary.run(
            "few_shot", "--dataset", "mini_imagenet", f"--data_dir={PROJECT / 'testdata' / 'mini_imagenet'}",
            f"--cache_dir={self.folder}", f"--logdir={self.folder / 'run'}", "--iterations=1", "--filters=2",
            "--meta_batch_size=1", "--queries=1", "--inner_steps=1", "--evaluation_steps=1", "--validation_tasks=1",
            "--validate_every=1",
        )  # fmt: skip
        self.assertEqual(finished.code, 0, finished.stderr)
        self.assertEqual(json.loads((self.folder / "run" / "config.json").read_text())["dataset"], "mini_imagenet")

    def test_what_is_not_there_is_one_line(self):
        for arguments, message in (
            ((f"--register={self.folder / 'gone.py'}",), "gone.py"),
            (("--dataset=stripes",), "stripes"),
        ):
            finished = binary.run("few_shot", *arguments)
            self.assertEqual(finished.code, 1)
            self.assertLen(finished.errors, 1)
            self.assertIn(message, finished.errors[0])


if __name__ == "__main__":
    absltest.main()
