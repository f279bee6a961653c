"""Tests of decoding images, safely, and of keeping what was decoded."""

import concurrent.futures
import io
import os
import pathlib
import random
import subprocess
import sys
import time
import tracemalloc
import warnings
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image, PngImagePlugin

from maml_tf.tasks import images
from maml_tf.tasks.images import decode_image, decoded_once


class DecodedOnceTest(absltest.TestCase):
    def test_what_a_killed_process_wrote_is_removed(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        images = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
        killed = subprocess.Popen([sys.executable, "-c", ""])
        killed.wait()
        for process in (killed.pid, os.getpid()):
            (folder / f".unfinished-{process}-images.npy").touch()
        np.testing.assert_array_equal(
            decoded_once(folder / "1.npy", images.shape, lambda array: np.copyto(array, images)), images
        )
        np.testing.assert_array_equal(np.load(folder / "1.npy"), images)
        # Another process may be writing it, unless it is gone.
        self.assertCountEqual(folder.iterdir(), [folder / "1.npy", folder / f".unfinished-{os.getpid()}-images.npy"])

    def test_of_several_at_once_one_decodes(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        decoding = []

        def decode(array):
            decoding.append(len(decoding))
            time.sleep(0.1)
            array[:] = 7

        def read(mapped):
            return decoded_once(folder / f"{mapped}.npy", (3, 4), decode, mapped=mapped)

        with concurrent.futures.ThreadPoolExecutor(6) as threads:
            arrays = list(threads.map(read, [True, False] * 3))
        self.assertLen(decoding, 2)
        self.assertTrue(all((array == 7).all() for array in arrays))
        self.assertFalse(any(array.flags.writeable for array in arrays[::2]))
        self.assertCountEqual(os.listdir(folder), ["True.npy", "False.npy"])

    def test_a_mapped_file_of_another_size_is_replaced(self):
        file = pathlib.Path(self.create_tempdir().full_path, "1.npy")
        for content in (lambda whole: whole[:-1], lambda whole: whole + b"1", lambda whole: b"x" * len(whole)):
            decoded_once(file, (3, 4), lambda array: np.copyto(array, 7), mapped=True)
            whole = file.read_bytes()
            file.write_bytes(content(whole))
            with self.assertLogs(level="WARNING") as logs:
                images = decoded_once(file, (3, 4), lambda array: np.copyto(array, 7), mapped=True)
            self.assertIn("cannot be used", logs.output[0])
            self.assertEqual(file.read_bytes(), whole)
            self.assertTrue((images == 7).all())


class DecodeImageTest(parameterized.TestCase):
    def image(self, size=(4, 4), format_="PNG", mode="L"):
        file = io.BytesIO()
        Image.new(mode, size, "white").save(file, format_)
        return file.getvalue()

    @parameterized.parameters("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
    def test_formats_that_are_documented(self, format_):
        image = decode_image(self.image(format_=format_), "ant/1", None, 1)
        np.testing.assert_array_equal(image, np.full([4, 4, 1], 255))

    @parameterized.parameters("EPS", "PCX", "TGA", "SGI", "DDS", "ICO", "PDF")
    def test_no_other_format_is_opened_whatever_the_files_name(self, format_):
        with self.assertRaisesRegex(ValueError, "ant/1.png, which cannot be decoded"):
            decode_image(self.image(format_=format_), "ant/1.png", None, 3)

    def test_no_program_is_started_for_an_eps(self):
        with mock.patch.object(subprocess, "Popen") as start, self.assertRaises(ValueError):
            decode_image(self.image(format_="EPS"), "ant/1.png", None, 3)
        start.assert_not_called()

    def test_formats_of_a_data_set(self):
        with self.assertRaisesRegex(ValueError, "ant/1.png, which cannot be decoded"):
            decode_image(self.image(format_="GIF"), "ant/1.png", None, 1, formats=("PNG",))

    @parameterized.parameters((1 << 13, (1 << 13) + 1), (20_000, 9_000))
    def test_a_small_file_of_a_large_image(self, *size):
        content = self.image(size, mode="1")
        self.assertLess(len(content), 100_000)
        tracemalloc.start()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with self.assertRaisesRegex(ValueError, "ant/1.png"):
                decode_image(content, "ant/1.png", (28, 28), 1)
        self.assertLess(tracemalloc.get_traced_memory()[1], 1 << 20)
        tracemalloc.stop()

    def test_a_drawing_of_another_size_is_not_decoded(self):
        content = self.image((8000, 8000))[:200]
        with self.assertRaisesRegex(ValueError, "8000 x 8000 in 1.png"):
            decode_image(content, "1.png", None, 1, own_size=(105, 105))

    def test_text_that_a_png_inflates(self):
        info = PngImagePlugin.PngInfo()
        info.add_text("comment", "x" * (PngImagePlugin.MAX_TEXT_CHUNK + 1), zip=True)
        file = io.BytesIO()
        Image.new("L", (2, 2)).save(file, "PNG", pnginfo=info)
        with self.assertRaisesRegex(ValueError, "1.png, which cannot be decoded"):
            decode_image(file.getvalue(), "1.png", None, 1)

    @parameterized.parameters("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
    def test_whatever_bytes_are_changed_is_decoded_or_refused(self, format_):
        whole, numbers = self.image((20, 20), format_), random.Random(0)
        for _ in range(60):
            content = bytearray(whole)
            for _ in range(numbers.choice([1, 4])):
                content[numbers.randrange(len(content))] = numbers.randrange(256)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    self.assertEqual(decode_image(bytes(content), "ant/1", (5, 5), 3).shape, (5, 5, 3))
            except ValueError as error:
                self.assertIn("ant/1", str(error))


class MapFilesTest(absltest.TestCase):
    def test_holds_few_of_many_bytes(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        names = [f"{number:02}" for number in range(40)]
        for name in names:
            (folder / name).write_bytes(bytes(1 << 20))
        seen = []
        with mock.patch.object(images, "_FILES_AT_ONCE", 3):
            tracemalloc.start()
            list(images.map_files(lambda file: seen.append(file[0]), folder, names))
            self.assertLess(tracemalloc.get_traced_memory()[1], 8 << 20)
            tracemalloc.stop()
        self.assertCountEqual(seen, names)


if __name__ == "__main__":
    absltest.main()
