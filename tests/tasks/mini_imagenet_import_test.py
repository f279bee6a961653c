"""Tests of the import of mini-ImageNet, on drawn images in ImageNet's layout."""

import csv
import io
import os
import pathlib
import shutil
import tarfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from maml_tf.tasks import MiniImagenet, images, mini_imagenet

SPLIT = {"train": ["n01", "n02"], "val": ["n03"], "test": ["n04"]}


def jpeg(value, size=(120, 90)):
    file = io.BytesIO()
    Image.new("RGB", size, (value, 255 - value, 60)).save(file, "JPEG", quality=95)
    return file.getvalue()


class SmallImagenetTest(parameterized.TestCase):
    """Classes of 5 images numbered 30, 1, 2, 100, 12; the image numbered k has the value 2 k."""

    def setUp(self):
        super().setUp()
        folder = pathlib.Path(self.create_tempdir().full_path)
        self.imagenet, self.lists, self.output = folder / "imagenet", folder / "lists", folder / "output"
        self.lists.mkdir()
        for label in ("n01", "n02", "n03", "n04", "n05"):
            (self.imagenet / label).mkdir(parents=True)
            for number in (30, 1, 2, 100, 12):
                (self.imagenet / label / f"{label}_{number}.JPEG").write_bytes(jpeg(2 * number))
            (self.imagenet / label / f"{label}_7.txt").write_text("stray")
        for part, labels in SPLIT.items():
            self.write_list(part, [(f"{label}{place:08}.jpg", label) for label in labels for place in (1, 4, 3)])

    def write_list(self, part, rows, header=("filename", "label")):
        with open(self.lists / f"{part}.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])

    def prepare(self, **options):
        return mini_imagenet.prepare(self.imagenet, self.lists, self.output, **options)

    def written(self):
        return sorted(path.relative_to(self.output).as_posix() for path in self.output.rglob("*.jpg"))


class ImportTest(SmallImagenetTest):
    def test_a_number_is_the_place_in_numerical_order(self):
        self.assertEqual(self.prepare(), 12)
        expected = [
            f"{part}/{label}/{label}{place:08}.jpg"
            for part, labels in SPLIT.items()
            for label in labels
            for place in (1, 3, 4)
        ]
        self.assertEqual(self.written(), sorted(expected))
        for place, number in ((1, 1), (3, 12), (4, 30)):
            with Image.open(self.output / f"train/n02/n02{place:08}.jpg") as image:
                self.assertEqual(image.size, (84, 84))
                self.assertEqual(image.quantization, Image.open(io.BytesIO(jpeg(0))).quantization)
                pixel = np.asarray(image, np.int32)[40, 40]
            np.testing.assert_allclose(pixel, [2 * number, 255 - 2 * number, 60], atol=2)

    def test_what_it_writes_is_what_mini_imagenet_reads(self):
        self.prepare()
        with self.assertLogs("absl", "WARNING"):
            data = MiniImagenet(self.output, cache_dir=self.output / "cache")
        self.assertEqual(data.splits, {"train": ("n01", "n02"), "validation": ("n03",), "test": ("n04",)})
        self.assertEqual(data.pool("train").class_sizes.tolist(), [3, 3])

    def test_folders_may_be_named_by_a_tilde(self):
        with mock.patch.dict(os.environ, {"HOME": str(self.output.parent)}):
            mini_imagenet.prepare("~/imagenet", "~/lists", "~/output")
        self.assertLen(self.written(), 12)

    def test_an_empty_line_of_a_list_is_passed_over(self):
        self.write_list("val", [("n0300000001.jpg", "n03"), ()])
        self.prepare()
        self.assertEqual([name for name in self.written() if "val" in name], ["val/n03/n0300000001.jpg"])

    def test_a_name_of_imagenet_stands_for_itself(self):
        self.write_list("val", [("n03_100.JPEG", "n03"), ("n03_2.JPEG", "n03")])
        self.prepare(image_size=20)
        self.assertContainsSubset(["val/n03/n03_100.jpg", "val/n03/n03_2.jpg"], self.written())
        with Image.open(self.output / "val/n03/n03_100.jpg") as image:
            self.assertEqual(image.size, (20, 20))
            np.testing.assert_allclose(np.asarray(image, np.int32)[9, 9], [200, 55, 60], atol=2)
        self.assertEqual(self.prepare(image_size=20), 0)

    def test_classes_may_be_tars_as_in_the_official_archive(self):
        self.prepare()
        expected = {name: (self.output / name).read_bytes() for name in self.written()}
        for label in ("n01", "n04"):
            with tarfile.open(self.imagenet / f"{label}.tar", "w") as archive:
                for path in (self.imagenet / label).iterdir():
                    archive.add(path, path.name)
                    path.unlink()
            (self.imagenet / label).rmdir()
        self.output = self.output.with_name("of_tars")
        self.prepare()
        self.assertEqual({name: (self.output / name).read_bytes() for name in self.written()}, expected)

    def test_goes_on_where_it_was_stopped(self):
        whole_class = images.read_files
        calls = []

        def stopping(source, names):
            calls.append(source.name)
            for i, named in enumerate(whole_class(source, names)):
                if len(calls) == 3 and i == 1:
                    raise KeyboardInterrupt
                yield named

        with mock.patch.object(images, "read_files", stopping), self.assertRaises(KeyboardInterrupt):
            self.prepare()
        # Of the class that was stopped nothing has its name yet.
        finished = {str(pathlib.PurePath(name).parent) for name in self.written() if "/." not in name}
        self.assertEqual(finished, {"train/n01", "train/n02"})
        times = {name: (self.output / name).stat().st_mtime_ns for name in self.written() if "train" in name}
        self.assertEqual(self.prepare(), 6)
        self.assertLen(self.written(), 12)
        self.assertEqual({name: (self.output / name).stat().st_mtime_ns for name in times}, times)
        (self.output / "train/n01/.DS_Store").touch()
        self.assertEqual(self.prepare(), 0)


class ErrorsTest(SmallImagenetTest):
    def test_a_list_is_missing(self):
        (self.lists / "val.csv").unlink()
        with self.assertRaisesRegex(FileNotFoundError, "train.csv, val.csv and test.csv in .*Received: no .*val.csv"):
            self.prepare()

    @parameterized.parameters(
        ([], ("filename", "label")),
        ([("a", "n03")], ("label", "filename")),
        ([("a", "n03", "b")], ("filename", "label")),
    )
    def test_a_list_of_another_form(self, rows, header):
        self.write_list("val", rows, header)
        with self.assertRaisesRegex(ValueError, "the columns filename,label .*Received: .*val.csv"):
            self.prepare()

    @parameterized.parameters(("../x.jpg", "n03"), ("x.jpg", "../n03"), ("/etc/x.jpg", "n03"))
    def test_a_name_that_leads_elsewhere(self, name, label):
        self.write_list("val", [(name, label)])
        with self.assertRaisesRegex(ValueError, "names without folders. Received: "):
            self.prepare()

    def test_a_class_in_two_lists(self):
        self.write_list("test", [("n0200000001.jpg", "n02")])
        with self.assertRaisesRegex(ValueError, "every class in one list. Received: 'n02' in train and test"):
            self.prepare()

    def test_an_image_twice(self):
        self.write_list("test", [("n0400000001.jpg", "n04"), ("n0400000001.jpg", "n04")])
        with self.assertRaisesRegex(ValueError, "every image once. Received: one of 'n04' twice in test.csv"):
            self.prepare()
        self.write_list("test", [("n0400000001.jpg", "n04"), ("n04_1.JPEG", "n04")])
        with self.assertRaisesRegex(ValueError, "Received: n0400000001.jpg and n04_1.JPEG for n04_1.JPEG"):
            self.prepare()

    def test_a_class_that_is_missing_is_told_before_anything_is_written(self):
        self.write_list("test", [("n0900000001.jpg", "n09")])
        with self.assertRaisesRegex(FileNotFoundError, "a folder n09 or n09.tar.*Received: .*imagenet without it"):
            self.prepare()
        self.assertFalse(self.output.exists())

    @parameterized.parameters("n0400000006.jpg", "n0400000000.jpg", "n04_77.JPEG")
    def test_an_image_that_is_missing(self, name):
        self.write_list("test", [(name, "n04")])
        with self.assertRaisesRegex(FileNotFoundError, f"Expected {name} of class 'n04'.*n04 with 5 images"):
            self.prepare()

    def test_a_broken_image(self):
        (self.imagenet / "n04" / "n04_1.JPEG").write_bytes(jpeg(2)[:100])
        with self.assertRaisesRegex(ValueError, "Received: n04_1.JPEG in .*n04, which cannot be decoded"):
            self.prepare()

    def test_an_output_with_other_images(self):
        self.prepare()
        other = (self.output / "test/n04/n0400000001.jpg").rename(self.output / "test/n04/n0400000002.jpg")
        for files in (3, 2):
            with self.assertRaisesRegex(ValueError, f"Received: .*n04 with {files} files, not the 3 listed. Remove it"):
                self.prepare()
            other.unlink(missing_ok=True)

    def test_an_output_with_images_of_another_size(self):
        self.prepare(image_size=20)
        shutil.rmtree(self.output / "test/n04")
        with self.assertRaisesRegex(ValueError, "30 x 30.* Received: 20 x 20 in .*train/n01"):
            self.prepare(image_size=30)
        self.assertFalse((self.output / "test/n04").exists())

    @parameterized.parameters(0, 28.0, "28")
    def test_an_image_size_that_is_none(self, image_size):
        with self.assertRaisesRegex(ValueError, f"Received: image_size={image_size!r}"):
            self.prepare(image_size=image_size)


if __name__ == "__main__":
    absltest.main()
