"""Tests of Omniglot on small archives made on the spot, and on the real ones where they are."""

import collections
import concurrent.futures
import hashlib
import io
import os
import pathlib
import random
import shutil
import zipfile
from unittest import mock

import hypothesis
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import strategies as st
from PIL import Image

from maml_tf.tasks import Omniglot
from maml_tf.tasks.omniglot import Archive, official_split, random_order

BACKGROUND, EVALUATION = "images_background", "images_evaluation"
ALPHABET = pathlib.Path(__file__).parents[2] / "testdata" / "alphabet"


def png(value=0, size=105):
    """Returns a 1-bit PNG of white paper with one square of ink, whose place tells the value."""
    pixels = np.full([size, size], 255, np.uint8)
    pixels[10 : 40 + value, 10:40] = 0
    file = io.BytesIO()
    Image.fromarray(pixels).convert("1").save(file, "PNG")
    return file.getvalue()


def members(half, alphabets, characters=2, drawings=3):
    """Returns {name: PNG} of a half; every drawing differs."""
    return {
        f"{half}/{alphabet}/character{c:02}/{c:04}_{d:02}.png": png(10 * c + d)
        for alphabet in alphabets
        for c in range(1, characters + 1)
        for d in range(1, drawings + 1)
    }


def standard():
    return {BACKGROUND: members(BACKGROUND, "ABC"), EVALUATION: members(EVALUATION, "DE")}


class SmallArchiveTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.data_dir = pathlib.Path(self.create_tempdir("data").full_path)
        self.cache_dir = pathlib.Path(self.create_tempdir("cache").full_path)

    def write_zips(self, halves=None, seed=None):
        for half, files in (standard() if halves is None else halves).items():
            files = list(files.items())
            if seed is not None:
                random.Random(seed).shuffle(files)
            with zipfile.ZipFile(self.data_dir / f"{half}.zip", "w") as archive:
                for name, data in files:
                    archive.writestr(name, data)

    def write_tree(self, halves=None):
        for files in (standard() if halves is None else halves).values():
            for name, data in files.items():
                path = self.data_dir / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)

    def load(self, **options):
        options = {"split": "alphabets", "expected_drawings": 3, "cache_dir": self.cache_dir} | options
        return Omniglot(self.data_dir, **options)

    def assert_equal_pools(self, actual, expected):
        self.assertEqual(actual.class_names, expected.class_names)
        for name in actual.class_names:
            np.testing.assert_array_equal(actual.images_of(name), expected.images_of(name))


