"""Tests of bin/export.py, run as a process."""

import pathlib
import tempfile

import tensorflow as tf
from absl.testing import absltest

from tests.support import binary


class ExportTest(absltest.TestCase):
    def test_an_entry_becomes_a_saved_model(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "served")
            finished = binary.run("export", "--pretrained=omniglot_5way_1shot_dense", f"--output={path}")
            self.assertEqual((finished.code, finished.stdout), (0, f"Written to {path}\n"), finished.stderr)
            served = tf.saved_model.load(str(path))
            self.assertEqual(served.infer(tf.zeros([2, 28, 28, 1]))["outputs"].shape, [2, 5])

    def test_an_entry_becomes_a_file_for_litert(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "dense.tflite")
            flags = ["--pretrained=omniglot_5way_1shot_dense", "--format=litert", f"--output={path}"]
            finished = binary.run("export", *flags)
            self.assertEqual((finished.code, finished.stdout), (0, f"Written to {path}\n"), finished.stderr)
            self.assertEqual(path.read_bytes()[4:8], b"TFL3")

    def test_what_cannot_be_exported_is_one_error(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "file").touch()
            preset = [f"--output={folder}/preset", "--format=preset"]
            finished = binary.run("export", "--pretrained=omniglot_5way_1shot_dense", *preset)
            self.assertEqual(finished.code, 0, finished.stderr)
            for flags, said in (
                (["--pretrained=point_navigation", *preset], "Error: Expected a maml_tf.MetaLearner"),
                (["--pretrained=omniglot", f"--output={folder}/new"], "Error: Expected one of ['ant_direction'"),
                (["--pretrained=omniglot_5way_1shot", f"--output={folder}/file/new"], "Error: Expected a directory"),
                (
                    ["--pretrained=omniglot_5way_1shot", f"--output={folder}/new", "--support_examples=5"],
                    "Error: Expected --support_examples and",
                ),
                (
                    ["--pretrained=point_navigation", f"--output={folder}/new", "--format=litert"],
                    "Error: Expected --support",
                ),
            ):
                finished = binary.run("export", *flags)
                self.assertEqual(finished.code, 1)
                self.assertLen(finished.errors, 1)
                self.assertStartsWith(finished.errors[0], said)


if __name__ == "__main__":
    absltest.main()
