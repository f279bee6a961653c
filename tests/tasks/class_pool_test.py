"""Tests of ClassPool: how it is made, the laws of its episodes, and its errors."""

import collections
import functools
import io
import itertools
import os
import pathlib
import re
import shutil
import sys
import types
import warnings
import zipfile
from unittest import mock

import hypothesis
import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized
from hypothesis import strategies as st
from PIL import Image

from maml_tf.tasks import ClassPool, Episode, class_pool
from maml_tf.tasks.image_store import ImageStore

# (class, image within the class) of the support set of one task, and its labels.
SUPPORT_OF_TASK_8 = [[4.0, 1.0], [0.0, 4.0], [3.0, 4.0]]
LABELS_OF_TASK_8 = [1, 2, 0]
_settings = hypothesis.settings(max_examples=15, deadline=None, derandomize=True)


class Features:
    """As in tensorflow_datasets: features have a dictionary's methods and are none."""

    def __init__(self, **features):
        self.keys, self._features = features.keys, features

    def __getitem__(self, key):
        return self._features[key]


class StandInDatasets:
    """What `ClassPool.from_tfds` uses of tensorflow_datasets, with two birds in it."""

    def __init__(self):
        self.asked = []

    def builder(self, name, data_dir):
        self.asked.append((name, data_dir))
        features = Features(image=None, label=types.SimpleNamespace(names=["wren", "auk"]), number=None)
        info = types.SimpleNamespace(features=features, splits={"train": 1, "test": 1})
        return types.SimpleNamespace(info=info, download_and_prepare=lambda: None, as_dataset=self.as_dataset)

    def as_dataset(self, split, shuffle_files):
        self.asked.append(split)
        images, labels = np.zeros([2, 6, 5, 3], np.uint8), [0, 1]
        parts = [{"image": images, "label": labels, "number": [5, 6]} for _ in split.split("+")]
        first, *others = (tf.data.Dataset.from_tensor_slices(part) for part in parts)
        return functools.reduce(lambda one, other: one.concatenate(other), others, first)


def identifying_pool(sizes, **options):
    """Returns a pool whose images [image, 2] hold (class, image within the class)."""
    images = [(c, i) for c, size in enumerate(sizes) for i in range(size)]
    return ClassPool(np.array(images, np.float32), [c for c, _ in images], **options)


def rows(images):
    return {tuple(row) for row in np.asarray(images).tolist()}


def episode_of(data):
    (support_x, support_y, query_x), query_y = data
    return Episode(support_x, support_y, query_x, query_y)


def assert_equal_episodes(actual, expected):
    for name, a, b in zip(Episode._fields, actual, expected, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)