class ReadingTest(SmallArchiveTest):
    def test_folders_may_be_named_by_a_tilde(self):
        self.write_zips()
        with mock.patch.dict(os.environ, {"HOME": str(self.data_dir)}):
            omniglot = Omniglot("~", split="alphabets", expected_drawings=3, cache_dir="~/cache")
        self.assert_equal_pools(omniglot.pool("train"), self.load().pool("train"))
        self.assertLen(list((self.data_dir / "cache").glob("*.npy")), 1)

    def test_ink_is_255_and_drawings_come_in_the_order_of_their_names(self):
        self.write_zips()
        images = self.load(image_size=105).pool("test").images_of("D/character02")
        self.assertEqual(images.shape, (3, 105, 105, 1))
        self.assertEqual(images.dtype, np.uint8)
        for number, image in enumerate(images, start=1):
            expected = np.zeros([105, 105, 1], np.uint8)
            expected[10 : 60 + number, 10:40] = 255
            np.testing.assert_array_equal(image, expected)

    def test_resizes_with_a_lanczos_filter(self):
        self.write_zips()
        image = self.load().pool("test").images_of("D/character01")[0]
        paper = np.full([105, 105], 255, np.uint8)
        paper[10:51, 10:40] = 0
        expected = 255 - np.asarray(Image.fromarray(paper).resize((28, 28), Image.Resampling.LANCZOS))
        np.testing.assert_array_equal(image[:, :, 0], expected)

    def test_episodes_have_ink_1_and_paper_0(self):
        self.write_zips()
        episode = self.load().pool("test").episode(0, 0, 4, 1, 2)
        self.assertEqual(episode.support_x.shape, (4, 28, 28, 1))
        self.assertEqual(np.min(episode.support_x), 0.0)
        self.assertEqual(np.max(episode.support_x), 1.0)
        self.assertLess(np.mean(episode.support_x), 0.5)

    def test_pools_turn_their_classes_unless_told_not_to(self):
        self.write_zips()
        omniglot = self.load()
        for part in ("train", "validation", "test"):
            pool = omniglot.pool(part)
            stored = {image.tobytes() for name in pool.class_names for image in pool.images_of(name)}
            as_they_are = {"transform": lambda images: images}
            for rotations in (True, False):
                pool = omniglot.pool(part, rotations=rotations, **as_they_are)
                drawn = [x.numpy() for i in range(8) for x in pool.episode(0, i, 2, 1, 1).support_x]
                self.assertEqual(all(x.tobytes() in stored for x in drawn), not rotations)

    def test_an_unpacked_tree_reads_as_the_zips_do(self):
        self.write_zips()
        of_zips = self.load().pool("train", "validation", "test")
        for half in (BACKGROUND, EVALUATION):
            with zipfile.ZipFile(self.data_dir / f"{half}.zip") as archive:
                archive.extractall(self.data_dir)
            (self.data_dir / f"{half}.zip").unlink()
        self.assert_equal_pools(self.load().pool("train", "validation", "test"), of_zips)

    def test_one_half_may_be_zipped_and_the_other_unpacked(self):
        halves = standard()
        self.write_zips({BACKGROUND: halves[BACKGROUND]})
        self.write_tree({EVALUATION: halves[EVALUATION]})
        self.assertLen(self.load().characters, 10)

    def test_a_zip_is_taken_before_the_folder_of_an_unpacking_that_was_stopped(self):
        self.write_zips()
        self.write_tree({BACKGROUND: members(BACKGROUND, "A", characters=1)})
        self.assertLen(self.load().characters, 10)

    def test_passes_over_stray_files(self):
        self.write_zips()
        clean = self.load().pool("train", "validation", "test")
        halves = standard()
        for half, name in ((BACKGROUND, "A"), (EVALUATION, "D")):
            halves[half] |= {
                f"{half}/.DS_Store": b"stray",
                f"{half}/{name}/.DS_Store": b"stray",
                f"{half}/{name}/character01/._0001_01.png": b"stray",
                f"{half}/{name}/character01/notes.txt": b"stray",
                f"__MACOSX/{half}/{name}/character01/0001_01.png": b"stray",
            }
        self.write_zips(halves)
        self.assert_equal_pools(self.load().pool("train", "validation", "test"), clean)

    @hypothesis.settings(max_examples=5, deadline=None, derandomize=True)
    @hypothesis.given(seed=st.integers(0, 1000))
    def test_the_order_on_the_disk_changes_nothing(self, seed):
        self.write_zips()
        expected = self.load(cache_dir=self.cache_dir / "sorted")
        self.write_zips(seed=seed)
        actual = self.load(cache_dir=self.cache_dir / f"shuffled{seed}")
        self.assertEqual(actual.splits, expected.splits)
        for part in expected.splits:
            self.assert_equal_pools(actual.pool(part), expected.pool(part))


