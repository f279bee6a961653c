"""Tests of maml_tf.files.open_logdir."""

import errno
import fcntl
import pathlib
from unittest import mock

from absl.testing import absltest

from maml_tf import files as logdir
from maml_tf.files import open_logdir


class OpenLogdirTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path, "run")

    def with_checkpoint(self, folder):
        (self.folder / folder).mkdir(parents=True)
        (self.folder / folder / "checkpoint-100.index").touch()

    def test_a_new_directory_is_made(self):
        with open_logdir(str(self.folder), ["checkpoints"], False) as directory:
            self.assertEqual(directory, self.folder)
        self.assertTrue(self.folder.is_dir())

    def test_checkpoints_are_refused_unless_resumed(self):
        self.with_checkpoint("maml/checkpoints")
        folders = ["oracle/checkpoints", "maml/checkpoints"]
        with self.assertRaisesRegex(ValueError, r"\(--resume\). Received: .*run' with checkpoints in 'maml/check"):
            self.enter_context(open_logdir(self.folder, folders, False))
        self.assertEqual(self.enter_context(open_logdir(self.folder, folders, True)), self.folder)

    def test_the_checkpoints_of_another_method_may_stay(self):
        self.with_checkpoint("maml/checkpoints")
        self.assertEqual(self.enter_context(open_logdir(self.folder, ["oracle/checkpoints"], False)), self.folder)

    def test_a_directory_that_cannot_be_made_is_an_error(self):
        self.folder.touch()
        for resume in (False, True):
            with self.assertRaisesRegex(ValueError, "Expected a directory that can be created and written to"):
                self.enter_context(open_logdir(self.folder / "below", [], resume))

    def test_while_one_trains_another_is_refused(self):
        with open_logdir(self.folder, [], False):
            for resume in (False, True):
                with self.assertRaisesRegex(ValueError, "no other process trains in. Received: '.*run', where one"):
                    self.enter_context(open_logdir(self.folder, [], resume))
        self.enter_context(open_logdir(self.folder, [], False))

    def test_a_file_system_without_locks_is_warned_of(self):
        with mock.patch.object(fcntl, "flock", side_effect=OSError(errno.ENOLCK, "No locks available")):
            with self.assertLogs("absl", "WARNING") as logs:
                self.enter_context(open_logdir(self.folder, [], False))
        self.assertIn("make sure that no other process trains in it", logs.output[0])

    def test_a_system_without_locks_does_without_them(self):
        with mock.patch.object(logdir, "fcntl", None):
            self.assertEqual(self.enter_context(open_logdir(self.folder, [], False)), self.folder)


if __name__ == "__main__":
    absltest.main()