class MakingTest(parameterized.TestCase):
    def test_sorts_images_into_classes_whatever_their_order(self):
        pool = ClassPool(np.array([[3.0], [1.0], [4.0], [2.0]]), ["b", "a", "b", "a"])
        self.assertEqual(pool.class_names, ("a", "b"))
        np.testing.assert_array_equal(pool.images_of("a"), [[1.0], [2.0]])
        np.testing.assert_array_equal(pool.images_of("b"), [[3.0], [4.0]])

    def test_images_of_a_class_keep_their_order(self):
        labels = np.random.default_rng(0).integers(0, 2, 1000)
        pool = ClassPool(np.arange(1000)[:, np.newaxis], labels)
        for label in (0, 1):
            np.testing.assert_array_equal(pool.images_of(str(label))[:, 0], np.flatnonzero(labels == label))

    def test_takes_labels_as_keras_datasets_give_them(self):
        pool = ClassPool(np.zeros([4, 2]), np.array([[7], [3], [7], [7]]))
        self.assertEqual(pool.class_names, ("3", "7"))
        self.assertEqual(pool.class_sizes.tolist(), [1, 3])

    def test_takes_labels_as_tensorflow_gives_strings(self):
        for labels in ([b"bee", b"ant"], tf.constant(["bee", "ant"]).numpy()):
            self.assertEqual(ClassPool(np.zeros([2, 2]), labels).class_names, ("ant", "bee"))

    @parameterized.parameters(np.uint8, np.float16, np.float64)
    def test_keeps_the_dtype_in_memory_and_draws_float32(self, dtype):
        pool = ClassPool(np.ones([4, 2], dtype), [0, 0, 1, 1])
        self.assertEqual(pool.images_of("0").dtype, dtype)
        self.assertEqual(pool.episode(0, 0, 2, 1, 1).support_x.dtype, tf.float32)

    def test_scales_bytes_alone(self):
        in_bytes = ClassPool(np.full([4, 2], 51, np.uint8), [0, 0, 1, 1]).episode(0, 0, 2, 1, 1)
        in_floats = ClassPool(np.full([4, 2], 51.0), [0, 0, 1, 1]).episode(0, 0, 2, 1, 1)
        np.testing.assert_allclose(in_bytes.query_x, np.full([2, 2], 0.2), rtol=1e-6)
        np.testing.assert_array_equal(in_floats.query_x, np.full([2, 2], 51.0))

    def test_transform_sees_the_stored_images_and_may_change_their_shape(self):
        def to_three_channels(images):
            self.assertEqual(images.dtype, tf.uint8)
            return tf.repeat(tf.cast(images, tf.float32) - 128.0, 3, axis=-1)

        pool = ClassPool(np.full([4, 5, 5, 1], 130, np.uint8), [0, 0, 1, 1], transform=to_three_channels)
        np.testing.assert_array_equal(pool.episode(0, 0, 2, 1, 1).support_x, np.full([2, 5, 5, 3], 2.0))

    def test_transform_may_branch_on_tensors_in_a_stream(self):
        def inverted_if_dark(images):
            if tf.reduce_mean(images) < 0.5:
                images = 1.0 - images
            return images

        pool = ClassPool(np.full([4, 2], 0.25, np.float32), [0, 0, 1, 1], transform=inverted_if_dark)
        with warnings.catch_warnings():
            # On Python 3.13 the package with which AutoGraph reads functions makes syntax trees the old way.
            warnings.filterwarnings("ignore", ".*arbitrary keyword arguments", DeprecationWarning)
            episodes = pool.episodes(0, 2, 1, 1, meta_batch_size=1)
        ((support_x, *_), _) = next(iter(episodes))
        np.testing.assert_array_equal(support_x, np.full([1, 2, 2], 0.75))

    def test_of_a_mapping_equals_of_arrays(self):
        pool = ClassPool.from_classes({"b": np.array([[3.0]]), "a": np.array([[1.0], [2.0]])})
        self.assertEqual(pool.class_names, ("a", "b"))
        np.testing.assert_array_equal(pool.images_of("a"), [[1.0], [2.0]])

    @parameterized.parameters(
        (["y", "x", "y"], ("x", "y")), ([5, 2, 5], ("2", "5")), ([[5], [2], [5]], ("2", "5"))
    )  # fmt: skip
    def test_of_a_dataset(self, labels, names):
        dataset = tf.data.Dataset.from_tensor_slices((np.array([[1.0], [2.0], [3.0]]), labels))
        pool = ClassPool.from_dataset(dataset)
        self.assertEqual(pool.class_names, names)
        np.testing.assert_array_equal(pool.images_of(names[1]), [[1.0], [3.0]])

    def test_of_a_dataset_of_dictionaries_with_images_of_several_sizes(self):
        sizes = [(4, 6, 3), (9, 5, 3), (2, 2, 3)]
        dataset = tf.data.Dataset.from_generator(
            lambda: ({"pixels": np.full(size, 7 * i, np.uint8), "kind": f"{i % 2}", "id": i}
                     for i, size in enumerate(sizes)),
            output_signature={"pixels": tf.TensorSpec([None, None, 3], tf.uint8), "kind": tf.TensorSpec([], tf.string),
                              "id": tf.TensorSpec([], tf.int64)},
        )  # fmt: skip
        pool = ClassPool.from_dataset(dataset, (3, 2), keys=("pixels", "kind"), rotations=False)
        self.assertEqual(pool.class_names, ("0", "1"))
        expected = np.broadcast_to(np.array([0, 14], np.uint8)[:, None, None, None], [2, 3, 2, 3])
        np.testing.assert_array_equal(pool.images_of("0"), expected)
        grey = dataset.map(lambda element: (tf.cast(element["pixels"][..., 0], tf.float32), 0))
        with self.assertRaisesRegex(ValueError, r"uint8 \[height, width\].*Received: float32 \[4, 6\]"):
            ClassPool.from_dataset(grey, 3)
        with self.assertRaisesRegex(ValueError, "Received: keys='ab'"):
            ClassPool.from_dataset(dataset, keys="ab")

    def test_of_tensorflow_datasets(self):
        found = StandInDatasets()
        with mock.patch.dict(sys.modules, {"tensorflow_datasets": found}):
            pool = ClassPool.from_tfds("birds", image_size=4, data_dir=pathlib.Path("/data"))
            part = ClassPool.from_tfds("birds", "test", keys=("image", "number"))
            with self.assertRaisesRegex(ValueError, r"among \['image', 'label', 'number'\]. Received: .*'name'"):
                ClassPool.from_tfds("birds", keys=("image", "name"))
        self.assertEqual(pool.class_names, ("auk", "wren"))
        self.assertEqual(pool.images_of("auk").shape, (2, 4, 4, 3))
        self.assertEqual(part.class_names, ("5", "6"))
        self.assertEqual(found.asked, [("birds", "/data"), "train+test", ("birds", None), "test", ("birds", None)])

    def test_without_the_package_says_what_to_install(self):
        with mock.patch.dict(sys.modules, {"tensorflow_datasets": None}):
            with self.assertRaisesRegex(ImportError, r"extra tfds.*pip install '.\[tfds\]'"):
                ClassPool.from_tfds("birds")

    def test_of_a_folder(self):
        folder = self.create_tempdir()
        for name, value in (("cat", 10), ("ant", 20)):
            for i in range(2):
                pixels = np.full([6, 4, 3], value + i, np.uint8)
                Image.fromarray(pixels).save(folder.create_file(f"{name}/{i}.png").full_path)
        folder.create_file("cat/.DS_Store", "stray")
        folder.create_file("cat/readme.txt", "stray")
        folder.mkdir("__MACOSX")
        os.symlink("itself", os.path.join(folder.full_path, "cat", "itself"))
        with self.assertLogs("absl", "INFO") as logs:
            pool = ClassPool.from_folder(folder.full_path)
        self.assertIn("2 files that are not named like images (.bmp, ", logs.output[0])
        self.assertEqual(repr(pool), "ClassPool(2 classes, 4 images of shape (6, 4, 3), uint8)")
        self.assertEqual(np.unique(pool.images_of("ant")).tolist(), [20, 21])
        resized = ClassPool.from_folder(folder.full_path, image_size=3, channels=1)
        self.assertEqual(resized.images_of("cat").shape, (2, 3, 3, 1))
        not_square = ClassPool.from_folder(folder.full_path, image_size=(2, 5))
        self.assertEqual(not_square.images_of("cat").shape, (2, 2, 5, 3))

    @parameterized.parameters("pgm", "pbm", "jfif", "jpe", "webp")
    def test_of_images_of_other_formats(self, suffix):
        folder = self.create_tempdir()
        mode = {"pgm": "L", "pbm": "1"}.get(suffix, "RGB")
        format_ = {"jfif": "JPEG", "jpe": "JPEG"}.get(suffix)
        Image.new(mode, (2, 3), "white").save(folder.create_file(f"ant/0.{suffix}").full_path, format_)
        np.testing.assert_array_equal(
            ClassPool.from_folder(folder.full_path).images_of("ant"), np.full([1, 3, 2, 3], 255)
        )

    @parameterized.parameters(("RGBA", (0, 0, 0, 0), 255), ("RGBA", (0, 0, 0, 255), 0), ("LA", (0, 128), 127))
    def test_what_is_transparent_becomes_white(self, mode, colour, expected):
        folder = self.create_tempdir()
        Image.new(mode, (2, 2), colour).save(folder.create_file("ant/0.png").full_path)
        np.testing.assert_array_equal(
            ClassPool.from_folder(folder.full_path).images_of("ant"), np.full([1, 2, 2, 3], expected)
        )

    def test_of_a_folder_under_a_tilde(self):
        folder = self.create_tempdir()
        Image.new("L", (2, 2)).save(folder.create_file("animals/ant/0.png").full_path)
        with mock.patch.dict(os.environ, {"HOME": folder.full_path}):
            self.assertEqual(ClassPool.from_folder("~/animals").class_names, ("ant",))

    def test_of_an_archive_with_a_folder_around_its_classes(self):
        file = self.create_tempfile("animals.zip").full_path
        with zipfile.ZipFile(file, "w") as archive:
            for name, value in (("cat", 10), ("ant", 20)):
                image = io.BytesIO()
                Image.new("RGB", (4, 6), (value, 0, 0)).save(image, "PNG")
                archive.writestr(f"animals/{name}/0.png", image.getvalue())
            archive.writestr("animals/readme.txt", "stray")
        pool = ClassPool.from_folder(file)
        self.assertEqual(pool.class_names, ("ant", "cat"))
        self.assertEqual(np.unique(pool.images_of("cat")).tolist(), [0, 10])

    def test_does_not_copy_images_of_classes_side_by_side(self):
        images = np.zeros([4, 2], np.uint8)
        pool = ClassPool(images, ["b", "b", "c", "c"])
        self.assertTrue(np.shares_memory(pool.subset(["c"]).images_of("c"), images))

    def test_a_subset_may_have_other_options(self):
        pool = ClassPool(np.full([4, 3, 3], 51, np.uint8), [0, 0, 1, 1])
        part = pool.subset(["0", "1"], rotations=True, transform=lambda images: images)
        self.assertEqual(part.episode(0, 0, 2, 1, 1).support_x.dtype, tf.uint8)
        self.assertEqual(pool.episode(0, 0, 2, 1, 1).support_x.dtype, tf.float32)
        with self.assertRaisesRegex(ValueError, "Expected square images"):
            ClassPool(np.zeros([4, 2]), [0, 0, 1, 1]).subset(["0"], rotations=True)

    def test_subset_keeps_images_and_options(self):
        pool = identifying_pool([3, 4, 5], transform=lambda images: images + 100.0)
        part = pool.subset(["2", "0"])
        self.assertEqual(part.class_names, ("0", "2"))
        np.testing.assert_array_equal(part.images_of("2"), pool.images_of("2"))
        self.assertGreaterEqual(np.min(part.episode(0, 0, 2, 1, 1).support_x), 100.0)