class SplitTest(SmallArchiveTest):
    def test_by_alphabets_keeps_a_background_alphabet_for_validation(self):
        self.write_zips()
        splits = self.load().splits
        alphabets = {part: {name[0] for name in names} for part, names in splits.items()}
        self.assertEqual(alphabets["test"], {"D", "E"})
        self.assertEqual(alphabets["train"] | alphabets["validation"], {"A", "B", "C"})
        self.assertLen(alphabets["validation"], 1)
        self.assertEqual([len(splits[part]) for part in ("train", "validation", "test")], [4, 2, 4])

    def test_parts_can_be_joined(self):
        self.write_zips()
        omniglot = self.load()
        background = tuple(name for name in omniglot.characters if name[0] in "ABC")
        self.assertEqual(omniglot.pool("validation", "train").class_names, background)

    def test_by_a_mapping_of_ones_own(self):
        self.write_zips()
        omniglot = self.load(split={"mine": ["E/character02", "A/character01"], "rest": ["B/character01"]})
        self.assertEqual(omniglot.pool("mine").class_names, ("A/character01", "E/character02"))
        with self.assertRaisesRegex(ValueError, r"one or more of \('mine', 'rest'\). Received: \('train',\)"):
            omniglot.pool("train")
        with self.assertRaisesRegex(ValueError, r"one or more of \('mine', 'rest'\). Received: \(\)"):
            omniglot.pool()

    @parameterized.parameters(
        ({"a": ["A/character01", "A/character09"]}, "1 that are missing or named twice, .*'A/character09'"),
        ({"a": ["A/character01"], "b": ["A/character01"]}, "named twice, the first 'A/character01'"),
        ("alphabet", "Expected split to be 'characters', 'alphabets' or a mapping.*split='alphabet'"),
        ({}, "Expected split to be 'characters', 'alphabets' or a mapping.*split={}"),
        ("characters", "the characters of Omniglot for split='characters'.*'A/character01'.*'alphabets'"),
    )
    def test_splits_that_do_not_fit(self, split, message):
        self.write_zips()
        with self.assertRaisesRegex(ValueError, message):
            self.load(split=split)

    def test_by_alphabets_needs_two_in_the_background(self):
        self.write_zips(standard() | {BACKGROUND: members(BACKGROUND, "A")})
        with self.assertRaisesRegex(ValueError, r"two alphabets in images_background.*Received: \['A'\]"):
            self.load()

    def test_the_shipped_lists_divide_the_characters_in_a_random_order_of_their_names(self):
        parts = official_split()
        self.assertEqual([len(names) for names in parts.values()], [1100, 100, 423])
        names = sorted(name for part in parts.values() for name in part)
        self.assertLen(set(names), 1623)
        self.assertLen({name.partition("/")[0] for name in names}, 50)
        order = random_order(names)
        self.assertEqual(parts["train"], tuple(sorted(order[:1100])))
        self.assertEqual(parts["validation"], tuple(sorted(order[1100:1200])))
        self.assertEqual(parts["test"], tuple(sorted(order[1200:])))

    def test_a_part_of_omniglot_is_split_like_the_whole(self):
        parts = official_split()
        chosen = [names[0] for names in parts.values()]
        halves = collections.defaultdict(dict)
        for half, name in zip((BACKGROUND, EVALUATION, EVALUATION), chosen, strict=True):
            for drawing in range(3):
                halves[half][f"{half}/{name}/0001_{drawing:02}.png"] = png(drawing)
        self.write_zips(halves)
        message = "the 1623 characters of Omniglot.*Received: 3; 1620 are missing.*pass expected_characters"
        with self.assertRaisesRegex(ValueError, message):
            self.load(split="characters")
        omniglot = self.load(split="characters", expected_characters=3)
        self.assertEqual([omniglot.splits[part][0] for part in parts], chosen)


