"""Tests of maml_tf.tasks.part_file; two processes at once are tested in tests/tasks/download_test.py."""

import errno
import pathlib

from absl.testing import absltest

from maml_tf.tasks import part_file


class AloneTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.part = pathlib.Path(self.create_tempdir().full_path, "images.part")

    def test_an_empty_file_is_removed_at_the_end(self):
        with part_file.alone(self.part):
            self.assertTrue(self.part.exists())
        self.assertFalse(self.part.exists())

    @absltest.skipIf(part_file.fcntl is None, "This system has no locks of files.")
    def test_what_is_held_is_the_file_of_that_name_after_another_process_renamed_its_own(self):
        lock, waited_for = part_file.fcntl.flock, self.part.with_name("images.npy")

        def finished_by_another(file, operation):
            if not waited_for.exists():
                self.part.rename(waited_for)
                self.part.touch()
            lock(file, operation)

        with absltest.mock.patch.object(part_file.fcntl, "flock", finished_by_another), part_file.alone(self.part):
            with open(self.part, "ab") as file, self.assertRaises(BlockingIOError):
                lock(file, part_file.fcntl.LOCK_EX | part_file.fcntl.LOCK_NB)

    @absltest.skipIf(part_file.fcntl is None, "This system has no locks of files.")
    def test_a_file_system_without_locks_is_warned_of(self):
        unlockable = OSError(errno.ENOLCK, "No locks available")
        with (
            absltest.mock.patch.object(part_file.fcntl, "flock", side_effect=unlockable),
            self.assertLogs("absl", level="WARNING") as logs,
            part_file.alone(self.part),
        ):
            self.part.write_bytes(b"1")
        self.assertIn("images.part can't be locked", logs.output[0])
        self.assertEqual(self.part.read_bytes(), b"1")


if __name__ == "__main__":
    absltest.main()