class SizesTest(parameterized.TestCase):
    """Streams whose tasks have numbers of classes and shots of their own."""

    def test_every_task_is_whole_and_filled_up_with_zeros_at_the_end(self):
        pool = identifying_pool([6, 6, 7, 6, 6])
        (support_x, support_y, query_x), query_y = next(
            iter(pool.episodes(seed=3, ways=(2, 4), shots=(1, 3), queries=2, meta_batch_size=300))
        )
        sizes = []
        for x, y, q, t in zip(*(part.numpy() for part in (support_x, support_y, query_x, query_y)), strict=True):
            ways, shots = y.max() + 1, np.bincount(y[y >= 0])
            sizes.append((ways, shots[0]))
            self.assertEqual(shots.tolist(), [shots[0]] * ways)
            self.assertEqual(np.bincount(t[t >= 0]).tolist(), [2] * ways)
            for images, labels in ((x, y), (q, t)):
                count = np.sum(labels >= 0)
                self.assertTrue((labels[:count] >= 0).all() and (labels[count:] == -1).all())
                self.assertTrue((images[count:] == 0).all())
            # One class a label, and no image twice.
            classes = {label: set(images[labels == label][:, 0]) for images, labels in ((x, y), (q, t))
                       for label in range(ways)}  # fmt: skip
            self.assertEqual([len(found) for found in classes.values()], [1] * ways)
            self.assertLen(set(map(tuple, np.concatenate([x[y >= 0], q[t >= 0]]))), int((y >= 0).sum() + 2 * ways))
        counts = collections.Counter(sizes)
        self.assertCountEqual(counts, itertools.product((2, 3, 4), (1, 2, 3)))
        self.assertGreater(min(counts.values()), 15)  # 33 each in the mean.

    def test_a_task_depends_on_seed_and_number_alone(self):
        pool, sizes = identifying_pool([4, 4, 4]), {"ways": (1, 3), "shots": (1, 2), "queries": 1}
        batch = list(pool.episodes(5, **sizes, meta_batch_size=4, tasks=8))[1]
        for one, other in zip(pool.episode(5, 6, **sizes).keras_data()[0], batch[0], strict=True):
            np.testing.assert_array_equal(one, other[2])

    @parameterized.parameters(
        ({"ways": (0, 2)}, "Received: least_ways=0"),
        ({"ways": (3, 2)}, "Received: least_ways=3"),
        ({"shots": (2, 1)}, "Received: least_shots=2"),
        ({"shots": (1, 2, 3)}, r"the least and the greatest. Received: shots=\(1, 2, 3\)"),
        ({"ways": (2, 4)}, "at least ways=4 classes"),
    )
    def test_sizes_that_there_are_not(self, wrong, message):
        with self.assertRaisesRegex(ValueError, message):
            identifying_pool([4, 4, 4]).episode(0, 0, **{"ways": 2, "shots": 1, "queries": 1, **wrong})


