"""Tests of maml_tf.tasks.image_files; broken archives are tested in tests/tasks/mini_imagenet_test.py."""

import io
import pathlib
import random
import shutil
import tarfile
import zipfile

from absl.testing import absltest, parameterized

from maml_tf.tasks.image_files import list_files, read_files

FILES = {"ant/1.png": b"one", "ant/young/2.png": b"two", "readme.txt": b"three"}
FOLDERS = {"ant/", "ant/young/", "bee/"}


class ImageFilesTest(parameterized.TestCase):
    @parameterized.parameters("", "zip", "tar", "gztar")
    def test_an_archive_is_listed_and_read_like_its_folder(self, form):
        folder = self.create_tempdir()
        for name, content in FILES.items():
            folder.create_file(name, content, mode="wb")
        folder.create_file("ant/.DS_Store")
        folder.mkdir("bee")
        path = folder.full_path
        if form:
            path = shutil.make_archive(self.create_tempdir().full_path, form, path)
        self.assertCountEqual([file.name for file in list_files(path)], FILES)
        self.assertCountEqual([file.name for file in list_files(path, folders=True)], [*FILES, *FOLDERS])
        self.assertEqual(dict(read_files(path, FILES)), FILES)

    def test_of_the_links_in_a_folder_those_to_files_are_files_and_those_that_lead_up_end(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        (folder / "1.png").write_bytes(b"one")
        (folder / "2.png").symlink_to("1.png")
        (folder / "3.png").symlink_to("gone.png")
        self.assertEqual(
            dict(read_files(folder, [file.name for file in list_files(folder)])),
            dict.fromkeys(["1.png", "2.png"], b"one"),
        )
        (folder / "up").symlink_to(folder)
        self.assertLess(len(list_files(folder)), 20)

    def test_of_the_links_in_a_tar_hard_ones_are_files(self):
        path = pathlib.Path(self.create_tempdir().full_path, "links.tar")
        with tarfile.open(path, "w") as archive:
            for name, type_ in (("1.png", tarfile.REGTYPE), ("2.png", tarfile.LNKTYPE), ("3.png", tarfile.SYMTYPE)):
                member = tarfile.TarInfo(name)
                member.type, member.linkname = type_, "1.png"
                member.size = 3 if type_ == tarfile.REGTYPE else 0
                archive.addfile(member, io.BytesIO(b"one"))
        names = [file.name for file in list_files(path)]
        self.assertEqual(dict(read_files(path, names)), {"1.png": b"one", "2.png": b"one"})
        self.assertLen(names, 2)

    @parameterized.parameters("gz", "bz2", "xz")
    def test_a_byte_changed_in_a_compressed_tar(self, compression):
        path = pathlib.Path(self.create_tempdir().full_path, "changed.tar")
        with tarfile.open(path, f"w:{compression}") as archive:
            member = tarfile.TarInfo("1.png")
            member.size = 100_000
            archive.addfile(member, io.BytesIO(random.Random(0).randbytes(member.size)))
        content = bytearray(path.read_bytes())
        content[50_000] ^= 1
        path.write_bytes(content)
        with self.assertRaisesRegex(ValueError, "Expected a whole tar archive. Received: .*changed.tar, which is brok"):
            list_files(path)

    def test_a_byte_changed_in_a_compressed_zip(self):
        path = pathlib.Path(self.create_tempdir().full_path, "changed.zip")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("1.png", bytes(range(256)) * 100)
        start_of_stream = 30 + len("1.png")
        content = bytearray(path.read_bytes())
        content[start_of_stream] ^= 7
        path.write_bytes(content)
        with self.assertRaisesRegex(
            ValueError, "Expected a whole zip archive. Received: 1.png in .*changed.zip, which"
        ):
            list(read_files(path, ["1.png"]))

    def test_nothing_there(self):
        with self.assertRaisesRegex(FileNotFoundError, "Received: gone.zip, which is not there"):
            list_files("gone.zip")


if __name__ == "__main__":
    absltest.main()