class CacheTest(SmallArchiveTest):
    def cache_files(self):
        return sorted(path.name for path in self.cache_dir.iterdir())

    def assert_reads_cache(self, expected):
        """Whether an array put in the place of the cached one is what comes back."""
        (name,) = self.cache_files()
        cached = np.load(self.cache_dir / name)
        np.save(self.cache_dir / name, np.full_like(cached, 7))
        first = self.load().pool("test").images_of("D/character01")
        self.assertEqual(bool(np.all(first == 7)), expected)
        np.save(self.cache_dir / name, cached)

    def test_decodes_once(self):
        self.write_zips()
        cold = self.load().pool("train")
        self.assertLen(self.cache_files(), 1)
        self.assert_equal_pools(self.load().pool("train"), cold)
        self.assert_reads_cache(True)

    def test_an_image_size_has_its_own_array(self):
        self.write_zips()
        self.load()
        self.assertEqual(self.load(image_size=14).pool("test").images_of("D/character01").shape[1], 14)
        self.assertLen(self.cache_files(), 2)

    def test_changed_data_is_decoded_again(self):
        for write in (self.write_zips, self.write_tree):
            halves = standard()
            write(halves)
            before = self.load().pool("test").images_of("D/character01")
            halves[EVALUATION][f"{EVALUATION}/D/character01/0001_01.png"] = png(60)
            write(halves)
            after = self.load().pool("test").images_of("D/character01")
            self.assertFalse(np.array_equal(before[0], after[0]))
            np.testing.assert_array_equal(before[1:], after[1:])
            for half in (BACKGROUND, EVALUATION):
                (self.data_dir / f"{half}.zip").unlink(missing_ok=True)

    def test_moved_data_is_not(self):
        self.write_zips()
        self.load()
        self.data_dir = self.data_dir.rename(self.data_dir.parent / "moved")
        self.assert_reads_cache(True)

    def test_goes_on_without_a_cache_that_cannot_be_written(self):
        self.write_zips()
        (self.cache_dir / "file").touch()
        with self.assertLogs("absl", "WARNING") as logs:
            omniglot = self.load(cache_dir=self.cache_dir / "file" / "cache")
        self.assertRegex(logs.output[-1], "cannot be stored in .*file/cache .*decoding at every start")
        self.assert_equal_pools(omniglot.pool("test"), self.load().pool("test"))

    def test_a_cache_that_fails_half_way_leaves_nothing_behind(self):
        def save_half(path, array):
            path.write_bytes(b"half")
            raise OSError("disk full")

        self.write_zips()
        with mock.patch.object(np, "save", side_effect=save_half):
            with self.assertLogs("absl", "WARNING") as logs:
                self.load()
        self.assertRegex(logs.output[-1], "disk full")
        self.assertEmpty(self.cache_files())

    @parameterized.parameters((b"",), (b"no array",), (np.zeros([2, 2]),))
    def test_a_spoilt_cache_is_replaced(self, content):
        self.write_zips()
        expected = self.load().pool("test")
        (name,) = self.cache_files()
        if isinstance(content, bytes):
            (self.cache_dir / name).write_bytes(content)
        else:
            np.save(self.cache_dir / name, content)
        with self.assertLogs("absl", "WARNING") as logs:
            self.assert_equal_pools(self.load().pool("test"), expected)
        self.assertRegex(logs.output[0], f"{name}.*decoding again")
        with self.assertNoLogs("absl", "WARNING"):
            self.load()
        self.assertEqual(self.cache_files(), [name])


class DownloadTest(SmallArchiveTest):
    def archives(self, md5=None):
        self.write_zips()
        return [
            Archive(path.name, path.as_uri(), md5 or hashlib.md5(path.read_bytes()).hexdigest())
            for path in sorted(self.data_dir.iterdir())
        ]

    def test_without_a_folder_downloads_into_the_cache(self):
        options = {"split": "alphabets", "expected_drawings": 3, "cache_dir": self.cache_dir}
        archives = self.archives()
        downloaded = Omniglot(archives=archives, **options)
        self.assertTrue((self.cache_dir / "images_background.zip").exists())
        self.assert_equal_pools(downloaded.pool("train"), self.load().pool("train"))
        gone = [archive._replace(url="file:///no/such/file.zip") for archive in archives]
        self.assertLen(Omniglot(archives=gone, **options).characters, 10)

    @parameterized.parameters(("md5", "0" * 32), ("url", "file:///no/such/file.zip"))
    def test_a_download_that_fails_names_the_archive_and_the_way_out(self, field, value):
        archives = [archive._replace(**{field: value}) for archive in self.archives()]
        message = f"{archives[0].url} with MD5 {archives[0].md5}.*Received: .*pass its folder"
        with self.assertRaisesRegex(OSError, message):
            Omniglot(archives=archives, cache_dir=self.cache_dir)
        self.assertEmpty(list(self.cache_dir.iterdir()))

    def test_a_file_that_is_not_the_one_is_downloaded_again(self):
        archives = self.archives()
        (self.cache_dir / archives[0].file_name).write_bytes(b"half of it, from a program that was killed")
        with self.assertLogs("absl", "WARNING") as logs:
            Omniglot(archives=archives, split="alphabets", expected_drawings=3, cache_dir=self.cache_dir)
        self.assertIn("images_background.zip has the wrong checksum", logs.output[0])

    def test_two_at_once_do_not_disturb_each_other(self):
        archives = self.archives()
        options = {"split": "alphabets", "expected_drawings": 3, "cache_dir": self.cache_dir}
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            loaded = list(pool.map(lambda _: Omniglot(archives=archives, **options), range(4)))
        for omniglot in loaded:
            self.assert_equal_pools(omniglot.pool("test"), self.load().pool("test"))
        names = [path.name for path in self.cache_dir.iterdir()]
        self.assertCountEqual([name for name in names if not name.endswith(".npy")], [a.file_name for a in archives])