class EpisodeLawsTest(parameterized.TestCase):
    @_settings
    @hypothesis.given(
        sizes=st.lists(st.integers(5, 9), min_size=3, max_size=8),
        ways=st.integers(1, 3),
        shots=st.integers(1, 3),
        queries=st.integers(1, 2),
        seed=st.integers(0, 2**62),
        index=st.integers(0, 2**62),
    )
    def test_an_episode_is_balanced_and_nothing_in_it_is_there_twice(self, sizes, ways, shots, queries, seed, index):
        episode = identifying_pool(sizes).episode(seed, index, ways, shots, queries)
        for x, y, examples in (
            (episode.support_x, episode.support_y, shots),
            (episode.query_x, episode.query_y, queries),
        ):
            self.assertEqual(x.shape, (ways * examples, 2))
            self.assertEqual(np.bincount(y, minlength=ways).tolist(), [examples] * ways)
        everything = rows(episode.support_x) | rows(episode.query_x)
        self.assertLen(everything, ways * (shots + queries))
        self.assertTrue(all(image < sizes[int(c)] for c, image in everything))
        class_of = {}
        for x, y in ((episode.support_x, episode.support_y), (episode.query_x, episode.query_y)):
            for (c, _), label in zip(np.asarray(x), np.asarray(y), strict=True):
                self.assertEqual(class_of.setdefault(int(label), c), c)
        self.assertLen(set(class_of.values()), ways)

    @_settings
    @hypothesis.given(
        seed=st.integers(0, 2**62),
        first=st.integers(0, 5),
        meta_batch_size=st.integers(1, 4),
        rotations=st.booleans(),
    )
    def test_a_task_depends_on_seed_and_index_alone(self, seed, first, meta_batch_size, rotations):
        images = np.random.default_rng(0).integers(0, 256, [30, 4, 4, 1], np.uint8)
        pool = ClassPool(images, np.repeat(np.arange(5), 6), rotations=rotations)
        dataset = pool.episodes(seed, 3, 1, 2, meta_batch_size=meta_batch_size, first=first)
        for b, data in enumerate(dataset.take(2), start=first):
            batch = episode_of(data)
            for t in range(meta_batch_size):
                expected = pool.episode(seed, b * meta_batch_size + t, 3, 1, 2)
                assert_equal_episodes([values[t] for values in batch], expected)

    def test_a_subset_draws_as_a_pool_of_its_classes_alone(self):
        whole, classes = identifying_pool([4, 7, 5, 6]), [1, 3]
        alone = ClassPool(
            np.concatenate([whole.images_of(str(c)) for c in classes]), np.repeat(classes, whole.class_sizes[classes])
        )
        for index in range(5):
            actual = whole.subset(["3", "1"]).episode(1, index, 2, 2, 2)
            assert_equal_episodes(actual, alone.episode(1, index, 2, 2, 2))

    def test_tasks_stay_what_they_were_when_results_were_published(self):
        episode = identifying_pool([5] * 10).episode(seed=3, index=8, ways=3, shots=1, queries=2)
        self.assertEqual(episode.support_x.numpy().tolist(), SUPPORT_OF_TASK_8)
        self.assertEqual(episode.support_y.numpy().tolist(), LABELS_OF_TASK_8)

    def test_is_the_same_inside_a_function(self):
        pool = identifying_pool([4] * 6)
        drawn = tf.function(lambda seed, index: pool.episode(seed, index, 3, 1, 2))
        assert_equal_episodes(drawn(tf.constant(3), tf.constant(4)), pool.episode(3, 4, 3, 1, 2))

    def test_seeds_and_indices_make_different_tasks(self):
        pool = identifying_pool([20] * 50)
        episodes = [pool.episode(seed, index, 5, 1, 1) for seed in range(6) for index in range(6)]
        self.assertLen({np.asarray(episode.support_x).tobytes() for episode in episodes}, 36)

    def _many(self, pool, ways, shots, queries, tasks=2000):
        (data,) = pool.episodes(11, ways, shots, queries, meta_batch_size=tasks, tasks=tasks)
        return Episode(*(np.asarray(values) for values in episode_of(data)))

    def _assert_uniform(self, values, kinds):
        """Pearson's statistic against five standard deviations of its law: the seed is fixed, so no flakes."""
        counts = np.bincount(values.reshape(-1).astype(int), minlength=kinds)
        expected = counts.sum() / kinds
        statistic = np.sum((counts - expected) ** 2) / expected
        self.assertLess(statistic, kinds - 1 + 5 * np.sqrt(2 * (kinds - 1)))

    def test_labels_are_a_uniform_permutation_of_the_classes(self):
        episode = self._many(identifying_pool([2, 2, 2]), 3, 1, 1)
        by_label = np.take_along_axis(episode.support_x[:, :, 0], np.argsort(episode.support_y, axis=1), axis=1)
        orders = np.unique(by_label, axis=0, return_inverse=True)[1]
        self.assertEqual(orders.max(), 5)
        self._assert_uniform(orders, 6)

    def test_classes_and_images_are_uniform_whatever_the_sizes(self):
        episode = self._many(identifying_pool([2, 9, 5, 9]), 2, 1, 1)
        self._assert_uniform(episode.support_x[:, :, 0], 4)
        for c, size in ((0, 2), (1, 9), (2, 5)):
            for x in (episode.support_x, episode.query_x):
                self._assert_uniform(x[x[:, :, 0] == c][:, 1], size)

    def test_the_place_of_an_image_tells_nothing_of_its_label(self):
        episode = self._many(identifying_pool([6] * 8), 4, 2, 3)
        for place in range(12):
            self._assert_uniform(episode.query_y[:, place], 4)
        for place in range(8):
            self._assert_uniform(episode.support_y[:, place], 4)
        # Nor does the place beside a support image.
        same = np.mean(episode.support_y == episode.query_y[:, :8])
        self.assertAlmostEqual(same, 0.25, delta=0.02)

    def test_a_constant_answer_is_right_by_chance(self):
        episode = self._many(identifying_pool([6] * 8), 5, 1, 3, tasks=40)
        for answer in range(5):
            np.testing.assert_allclose(np.mean(episode.query_y == answer, axis=1), 0.2)

    @parameterized.parameters(2, 5)
    def test_an_untrained_network_is_right_by_chance(self, ways):
        keras.utils.set_random_seed(0)
        network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(ways)])
        of_class, of_image = (np.random.default_rng(0).normal(size=[n, 4]) for n in (12, 72))
        pool = ClassPool(np.repeat(of_class, 6, axis=0) + 0.3 * of_image, np.repeat(np.arange(12), 6))
        episode = self._many(pool, ways, 1, 3)
        logits = network(np.reshape(episode.query_x, [-1, 4])).numpy().reshape(2000, 3 * ways, ways)
        accuracy = np.mean(np.argmax(logits, axis=2) == episode.query_y, axis=1)
        error = np.std(accuracy) / np.sqrt(len(accuracy))
        self.assertGreater(error, 1e-3)
        self.assertAlmostEqual(np.mean(accuracy), 1 / ways, delta=4 * error)

    def test_turns_all_images_of_a_class_of_a_task_alike(self):
        corner = np.zeros([12, 3, 3, 1], np.float32)
        corner[:, 0, 0] = 1.0
        pool = ClassPool(corner, np.repeat(np.arange(3), 4), rotations=True)
        episode = self._many(pool, 3, 2, 2, tasks=500)
        corners = np.stack([np.rot90(corner[0], k) for k in range(4)])

        def turns(x):
            return np.argmax(np.all(x[:, :, None] == corners, axis=(3, 4, 5)), axis=2)

        by_class = [
            turns(x)[np.arange(500)[:, None], np.argsort(y, axis=1, kind="stable")].reshape(500, 3, 2)
            for x, y in ((episode.support_x, episode.support_y), (episode.query_x, episode.query_y))
        ]
        by_class = np.concatenate(by_class, axis=2)
        np.testing.assert_array_equal(by_class, np.broadcast_to(by_class[:, :, :1], by_class.shape))
        self._assert_uniform(by_class[:, :, 0], 4)
        # Classes of a task turn independently of each other.
        self._assert_uniform(by_class[:, 0, 0] * 4 + by_class[:, 1, 0], 16)

    @parameterized.parameters(([7, 5, 5],), ([7, 5, 5, 2],))
    def test_rotations_are_those_of_numpy(self, shape):
        images = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
        pool = ClassPool(images, np.arange(7) * 0, rotations=True, transform=lambda drawn: drawn)
        drawn = pool.episode(2, 0, 1, 3, 4)
        turned = {np.rot90(image, k).tobytes() for image in images for k in range(4)}
        for image in [*drawn.support_x.numpy(), *drawn.query_x.numpy()]:
            self.assertIn(image.tobytes(), turned)

    def test_without_rotations_images_stay_as_they_are(self):
        images = np.random.default_rng(1).random([4, 5, 5], np.float32)
        drawn = ClassPool(images, [0, 0, 1, 1]).episode(0, 0, 2, 1, 1)
        stored = {image.tobytes() for image in images}
        self.assertTrue(all(image.numpy().tobytes() in stored for image in drawn.support_x))


