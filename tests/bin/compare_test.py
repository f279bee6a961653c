"""Tests of bin/compare.py, run as a process on runs that are there."""

import json
import pathlib

from absl.testing import absltest

from maml_tf.configuration import to_dict
from maml_tf.experiments.classification.compare import configurations
from tests.support import binary


class CompareTest(absltest.TestCase):
    def test_the_table_of_runs_that_are_there_is_written_at_once(self):
        logdir = pathlib.Path(self.create_tempdir().full_path)
        common = {"iterations": 7, "filters": 3, "first_order": True, "meta_batch_size": 2}
        for method, accuracy in (("maml", 0.75), ("reptile", 0.5)):
            [(_, config)] = configurations("omniglot", "5way_1shot", [method], [2], common).values()
            folder = logdir / method / "seed2"
            folder.mkdir(parents=True)
            row = {"method": method, "shots": 1, "step": 3, "metric": "accuracy", "mean": accuracy, "sd": 0.1,
                   "ci95": 0.02, "tasks": 6}  # fmt: skip
            for name, content in (
                ("config.json", to_dict(config)), ("results.json", {"rows": [row]}), ("training.json", {"seconds": 9}),
                ("usage.json", {"cpu_seconds": 17.2, "peak_mebibytes": 800.0}),
            ):  # fmt: skip
                (folder / name).write_text(json.dumps(content))
        flags = ["--methods=reptile,maml", "--seeds=2", "--iterations=7", "--filters=3", f"--logdir={logdir}"]
        finished = binary.run("compare", *flags, "--setting=first_order=true", "--setting=meta_batch_size=2")
        self.assertEqual(finished.code, 0, finished.stderr)
        self.assertNotIn(" begins", finished.stderr)
        self.assertEqual(
            finished.stdout.splitlines()[2:4],
            ["| MAML | 75.0 +- 2.0 | 1 | 9 | 17 | 800 |", "| Reptile | 50.0 +- 2.0 | 1 | 9 | 17 | 800 |"],
        )
        self.assertTrue(binary.is_png(logdir / "comparison.png"))
        other = binary.run("compare", *flags, "--setting=first_order=true", "--setting=meta_batch_size=4")
        self.assertIn("differs in meta_batch_size: stored 2, given 4", "".join(other.errors))

    def test_wrong_flags_are_one_error(self):
        for flag, message in (
            ("--setting=filters", "Expected <flag of maml-tf few-shot>=<value>. Received: --setting=filters"),
            ("--seeds=1,a", "Expected whole numbers by commas. Received: --seeds=a"),
            ("--methods=mamml", "or all. Received: 'mamml'"),
        ):
            finished = binary.run("compare", flag, f"--logdir={self.create_tempdir().full_path}")
            self.assertEqual(finished.code, 1)
            self.assertIn(message, "".join(finished.errors))


if __name__ == "__main__":
    absltest.main()