class BadInputTest(SmallArchiveTest):
    def test_no_folder(self):
        self.data_dir = self.data_dir / "nowhere"
        message = r"images_background.zip \(or the folder images_background\) and .*nowhere"
        with self.assertRaisesRegex(FileNotFoundError, message):
            self.load()

    @parameterized.parameters(BACKGROUND, EVALUATION)
    def test_one_half_alone_is_told_from_the_other(self, missing):
        halves = standard()
        del halves[missing]
        self.write_zips(halves)
        message = f"Received: no {missing}.zip and no folder {missing}, but .*{next(iter(halves))}.zip"
        with self.assertRaisesRegex(FileNotFoundError, message):
            self.load()

    def test_a_truncated_zip(self):
        self.write_zips()
        path = self.data_dir / f"{EVALUATION}.zip"
        path.write_bytes(path.read_bytes()[:-100])
        with self.assertRaisesRegex(ValueError, "whole zip archive. Received: .*images_evaluation.zip, .*Remove"):
            self.load()

    @parameterized.parameters({"readme.txt": b"hello"}, members(EVALUATION, "AB"))
    def test_a_zip_without_drawings_of_its_half(self, **files):
        self.write_zips(standard() | {BACKGROUND: files})
        with self.assertRaisesRegex(ValueError, "Expected drawings images_background/<Alphabet>.*none in .*zip"):
            self.load()

    @parameterized.parameters(b"no image", png(1)[:60], b"")
    def test_a_broken_drawing(self, data):
        name = f"{EVALUATION}/D/character01/0001_02.png"
        halves = standard()
        halves[EVALUATION][name] = data
        self.write_zips(halves)
        with self.assertRaisesRegex(ValueError, f"Expected an image file. Received: {name}, which cannot be decoded"):
            self.load()

    def test_a_drawing_whose_bytes_changed_inside_the_zip(self):
        self.write_zips()
        path = self.data_dir / f"{BACKGROUND}.zip"
        data = bytearray(path.read_bytes())
        position = data.index(b"IDAT") + 8
        data[position : position + 4] = b"\0\0\0\0"
        path.write_bytes(bytes(data))
        with self.assertRaisesRegex(ValueError, "Received: images_background/A/.*_01.png in .*zip, which cannot"):
            self.load()

    def test_a_drawing_of_another_size(self):
        name = f"{EVALUATION}/D/character01/0001_02.png"
        halves = standard()
        halves[EVALUATION][name] = png(size=104)
        self.write_tree(halves)
        with self.assertRaisesRegex(ValueError, "105 x 105 pixels. Received: 104 x 104 in D/character01/0001_02.png"):
            self.load()

    def test_too_few_drawings(self):
        halves = standard()
        del halves[EVALUATION][f"{EVALUATION}/D/character01/0001_02.png"]
        self.write_zips(halves)
        with self.assertRaisesRegex(ValueError, "Expected 3 drawings.*Received: 2 of 'D/character01'; 1 char"):
            self.load()
        self.assertLen(self.load(expected_drawings=None).characters, 10)

    def test_another_number_of_characters(self):
        self.write_zips()
        with self.assertRaisesRegex(ValueError, "Expected 11 characters in .*. Received: 10"):
            self.load(expected_characters=11)
        self.assertLen(self.load(expected_characters=10).characters, 10)

    def test_a_character_in_both_halves(self):
        self.write_zips(standard() | {EVALUATION: members(EVALUATION, "AD")})
        with self.assertRaisesRegex(ValueError, "every character in one of .*Received: 'A/character01' in both"):
            self.load()

    def test_a_drawing_twice_in_a_zip(self):
        self.write_zips()
        name = f"{EVALUATION}/D/character01/0001_02.png"
        with zipfile.ZipFile(self.data_dir / f"{EVALUATION}.zip", "a") as archive:
            with self.assertWarnsRegex(UserWarning, "Duplicate name"):
                archive.writestr(name, png())
        with self.assertRaisesRegex(ValueError, f"every file once. Received: {name} twice in .*zip"):
            self.load()

    @parameterized.parameters(0, 28.0, "28", True)
    def test_an_image_size_that_is_none(self, image_size):
        with self.assertRaisesRegex(ValueError, f"Received: image_size={image_size!r}"):
            self.load(image_size=image_size)


