"""Tests of bin/few_shot.py: a data set and an algorithm of one's own, each added in one file outside of the package."""

import json
import pathlib
import tempfile

from absl.testing import absltest

from tests.support import binary
from tests.support.source_tree import PROJECT

# All that a data set takes.
STRIPES = '''
import sys

import numpy as np

from maml_tf.tasks import DatasetSpec, SplitClasses, datasets


def open_stripes(data_dir, cache_dir, split):
    """Makes 15 classes of stripes, each of its own width and direction, with noise."""
    from maml_tf.tasks import ClassPool

    noise, place = np.random.default_rng(0), np.indices([16, 16])
    images = {
        f"{direction}_{width}": noise.normal(place[direction % 2] * (direction > 1) // width % 2, 0.1, [8, 16, 16])
        for direction in range(3)
        for width in range(1, 6)
    }
    pool = ClassPool.from_classes({name: values[..., None].astype("float32") for name, values in images.items()})
    names = list(pool.class_names)
    return SplitClasses(pool, {"train": names[0::3], "validation": names[1::3], "test": names[2::3]})


def small(ways, **options):
    from maml_tf.models import conv_net

    return conv_net(ways=ways, blocks=2, name="small", **options)


datasets.register(
    "stripes",
    DatasetSpec(
        name="stripes",
        title="stripes",
        open=open_stripes,
        image_shape=(16, 16, 1),
        networks={"small": small},
        presets={
            "3way_1shot": {
                "ways": 3, "filters": 4, "meta_batch_size": 2, "iterations": 4, "validate_every": 2,
                "validation_tasks": 4, "test_tasks": 6, "evaluation_steps": 2,
            },
            "3way_2shot": {"ways": 3, "shots": 2},
        },
        environment={"STRIPES": "read at the import of TensorFlow"},
    ),
)
'''

# All that an algorithm takes: this one minimizes the mean of the query losses before and after adaptation.
ALGORITHM = """
import maml_tf
from maml_tf.algorithms import algorithms
from maml_tf.methods import Method, methods


class Halves(maml_tf.Algorithm):
    first_order = True

    def loss(self, functions, theta, task, steps, iteration):
        before, _ = super().loss(functions, theta, task, 0, iteration)
        after, outcome = super().loss(functions, theta, task, steps, iteration)
        return (before + after) / 2, outcome


algorithms.register("halves", Halves())
methods.register("halves", Method("halves", {"classification": {"inner_steps": 2}}, algorithm="halves"))
"""


class FewShotTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        self.file = self.folder / "stripes.py"
        self.file.write_text(STRIPES)

    def run_stripes(self, *arguments):
        return binary.run("few_shot", f"--register={self.file}", "--dataset=stripes", *arguments)

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
        added = self.folder / "halves.py"
        added.write_text(ALGORITHM)
        run = self.folder / "run"
        for arguments in (("--method=halves",), ("--mode=evaluate",)):
            finished = self.run_stripes(f"--register={added}", f"--logdir={run}", *arguments)
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
