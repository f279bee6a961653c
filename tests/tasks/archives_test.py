"""Tests of archives: read like folders, and refused where they are broken or made to do harm."""

import io
import os
import pathlib
import random
import re
import shutil
import struct
import tarfile
import tracemalloc
import zipfile
from unittest import mock

from absl.testing import absltest, parameterized

from maml_tf.tasks import archives
from maml_tf.tasks.archives import list_files, read_files

FILES = {"ant/1.png": b"one", "ant/young/2.png": b"two", "readme.txt": b"three"}
FOLDERS = {"ant/", "ant/young/", "bee/"}
MEGABYTE = 1 << 20


def tar_of(test, *members):
    """Writes a tar of members (name, type, name of what it links to); regular ones hold b"one"."""
    path = pathlib.Path(test.create_tempdir().full_path, "made.tar")
    with tarfile.open(path, "w") as archive:
        for name, type_, linkname in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = type_, linkname, 3 if type_ == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(b"one"))
    return path


def peak_in_megabytes(function):
    """Returns the memory that Python held at most during a call."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1] / MEGABYTE
    finally:
        tracemalloc.stop()


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
        self.assertCountEqual(list(list_files(path)), FILES)
        self.assertCountEqual(list(list_files(path, folders=True)), [*FILES, *FOLDERS])
        self.assertEqual(dict(read_files(path, FILES)), FILES)

    def test_of_the_links_in_a_folder_those_to_files_are_files_and_those_that_lead_up_end(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        (folder / "1.png").write_bytes(b"one")
        (folder / "2.png").symlink_to("1.png")
        self.assertEqual(
            dict(read_files(folder, list_files(folder))),
            dict.fromkeys(["1.png", "2.png"], b"one"),
        )
        (folder / "up").symlink_to(folder)
        self.assertLess(len(list_files(folder)), 20)

    @parameterized.parameters("1.png", "./1.png")
    def test_of_the_links_in_a_tar_hard_ones_are_files(self, linkname):
        path = tar_of(self, ("1.png", tarfile.REGTYPE, ""), ("2.png", tarfile.LNKTYPE, linkname))
        self.assertEqual(dict(read_files(path, ["1.png", "2.png"])), {"1.png": b"one", "2.png": b"one"})

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
        with self.assertRaisesRegex(ValueError, "Expected a whole tar archive. Received: .*changed.tar, which cannot"):
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
        with self.assertRaisesRegex(FileNotFoundError, "Received: gone.zip, which does not exist"):
            list_files("gone.zip")


class HostileArchivesTest(parameterized.TestCase):
    """Each is one error that names the archive and the member."""

    def setUp(self):
        super().setUp()
        self.enter_context(mock.patch.object(archives, "MAX_FILE_BYTES", MEGABYTE))

    def zip_of(self, content=b"one", compression=zipfile.ZIP_DEFLATED, name="1.png"):
        path = pathlib.Path(self.create_tempdir().full_path, "made.zip")
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr(name, content)
        return path

    def assert_refused(self, path, message, name="1.png", most_megabytes=2):
        def read():
            with self.assertRaisesRegex(ValueError, f"{name} in .*{path.name}.*{message}"):
                list(read_files(path, list(list_files(path))))

        self.assertLess(peak_in_megabytes(read), most_megabytes)

    def test_a_small_zip_of_a_large_file(self):
        path = self.zip_of(bytes(16 * MEGABYTE))
        self.assertLess(path.stat().st_size, MEGABYTE)
        self.assert_refused(path, f" {16 * MEGABYTE} bytes")

    def test_a_zip_that_lies_of_a_files_size(self):
        path = self.zip_of(bytes(16 * MEGABYTE))
        content = path.read_bytes()
        path.write_bytes(content.replace(struct.pack("<L", 16 * MEGABYTE), struct.pack("<L", 100)))
        self.assert_refused(path, "cannot be read: .*CRC")

    def test_a_small_tar_of_a_large_file(self):
        path = pathlib.Path(self.create_tempdir().full_path, "made.tar.gz")
        with tarfile.open(path, "w:gz") as archive:
            member = tarfile.TarInfo("1.png")
            member.size = 16 * MEGABYTE
            archive.addfile(member, io.BytesIO(bytes(member.size)))
        self.assert_refused(path, f" {16 * MEGABYTE} bytes")

    def test_a_small_tar_with_a_large_header(self):
        path = pathlib.Path(self.create_tempdir().full_path, "made.tar.gz")
        with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
            member = tarfile.TarInfo("1.png")
            member.pax_headers = {"comment": "x" * (16 * MEGABYTE)}
            archive.addfile(member)

        def read():
            with self.assertRaisesRegex(ValueError, "made.tar.gz.*a header of 1677[0-9]+ bytes"):
                list_files(path)

        self.assertLess(peak_in_megabytes(read), 2)

    def test_a_large_file_of_a_folder(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        with open(folder / "1.png", "wb") as file:
            file.truncate(16 * MEGABYTE)
        self.assert_refused(folder, f" {16 * MEGABYTE} bytes")

    def test_an_encrypted_zip(self):
        path = self.zip_of()
        content = bytearray(path.read_bytes())
        content[6] |= 1  # The flags of the file,
        content[content.index(b"PK\1\2") + 8] |= 1  # and in the directory.
        path.write_bytes(content)
        self.assert_refused(path, "encrypted")

    @parameterized.parameters((zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "lzma"), (9, "deflate64"), (250, "250"))
    def test_a_zip_of_another_compression(self, compression, named):
        of_python = compression in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
        path = self.zip_of(compression=compression if of_python else zipfile.ZIP_DEFLATED)
        content = bytearray(path.read_bytes())
        content[content.index(b"PK\1\2") + 10] = compression
        content[8] = compression
        path.write_bytes(content)
        self.assert_refused(path, f"compressed with {named}")

    def test_a_zip_of_a_later_version(self):
        path = self.zip_of()
        content = bytearray(path.read_bytes())
        content[content.index(b"PK\1\2") + 6] = 99
        path.write_bytes(content)
        with self.assertRaisesRegex(ValueError, "made.zip.*version 9.9"):
            list_files(path)

    def test_a_link_in_a_zip(self):
        member = zipfile.ZipInfo("1.png")
        member.create_system, member.external_attr = 3, 0o120777 << 16
        self.assert_refused(self.zip_of(b"/etc/passwd", name=member), "is a link.*unpack it")

    @parameterized.parameters("2.png", "/etc/passwd", "1.png")
    def test_a_symbolic_link_in_a_tar(self, linkname):
        path = tar_of(self, ("2.png", tarfile.REGTYPE, ""), ("1.png", tarfile.SYMTYPE, linkname))
        self.assert_refused(path, f"symbolic link to '{linkname}'")

    @parameterized.parameters("/etc/passwd", "../1.png", "0.png", "up/2.png")
    def test_a_hard_link_in_a_tar_to_what_is_not_in_it(self, linkname):
        self.assert_refused(tar_of(self, ("1.png", tarfile.LNKTYPE, linkname)), f"'{linkname}' not found")

    def test_hard_links_in_a_circle(self):
        path = tar_of(self, ("1.png", tarfile.LNKTYPE, "2.png"), ("2.png", tarfile.LNKTYPE, "1.png"))
        self.assert_refused(path, "'2.png' not found")

    @parameterized.parameters(tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE)
    def test_a_device_in_a_tar(self, type_):
        self.assert_refused(tar_of(self, ("1.png", type_, "")), "neither")

    @parameterized.parameters("../1.png", "/1.png", "ant/../../1.png")
    def test_a_name_that_leads_outside(self, name):
        for path in (self.zip_of(name=name), tar_of(self, (name, tarfile.REGTYPE, ""))):
            with self.assertRaisesRegex(ValueError, f"{re.escape(repr(name))} in .*{path.name}"):
                list_files(path)

    def test_a_file_twice(self):
        path = tar_of(self, ("1.png", tarfile.REGTYPE, ""), ("./1.png", tarfile.REGTYPE, ""))
        self.assert_refused(path, "", name="1.png twice")

    @parameterized.parameters("link", "fifo")
    def test_what_is_no_file_in_a_folder(self, kind):
        folder = pathlib.Path(self.create_tempdir().full_path)
        if kind == "link":
            (folder / "1.png").symlink_to("gone.png")
        else:
            os.mkfifo(folder / "1.png")
        self.assert_refused(folder, "neither")

    @parameterized.product(form=("zip", "tar", "gztar", "bztar", "xztar"), seed=(0, 1))
    def test_whatever_bytes_are_changed_is_read_or_refused(self, form, seed):
        folder = self.create_tempdir()
        for name, content in FILES.items():
            folder.create_file(name, content * 50, mode="wb")
        path = pathlib.Path(shutil.make_archive(self.create_tempdir().full_path, form, folder.full_path))
        whole, numbers = path.read_bytes(), random.Random(seed)
        for _ in range(100):
            content = bytearray(whole)
            for _ in range(numbers.choice([1, 1, 4])):
                content[numbers.randrange(len(content))] = numbers.randrange(256)
            path.write_bytes(content[: numbers.choice([len(content), numbers.randrange(len(content))])])
            try:
                names = [name for name in list_files(path) if name in FILES]
                for name, content in read_files(path, names):
                    if form != "tar":  # Whose files have no checksums.
                        self.assertEqual(content, FILES[name] * 50)
            except ValueError as error:
                self.assertIn(path.name, str(error))


if __name__ == "__main__":
    absltest.main()