class ImageStoreTest(parameterized.TestCase):
    def mapped(self, array):
        path = self.create_tempfile().full_path
        with open(path, "wb") as file:
            np.save(file, array)
        return np.load(path, mmap_mode="c")

    @parameterized.parameters(np.uint8, np.int32, np.float16, np.float32, np.float64, np.bool_)
    def test_holds_the_same_numbers(self, dtype):
        array = np.random.default_rng(0).integers(0, 2, [5, 4, 3]).astype(dtype)
        for images in (array, self.mapped(array), array[:, ::2], array[1:], array.astype(array.dtype.newbyteorder())):
            tensor = ImageStore(images).tensor
            self.assertEqual(tensor.dtype, tf.as_dtype(dtype))
            np.testing.assert_array_equal(tensor, images)

    def test_an_aligned_array_of_the_other_byte_order_is_converted(self):
        memory = np.zeros(4 * 16 + 64, np.uint8)
        start = -memory.ctypes.data % 64
        images = memory[start : start + 64].view(np.dtype(np.int32).newbyteorder()).reshape(4, 4)
        images[:] = np.arange(16).reshape(4, 4)
        np.testing.assert_array_equal(ImageStore(images).tensor, images)

    def test_a_mapped_array_is_shared_and_not_read(self):
        images = self.mapped(np.zeros([4, 16], np.uint8))
        tensor = ImageStore(images).tensor
        images[2] = 7
        np.testing.assert_array_equal(tensor, images)

    def test_an_array_that_may_not_be_written_to_is_taken_too(self):
        images = np.arange(12.0).reshape(4, 3)
        images.flags.writeable = False
        np.testing.assert_array_equal(ImageStore(images).tensor, images)

    def test_outlives_the_array(self):
        images = self.mapped(np.full([1000, 84], 3, np.uint8))
        tensor = ImageStore(images).tensor
        del images
        self.assertEqual(int(tf.reduce_sum(tf.cast(tensor, tf.int32))), 252_000)

    def test_is_made_once_inside_a_function_too(self):
        store = ImageStore(np.arange(6, dtype=np.uint8).reshape(3, 2))
        drawn = tf.function(lambda i: tf.gather(store.tensor, i))
        np.testing.assert_array_equal(drawn(tf.constant([2])), [[4, 5]])
        self.assertIs(store.tensor, store.tensor)

    def test_what_is_copied_inside_a_function_is_no_part_of_it(self):
        store = ImageStore(np.arange(12, dtype=np.uint8).reshape(3, 4)[:, ::2])
        drawn = tf.function(lambda i: tf.gather(store.tensor, i))
        np.testing.assert_array_equal(drawn(tf.constant([2])), [[8, 10]])
        np.testing.assert_array_equal(store.tensor, store.array)