class ShippedAlphabetTest(SmallArchiveTest):
    def test_episodes_and_cached_files_stay_what_they_were_in_version_0_1_0(self):
        omniglot = Omniglot(ALPHABET, split="alphabets", cache_dir=self.cache_dir)
        self.assertEqual([path.name for path in self.cache_dir.iterdir()], ["a3e76731f53d681a-28.npy"])
        episode = omniglot.pool("train").episode(7, 11, 5, 1, 2)
        (inputs, query_y), *_ = omniglot.pool("test").episodes(3, 3, 2, 3, meta_batch_size=4, first=2).take(1)
        for arrays, digest in ((episode, "be01f5d8c9af82cd"), ((*inputs, query_y), "b79d22d00606bb38")):
            content = b"".join(np.asarray(array).tobytes() for array in arrays)
            self.assertEqual(hashlib.sha256(content).hexdigest()[:16], digest)

    def test_a_drawing_is_nearest_to_its_own_character(self):
        omniglot = Omniglot(ALPHABET, split="alphabets", cache_dir=self.cache_dir)
        self.assertEqual([len(omniglot.splits[part]) for part in omniglot.splits], [10, 5, 5])
        pool = omniglot.pool("train", "validation", "test", rotations=False)
        right = []
        for index in range(40):
            episode = pool.episode(0, index, 5, 1, 4)
            distance = np.linalg.norm(episode.query_x[:, None] - episode.support_x[None], axis=(2, 3))[..., 0]
            nearest = np.asarray(episode.support_y)[np.argmin(distance, axis=1)]
            right.append(np.mean(nearest == episode.query_y))
        self.assertBetween(np.mean(right), 0.6, 0.95)


class RealOmniglotTest(SmallArchiveTest):
    def setUp(self):
        super().setUp()
        if "MAML_TF_DATA" not in os.environ:
            self.skipTest("needs the archives: set MAML_TF_DATA to a folder with omniglot/ in it")
        self.data_dir = pathlib.Path(os.environ["MAML_TF_DATA"]) / "omniglot"

    def test_is_complete_and_split_as_said(self):
        by_characters = self.load(split="characters", expected_drawings=20)
        self.assertEqual([len(by_characters.splits[p]) for p in by_characters.splits], [1100, 100, 423])
        self.assertEqual(by_characters.pool("train").images_of("Greek/character01").shape, (20, 28, 28, 1))
        by_alphabets = self.load(expected_drawings=20)
        self.assertLen(by_alphabets.splits["test"], 659)
        self.assertLen(by_alphabets.splits["train"] + by_alphabets.splits["validation"], 964)
        validation = {name.partition("/")[0] for name in by_alphabets.splits["validation"]}
        self.assertLen(validation, 5)

    def test_an_archive_cut_short_is_not_taken_for_a_small_one(self):
        folder = pathlib.Path(self.create_tempdir("cut").full_path)
        shutil.copy(self.data_dir / f"{EVALUATION}.zip", folder)
        with (
            zipfile.ZipFile(self.data_dir / f"{BACKGROUND}.zip") as whole,
            zipfile.ZipFile(folder / f"{BACKGROUND}.zip", "w") as cut,
        ):
            for name in whole.namelist()[:500]:
                cut.writestr(name, whole.read(name))
        with self.assertRaisesRegex(ValueError, "Expected the 1623 characters of Omniglot in .*cut"):
            Omniglot(folder, split="alphabets", cache_dir=self.cache_dir)


if __name__ == "__main__":
    absltest.main()
