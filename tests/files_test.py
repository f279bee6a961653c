"""Tests of maml_tf.files."""

import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import unittest.mock

import keras
import numpy as np
from absl.testing import absltest

from maml_tf.files import (
    load_weights,
    read_json,
    remove_unfinished,
    save_atomically,
    writable_directory,
    write_atomically,
)
from tests.support.keras_warnings import ignore_array_copy


class WritableDirectoryTest(absltest.TestCase):
    def test_creates_parents_and_leaves_nothing_behind(self):
        path = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()), "a", "b")
        self.assertEqual(writable_directory(path), path)
        self.assertEqual(list(path.iterdir()), [])
        writable_directory(str(path))

    def test_a_tilde_is_the_home_folder(self):
        home = self.enter_context(tempfile.TemporaryDirectory())
        with unittest.mock.patch.dict(os.environ, {"HOME": home}):
            self.assertEqual(writable_directory("~/logs"), pathlib.Path(home, "logs"))

    def test_a_path_through_a_file_is_refused(self):
        with self.assertRaisesRegex(ValueError, r"Expected a directory .*logs' \(Not a directory\)"):
            writable_directory(os.path.join(__file__, "logs"))

    def test_a_directory_without_write_permission_is_refused(self):
        # Permissions do not bind root, so the refusal is the system's answer replayed.
        denied = PermissionError(13, "Permission denied")
        with unittest.mock.patch("tempfile.TemporaryFile", side_effect=denied):
            with self.assertRaisesRegex(ValueError, r"Expected a directory .* \(Permission denied\)"):
                writable_directory(self.enter_context(tempfile.TemporaryDirectory()))


class ReadJsonTest(absltest.TestCase):
    def test_reads_what_was_written_and_names_a_broken_file(self):
        path = self.create_tempfile("config.json", '{"seed": 1}').full_path
        self.assertEqual(read_json(path), {"seed": 1})
        for broken in (b'{"seed"', b"", b"\xff"):
            pathlib.Path(path).write_bytes(broken)
            with self.assertRaisesRegex(ValueError, "JSON.* Received: '.*config.json': "):
                read_json(path)
        pathlib.Path(path).write_text("[1, 2]")
        with self.assertRaisesRegex(ValueError, "Received: list in '.*config.json'"):
            read_json(path)


class LoadWeightsTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        ignore_array_copy()
        self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        self.model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        self.paths = [self.folder / "model.keras", self.folder / "model.weights.h5"]
        self.model.save(self.paths[0])
        self.model.save_weights(self.paths[1])

    def test_sets_those_of_a_model_or_of_weights(self):
        for path in self.paths:
            other = keras.models.clone_model(self.model)
            load_weights(other, str(path))
            for value, expected in zip(other.get_weights(), self.model.get_weights(), strict=True):
                np.testing.assert_array_equal(value, expected)

    def test_names_a_file_that_does_not_fit_is_cut_off_or_missing(self):
        other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        for path in self.paths:
            message = f"Expected the weights of the same model. Received: '.*{path.name}': "
            with self.assertNoLogs(), self.assertRaisesRegex(ValueError, message) as raised:
                load_weights(other, path)
            self.assertNotIn("\n", str(raised.exception))
            path.write_bytes(path.read_bytes()[:1000])
            with self.assertRaisesRegex(ValueError, message):
                load_weights(self.model, path)
            path.unlink()
            with self.assertRaisesRegex(FileNotFoundError, f"a file of weights. Received: '.*{path.name}', which is"):
                load_weights(self.model, path)


class WriteAtomicallyTest(absltest.TestCase):
    def test_replaces_the_content(self):
        path = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()), "file")
        write_atomically(path, "grün")
        self.assertEqual(path.read_bytes(), "grün".encode())
        write_atomically(path, b"\x00")
        self.assertEqual(path.read_bytes(), b"\x00")
        self.assertLen(list(path.parent.iterdir()), 1)

    def test_a_failure_leaves_the_old_content_and_no_other_file(self):
        path = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()), "file")
        write_atomically(path, "old")
        with unittest.mock.patch("os.fsync", side_effect=OSError(28, "No space left on device")):
            with self.assertRaisesRegex(OSError, f"No space left on device: '{path}'") as raised:
                write_atomically(path, "new")
        self.assertEqual((raised.exception.errno, raised.exception.filename), (28, str(path)))
        self.assertEqual(path.read_text(), "old")
        self.assertLen(list(path.parent.iterdir()), 1)


class SaveAtomicallyTest(absltest.TestCase):
    def test_the_path_to_write_has_the_suffixes_and_another_name(self):
        path = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()), "network.weights.h5")

        def save(temporary):
            self.assertEqual((temporary.parent, temporary.suffixes[-2:]), (path.parent, [".weights", ".h5"]))
            self.assertFalse(path.exists())
            temporary.write_text("weights")

        self.assertEqual(save_atomically(str(path), save), path)
        self.assertEqual([(entry, entry.read_text()) for entry in path.parent.iterdir()], [(path, "weights")])

    def test_a_save_that_fails_midway_leaves_the_old_file_and_no_other(self):
        path = write_atomically(pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()), "file"), "old")

        def save(temporary):
            temporary.write_text("half")
            raise RuntimeError("stopped")

        with self.assertRaisesRegex(RuntimeError, "stopped"):
            save_atomically(path, save)
        self.assertEqual([(entry, entry.read_text()) for entry in path.parent.iterdir()], [(path, "old")])

    def test_a_file_of_keras_on_a_full_disk_is_named(self):
        ignore_array_copy()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, limits)
        path = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()), "network.keras")
        model = keras.Sequential([keras.Input((100,)), keras.layers.Dense(100)])
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        with self.assertRaisesRegex(OSError, f"File too large: '{path}'"):
            save_atomically(path, model.save)
        self.assertEqual(list(path.parent.iterdir()), [])


class RemoveUnfinishedTest(absltest.TestCase):
    def test_those_of_processes_that_are_gone_go(self):
        folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        finished = subprocess.Popen([sys.executable, "-c", ""])
        finished.wait()
        (folder / "maml").mkdir()
        gone = [folder / f".unfinished-{finished.pid}-a.json", folder / "maml" / f".unfinished-{finished.pid}-b.h5"]
        kept = [folder / f".unfinished-{os.getpid()}-a.json", folder / ".unfinished-notes", folder / "a.json"]
        for path in (*gone, *kept):
            path.touch()
        remove_unfinished(folder)
        self.assertCountEqual([path for path in folder.rglob("*") if path.is_file()], kept)


if __name__ == "__main__":
    absltest.main()