class StreamTest(parameterized.TestCase):
    def test_has_static_shapes_and_no_end(self):
        dataset = identifying_pool([4] * 5).episodes(0, 3, 1, 2, meta_batch_size=4)
        (support_x, support_y, query_x), query_y = dataset.element_spec
        self.assertEqual(support_x, tf.TensorSpec([4, 3, 2], tf.float32))
        self.assertEqual(support_y, tf.TensorSpec([4, 3], tf.int32))
        self.assertEqual(query_x, tf.TensorSpec([4, 6, 2], tf.float32))
        self.assertEqual(query_y, tf.TensorSpec([4, 6], tf.int32))
        self.assertEqual(dataset.cardinality(), tf.data.INFINITE_CARDINALITY)

    @parameterized.parameters((10, 4, 0, [4, 4, 2]), (8, 4, 0, [4, 4]), (10, 4, 2, [2]), (3, 4, 0, [3]))
    def test_ends_after_the_tasks_asked_for(self, tasks, meta_batch_size, first, expected):
        pool = identifying_pool([4] * 5)
        dataset = pool.episodes(0, 3, 1, 2, meta_batch_size=meta_batch_size, first=first, tasks=tasks)
        self.assertEqual([len(query_y) for _, query_y in dataset], expected)
        self.assertEqual(dataset.cardinality(), len(expected))

    def test_goes_on_where_another_stopped(self):
        pool = identifying_pool([4] * 5)
        whole = list(pool.episodes(5, 3, 1, 2, meta_batch_size=2).take(5))
        rest = list(pool.episodes(5, 3, 1, 2, meta_batch_size=2, first=3).take(2))
        for a, b in zip(whole[3:], rest, strict=True):
            assert_equal_episodes(episode_of(a), episode_of(b))


