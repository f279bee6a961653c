"""Tests of MiniImagenet on small trees made on the spot, on the drawn one, and on the real one where it is."""

import io
import os
import pathlib
import shutil
import tarfile
import zipfile
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized
from PIL import Image

from maml_tf.tasks import MiniImagenet, images, mini_imagenet

DRAWN = pathlib.Path(__file__).parents[2] / "testdata" / "mini_imagenet"


def png(value, size=(84, 84)):
    """Returns a PNG of one colour, (value, value / 2, 0): decoding it is exact."""
    file = io.BytesIO()
    Image.new("RGB", size, (value, value // 2, 0)).save(file, "PNG")
    return file.getvalue()


def tree(classes=2, images=3):
    """Returns {name: content}; image i of class c has the value 10 c + i, classes are numbered through."""
    return {
        f"{part}/n{number:02}/{i}.png": png(10 * number + i)
        for first, part in ((0, "train"), (classes, "val"), (2 * classes, "test"))
        for number in range(first, first + classes)
        for i in range(images)
    }


class SmallTreeTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.data_dir = self.folder / "data"
        self.cache_dir = self.folder / "cache"

    def write_tree(self, files, top=""):
        for name, content in files.items():
            path = self.data_dir / top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def write_archive(self, files, name="data.tar", top="", time_of_change=0):
        path = self.folder / name
        if name.lower().endswith(".zip"):
            with zipfile.ZipFile(path, "w") as archive:
                for member, content in files.items():
                    archive.writestr(top + member, content)
        else:
            compression = {".gz": "gz", ".tgz": "gz", ".bz2": "bz2", ".xz": "xz"}.get(path.suffix.lower(), "")
            with tarfile.open(path, f"w:{compression}") as archive:
                for member, content in files.items():
                    info = tarfile.TarInfo(top + member)
                    info.size, info.mtime = len(content), time_of_change
                    archive.addfile(info, io.BytesIO(content))
        return path

    def load(self, data_dir=None, **options):
        with self.assertLogs("absl", "WARNING"):  # Every tree here is a subset.
            return MiniImagenet(data_dir or self.data_dir, cache_dir=self.cache_dir, **options)

    def assert_is_tree(self, data, classes=2, images=3):
        for first, part in ((0, "train"), (classes, "validation"), (2 * classes, "test")):
            pool = data.pool(part)
            numbers = range(first, first + classes)
            self.assertEqual(pool.class_names, tuple(f"n{number:02}" for number in numbers))
            for number in numbers:
                values = 10 * number + np.arange(images)
                pixels = np.stack([values, values // 2, 0 * values], axis=-1)[:, None, None, :]
                expected = np.broadcast_to(pixels, [images, 84, 84, 3])
                np.testing.assert_array_equal(pool.images_of(f"n{number:02}"), expected)


class ReadingTest(SmallTreeTest):
    @parameterized.parameters("", "miniImagenet/")
    def test_a_folder_with_or_without_a_folder_around(self, top):
        self.write_tree(tree(), top)
        self.assert_is_tree(self.load())

    def test_folders_may_be_named_by_a_tilde(self):
        self.write_tree(tree())
        expected = self.load()
        with mock.patch.dict(os.environ, {"HOME": str(self.folder)}), self.assertLogs("absl", "WARNING"):
            data = MiniImagenet("~/data", cache_dir="~/other")
        self.assertEqual(data.splits, expected.splits)
        self.assertLen(list((self.folder / "other").glob("*.npy")), 1)

    @parameterized.product(name=("data.tar", "data.tar.gz", "data.zip"), top=("", "miniImagenet/", "./"))
    def test_an_archive(self, name, top):
        self.assert_is_tree(self.load(self.write_archive(tree(), name, top)))

    @parameterized.parameters("data.tgz", "data.tar.bz2", "data.tar.xz", "DATA.ZIP", "DATA.TGZ")
    def test_an_archive_of_another_suffix(self, name):
        self.assert_is_tree(self.load(self.write_archive(tree(), name)))

    def test_a_folder_with_one_archive_in_it(self):
        self.write_archive(tree())
        self.assert_is_tree(self.load(self.folder))

    def test_an_archive_beside_what_came_out_of_it(self):
        self.write_tree(tree())
        shutil.move(self.write_archive(tree()), self.data_dir)
        self.assert_is_tree(self.load())

    def test_the_order_within_an_archive_changes_nothing(self):
        self.assert_is_tree(self.load(self.write_archive(dict(reversed(tree().items())))))

    def test_the_folder_of_validation_may_have_its_full_name(self):
        self.write_tree({name.replace("val/", "validation/"): content for name, content in tree().items()})
        self.assert_is_tree(self.load())

    def test_passes_over_stray_files(self):
        stray = ("readme.txt", "train.csv", "train/x.png", ".DS_Store", "train/n00/._0.png", "train/n00/notes.txt")
        self.write_tree(tree() | {name: b"stray" for name in (*stray, "train/n00/more/0.png", "extra/n00/9.png")})
        self.assert_is_tree(self.load())

    def test_images_of_another_size_are_resized(self):
        other_sizes = {"train/n00/0.png": png(0, size=(200, 150)), "train/n00/1.png": png(1, size=(84, 100))}
        self.write_tree(tree() | other_sizes)
        self.assert_is_tree(self.load())
        self.assertEqual(self.load(image_size=21).pool("test").images_of("n04").shape, (3, 21, 21, 3))

    def test_more_images_than_are_decoded_at_once(self):
        self.write_tree(tree())
        with mock.patch.object(images, "_FILES_AT_ONCE", 5):
            self.assert_is_tree(self.load())

    def test_episodes_are_float32_in_0_to_1_and_not_turned(self):
        half = np.zeros([84, 84, 3], np.uint8)
        half[:42] = 255
        file = io.BytesIO()
        Image.fromarray(half).save(file, "PNG")
        self.write_tree(dict.fromkeys(tree(), file.getvalue()))
        episode = self.load().pool("train").episode(0, 0, 2, 1, 2)
        self.assertEqual(episode.support_x.dtype, tf.float32)
        expected = np.broadcast_to(half / np.float32(255), [4, 84, 84, 3])
        np.testing.assert_allclose(episode.query_x, expected, rtol=1e-6)


class CompletenessTest(SmallTreeTest):
    def test_a_subset_is_noticed(self):
        self.write_tree(tree() | {"train/n00/3.png": png(3)})
        with self.assertLogs("absl", "WARNING") as logs:
            MiniImagenet(self.data_dir, cache_dir=self.cache_dir)
        self.assertRegex(
            logs.output[0],
            r"train 64 x 600, validation 16 x 600, test 20 x 600. "
            r"Received: train 2 x 3 to 4, validation 2 x 3, test 2 x 3 in .*data",
        )

    def test_the_whole_is_not(self):
        self.write_tree(tree())
        published = {"CLASSES": {"train": 2, "validation": 2, "test": 2}, "IMAGES_PER_CLASS": 3}
        with mock.patch.multiple(mini_imagenet, **published), self.assertNoLogs("absl", "WARNING"):
            self.assert_is_tree(MiniImagenet(self.data_dir, cache_dir=self.cache_dir))

    def test_episodes_of_a_class_that_is_too_short_name_it(self):
        files = tree(images=4)
        del files["test/n05/3.png"]
        self.write_tree(files)
        pool = self.load().pool("test")
        message = r"shots \+ queries = 1 \+ 3 = 4 images in every class. Received: 3 in class 'n05'"
        with self.assertRaisesRegex(ValueError, message):
            pool.episodes(0, 2, 1, 3, meta_batch_size=1)


class CacheTest(SmallTreeTest):
    def test_decodes_once_and_maps_the_array(self):
        self.write_tree(tree())
        self.load()
        (file,) = self.cache_dir.iterdir()
        np.save(file, np.full([18, 84, 84, 3], 77, np.uint8))
        images = self.load().pool("train").images_of("n00")
        self.assertEqual(np.unique(images).tolist(), [77])
        self.assertIsInstance(images, np.memmap)

    def test_changed_data_are_decoded_again(self):
        self.write_tree(tree())
        self.load()
        self.assertEqual(len(png(10)), len(png(100)))
        self.write_tree({"train/n01/0.png": png(100)})
        self.assertEqual(self.load().pool("train").images_of("n01")[0, 0, 0].tolist(), [100, 50, 0])

    @parameterized.parameters("data.zip", "data.tar")
    def test_changed_data_of_an_archive_are_decoded_again(self, name):
        for value in (10, 100):
            path = self.write_archive(tree() | {"train/n01/0.png": png(value)}, name, time_of_change=value)
            self.assertEqual(self.load(path).pool("train").images_of("n01")[0, 0, 0].tolist(), [value, value // 2, 0])

    def test_goes_on_with_a_cache_that_cannot_be_written(self):
        self.write_tree(tree())
        self.cache_dir.touch()
        with self.assertLogs("absl", "WARNING") as logs:
            data = MiniImagenet(self.data_dir, cache_dir=self.cache_dir)
        self.assertRegex(logs.output[-1], "cannot be stored in .*cache .*decoding at every start")
        self.assert_is_tree(data)


class BadInputTest(SmallTreeTest):
    def test_nothing_there(self):
        with self.assertRaisesRegex(FileNotFoundError, "Expected mini-ImageNet as a folder.*which does not exist"):
            MiniImagenet(self.data_dir)

    def test_a_file_that_is_no_archive(self):
        self.data_dir.write_text("hello")
        with self.assertRaisesRegex(ValueError, r"an archive \(.tar, .*Received: .*data"):
            MiniImagenet(self.data_dir)

    def test_a_part_is_missing(self):
        self.write_tree({name: content for name, content in tree().items() if not name.startswith("val/")})
        with self.assertRaisesRegex(FileNotFoundError, "train,val,test.*Received: none of validation in .*data"):
            MiniImagenet(self.data_dir)

    @parameterized.parameters("data.tar", "data.tar.gz", "data.tar.xz", "data.zip")
    def test_a_truncated_archive(self, name):
        path = self.write_archive(tree(), name)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        with self.assertRaisesRegex(ValueError, f"Expected a whole .* archive. Received: .*{name}, .*Remove"):
            MiniImagenet(path)

    @parameterized.parameters("data.tar.gz", "data.tar.xz")
    def test_an_archive_with_changed_bytes(self, name):
        path = self.write_archive(tree(), name)
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 20] = bytes(255 - byte for byte in content[middle : middle + 20])
        path.write_bytes(content)
        with self.assertRaisesRegex(ValueError, f"Expected a whole .* archive. Received: .*{name}, .*Remove"):
            MiniImagenet(path)

    def test_a_tar_cut_between_two_members_is_not_taken_for_a_small_one(self):
        path = self.write_archive(tree())
        with tarfile.open(path) as archive:
            start_of_last = archive.getmembers()[-1].offset
        path.write_bytes(path.read_bytes()[:start_of_last])
        with self.assertRaisesRegex(ValueError, "Received: .*data.tar, which cannot be read"):
            MiniImagenet(path)

    @parameterized.parameters(b"", b"no image", png(3)[:60])
    def test_a_broken_image(self, content):
        files = tree() | {"val/n02/1.png": content}
        self.write_tree(files)
        for data_dir in (self.data_dir, self.write_archive(files)):
            with self.assertRaisesRegex(ValueError, "Expected an image.*Received: val/n02/1.png, which cannot be dec"):
                self.load(data_dir)
            self.assertEmpty(list(self.cache_dir.iterdir()))

    def test_a_class_in_two_parts(self):
        self.write_tree(tree() | {"test/n01/7.png": png(7)})
        with self.assertRaisesRegex(ValueError, "one part of the split. Received: 'n01' in train and in test of"):
            MiniImagenet(self.data_dir)

    def test_two_trees(self):
        self.write_tree(tree(), "one/")
        self.write_tree(tree(), "two/")
        with self.assertRaisesRegex(ValueError, "one tree of images. Received: .*n00/0.png and .*n00/0.png in"):
            MiniImagenet(self.data_dir)

    @parameterized.parameters(0, 28.0, "28")
    def test_an_image_size_that_is_none(self, image_size):
        with self.assertRaisesRegex(ValueError, f"Received: image_size={image_size!r}"):
            MiniImagenet(self.data_dir, image_size=image_size)


class DrawnTest(SmallTreeTest):
    def test_an_image_is_nearest_to_its_own_class(self):
        data = self.load(DRAWN)
        self.assertEqual(
            {part: len(names) for part, names in data.splits.items()}, {"train": 6, "validation": 5, "test": 5}
        )
        pool = data.pool("train", "validation", "test")
        right = []
        for index in range(20):
            episode = pool.episode(0, index, 5, 1, 3)
            distance = np.linalg.norm(
                (episode.query_x[:, None] - episode.support_x[None]).numpy().reshape(15, 5, -1), axis=2
            )
            nearest = np.asarray(episode.support_y)[np.argmin(distance, axis=1)]
            right.append(np.mean(nearest == episode.query_y))
        self.assertBetween(np.mean(right), 0.6, 1.0)


class RealMiniImagenetTest(SmallTreeTest):
    def setUp(self):
        super().setUp()
        if "MAML_TF_DATA" not in os.environ:
            self.skipTest("needs the images: set MAML_TF_DATA to a folder with miniImagenet/ in it")

    def test_has_the_classes_of_the_split(self):
        folder = pathlib.Path(os.environ["MAML_TF_DATA"]) / "miniImagenet"
        data = self.load(min(folder.glob("*.tar"), default=folder))
        self.assertEqual([len(names) for names in data.splits.values()], [64, 16, 20])
        self.assertIn("n01532829", data.splits["train"])
        episode = data.pool("test").episode(0, 0, 5, 1, 15)
        self.assertEqual(episode.query_x.shape, (75, 84, 84, 3))
        self.assertBetween(np.mean(episode.query_x), 0.3, 0.6)


if __name__ == "__main__":
    absltest.main()