class ErrorsTest(parameterized.TestCase):
    @parameterized.parameters(
        (np.zeros([3, 2]), [0, 1], r"one label each.*Received: images \(3, 2\), labels \(2,\)"),
        (np.zeros([3, 2]), np.eye(3), r"one label each.*labels \(3, 3\)"),
        (np.zeros([0, 2]), np.zeros([0]), r"at least one image.*Received: shape \(0, 2\)"),
        (np.zeros([3]), [0, 1, 2], r"at least one image.*Received: shape \(3,\)"),
    )
    def test_arrays_that_do_not_fit(self, images, labels, message):
        with self.assertRaisesRegex(ValueError, message):
            ClassPool(images, labels)

    @parameterized.parameters((np.array([["a"], ["b"]]), "<U1"), (np.zeros([2, 1], complex), "complex128"))
    def test_images_that_are_no_real_numbers(self, images, dtype):
        with self.assertRaisesRegex(TypeError, f"Received: dtype {dtype}"):
            ClassPool(images, [0, 1])

    @parameterized.parameters(
        (lambda: ClassPool(np.zeros([2, 1]), [0, 1], transform="unit_range"), "transform='unit_range'"),
        (lambda: ClassPool(np.zeros([2, 1]), [0, 1]).subset(["0"], transform=3), "transform=3"),
        (lambda: ClassPool.from_classes([np.zeros([2, 1])]), "dictionary.*list"),
        (lambda: ClassPool.from_dataset(None), "tf.data.Dataset.*NoneType"),
    )
    def test_arguments_of_another_kind(self, make, message):
        with self.assertRaisesRegex(TypeError, message):
            make()

    @parameterized.parameters(([4, 3, 2],), ([4, 9],))
    def test_rotations_of_images_that_are_not_square(self, shape):
        with self.assertRaisesRegex(ValueError, "Expected square images.*Received: shape"):
            ClassPool(np.zeros(shape), [0, 0, 1, 1], rotations=True)

    def test_too_few_classes(self):
        with self.assertRaisesRegex(ValueError, "at least ways=3 classes. Received: a pool of 2 classes"):
            identifying_pool([4, 4]).episode(0, 0, 3, 1, 1)

    def test_a_class_with_too_few_images(self):
        pool = ClassPool(np.zeros([5, 2]), ["ape", "ape", "ape", "bee", "bee"])
        message = r"shots \+ queries = 1 \+ 2 = 3 images in every class. Received: 2 in class 'bee'"
        with self.assertRaisesRegex(ValueError, message):
            pool.episodes(0, 2, 1, 2, meta_batch_size=1)

    @parameterized.parameters(
        *(
            {name: value}
            for name in ("ways", "shots", "queries", "meta_batch_size", "first", "tasks")
            for value in (1.5, True, "2", -1, None if name != "tasks" else 0)
        ),
        *({"seed": value} for value in (1.5, True, "2", None, 2**63, -(2**63) - 1)),
        {"ways": 0},
        {"first": 2, "tasks": 4},
    )
    def test_numbers_out_of_range(self, **changed):
        arguments = {"seed": 0, "ways": 2, "shots": 1, "queries": 1, "meta_batch_size": 2} | changed
        name, value = list(changed.items())[-1]
        with self.assertRaisesRegex(ValueError, re.escape(f"{name}={value!r}")):
            identifying_pool([4, 4]).episodes(**arguments)

    @parameterized.parameters(1.5, True, "2", None, -1, (tf.constant(1.5),))
    def test_an_index_that_is_none(self, index):
        with self.assertRaisesRegex(ValueError, "Expected index to be a whole number"):
            identifying_pool([4, 4]).episode(0, index, 2, 1, 1)

    def test_numbers_of_numpy_are_those_of_python(self):
        pool = identifying_pool([4] * 5)
        of_numpy = [np.int64(3), np.uint8(1), np.int32(3), np.int64(1), np.uint16(2)]
        assert_equal_episodes(pool.episode(*of_numpy), pool.episode(3, 1, 3, 1, 2))

    @parameterized.parameters(np.nan, np.inf, -np.inf)
    def test_images_that_are_not_finite(self, value):
        images = np.zeros([6, 2, 2], np.float32)
        images[4, 1, 0] = value
        with mock.patch.object(class_pool, "_NUMBERS_AT_ONCE", 8):
            with self.assertRaisesRegex(ValueError, "finite numbers. Received: .* in image 4"):
                ClassPool(images, [1, 0, 1, 0, 1, 0])

    @parameterized.parameters(([0.0, 1.0],), ([0.0, np.nan],), ([None, 1],), ([0j, 1j],))
    def test_labels_that_are_neither_integers_nor_strings(self, labels):
        with self.assertRaisesRegex(TypeError, "labels that are integers or strings"):
            ClassPool(np.zeros([2, 2]), labels)

    @parameterized.parameters("no", 1, None)
    def test_rotations_that_are_no_truth_value(self, rotations):
        with self.assertRaisesRegex(ValueError, re.escape(f"rotations={rotations!r}")):
            ClassPool(np.zeros([2, 2, 2]), [0, 1], rotations=rotations)

    def test_a_name_that_is_no_class(self):
        pool = identifying_pool([2, 2])
        with self.assertRaisesRegex(ValueError, "Expected the name of a class of the pool. Received: 'x'"):
            pool.subset(["0", "x"])
        with self.assertRaisesRegex(ValueError, "Expected the name of a class of the pool. Received: 'y'"):
            pool.images_of("y")
        with self.assertRaisesRegex(ValueError, "at least one class name. Received: none"):
            pool.subset([])

    @parameterized.parameters(
        ({}, "at least one class.*Received: 0 classes"),
        ({"a": np.zeros([2, 3]), "b": np.zeros([0, 3])}, r"empty: \['b'\]"),
        (
            {"a": np.zeros([2, 3]), "b": np.zeros([2, 4])},
            r"one shape in all classes. Received: \(3,\) in class 'a', \(4,\) in class 'b'",
        ),
        ({1: np.zeros([2, 3]), "1": np.zeros([2, 3])}, "names that differ as text. Received: '1' twice"),
        (
            {"a": np.zeros([2, 3], np.uint8), "b": np.zeros([2, 3], np.float32)},
            "one dtype in all classes. Received: uint8 in class 'a', float32 in class 'b'",
        ),
    )
    def test_classes_that_do_not_fit(self, classes, message):
        with self.assertRaisesRegex(ValueError, message):
            ClassPool.from_classes(classes)

    @parameterized.parameters(
        (lambda d: d.map(lambda x, y: x), r"\(image, label\) pairs"),
        (lambda d: d.map(lambda x, y: {"image": x, "name": y}), "dictionaries with 'image' and 'label'"),
        (lambda d: d.repeat(), "finite dataset. Received: a dataset of infinite cardinality"),
        (lambda d: d.batch(2), r"an unbatched dataset.*Received: a label of shape \(2,\)"),
        (lambda d: d.take(0), "at least one class.*Received: 0 classes"),
        (lambda d: d.map(lambda x, y: ("a.png", y)), "an array of numbers.*Received: .*an image of type bytes"),
    )
    def test_datasets_of_another_form(self, change, message):
        dataset = tf.data.Dataset.from_tensor_slices((np.zeros([4, 3]), [0, 0, 1, 1]))
        with self.assertRaisesRegex(ValueError, message):
            ClassPool.from_dataset(change(dataset))

    def test_a_dataset_of_images_of_different_shapes(self):
        dataset = tf.data.Dataset.from_generator(
            lambda: iter([(np.zeros(2), 0), (np.zeros(3), 0)]),
            output_signature=(tf.TensorSpec([None]), tf.TensorSpec([], tf.int32)),
        )
        with self.assertRaisesRegex(ValueError, r"images of one shape, .* Received: \(2,\) and \(3,\)"):
            ClassPool.from_dataset(dataset)


class FolderErrorsTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.create_tempdir()

    def _image(self, name, side=4):
        Image.fromarray(np.zeros([side, side, 3], np.uint8)).save(self.folder.create_file(name).full_path)

    def test_no_folder(self):
        with self.assertRaisesRegex(FileNotFoundError, "Received: /no/such"):
            ClassPool.from_folder("/no/such")

    def test_no_class_folder(self):
        self._image("0.png")
        with self.assertRaisesRegex(FileNotFoundError, r"images \(.bmp, .* class. Received: .* 1 files"):
            ClassPool.from_folder(self.folder.full_path)

    def test_an_empty_class(self):
        self._image("ant/0.png")
        self.folder.mkdir("bee")
        with self.assertRaisesRegex(ValueError, "at least one image in every class. Received: none in .*bee"):
            ClassPool.from_folder(self.folder.full_path)

    @parameterized.parameters("zip", "tar")
    def test_an_empty_class_of_an_archive(self, suffix):
        self._image("animals/ant/0.png")
        self.folder.mkdir("animals/bee")
        archive = shutil.make_archive(self.create_tempdir().full_path, suffix, self.folder.full_path)
        with self.assertRaisesRegex(ValueError, f"in every class. Received: none in .*{suffix}/animals/bee"):
            ClassPool.from_folder(archive)

    def test_a_class_of_an_archive_without_images(self):
        file = self.create_tempfile("animals.zip").full_path
        self._image("ant/0.png")
        with zipfile.ZipFile(file, "w") as archive:
            archive.write(os.path.join(self.folder.full_path, "ant/0.png"), "ant/0.png")
            archive.writestr("bee/0.heic", "")
        with self.assertRaisesRegex(ValueError, "in every class. Received: none in .*animals.zip/bee"):
            ClassPool.from_folder(file)

    @parameterized.parameters("ant/more/1.png", "bee/more/even/1.png")
    def test_images_deeper_than_their_class(self, name):
        self._image("ant/0.png")
        self._image(name)
        with self.assertRaisesRegex(ValueError, f"Received: 1 deeper .*the first {name} in"):
            ClassPool.from_folder(self.folder.full_path)

    def test_an_image_beside_the_classes_is_told_of(self):
        self._image("animals/ant/0.png")
        self._image("all.png")
        with self.assertLogs("absl", "INFO") as logs:
            self.assertLen(ClassPool.from_folder(self.folder.full_path), 1)
        self.assertIn("skipped 1 images that are not in a folder of a class", logs.output[0])

    @parameterized.parameters(3.0, 0, True, ([3],), ([3, 2.5],), ([3, 0],), "3", 10**6)
    def test_an_image_size_that_is_none(self, image_size):
        self._image("ant/0.png")
        with self.assertRaisesRegex(ValueError, "Received: image_size="):
            ClassPool.from_folder(self.folder.full_path, image_size=image_size)

    @parameterized.parameters(np.int64(3), np.uint8(3), ([3, 3],), (np.array([3, 3]),))
    def test_an_image_size_of_numpys(self, image_size):
        self._image("ant/0.png")
        pool = ClassPool.from_folder(self.folder.full_path, image_size=image_size)
        self.assertEqual(pool.images_of("ant").shape, (1, 3, 3, 3))

    def test_a_broken_image(self):
        self.folder.create_file("ant/0.png", "no image")
        with self.assertRaisesRegex(ValueError, "Expected an image file. Received: .*ant/0.png, which cannot"):
            ClassPool.from_folder(self.folder.full_path)

    @parameterized.parameters((np.uint16, "png", "I;16"), (np.float32, "tiff", "F"))
    def test_an_image_of_more_than_8_bits(self, dtype, suffix, mode):
        Image.fromarray(np.zeros([2, 2], dtype)).save(self.folder.create_file(f"ant/0.{suffix}").full_path)
        with self.assertRaisesRegex(ValueError, f"8 bits a channel. Received: ant/0.{suffix} of Pillow's mode {mode}"):
            ClassPool.from_folder(self.folder.full_path)

    def test_images_of_different_sizes(self):
        self._image("ant/0.png")
        self._image("ant/1.png", side=5)
        with self.assertRaisesRegex(ValueError, r"image_size to resize to. Received: \(5, 5, 3\) in .*1.png"):
            ClassPool.from_folder(self.folder.full_path)
        self.assertLen(ClassPool.from_folder(self.folder.full_path, image_size=4).images_of("ant"), 2)

    @parameterized.parameters(2, True, "3")
    def test_a_number_of_channels_that_is_no_mode(self, channels):
        self._image("ant/0.png")
        with self.assertRaisesRegex(ValueError, f"Received: channels={channels!r}"):
            ClassPool.from_folder(self.folder.full_path, channels=channels)


if __name__ == "__main__":
    absltest.main()
