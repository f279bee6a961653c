"""Tests of classes divided into parts."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf.tasks import ClassPool, SplitClasses


def classes(**options):
    return ClassPool(np.arange(6 * 9).reshape(6, 3, 3), ["ant", "ant", "bee", "bee", "cat", "cat"], **options)


class SplitClassesTest(parameterized.TestCase):
    def test_a_pool_has_the_classes_of_its_part(self):
        data = SplitClasses(classes(), {"train": ["cat", "ant"], "test": ["bee"]})
        self.assertEqual(data.splits, {"train": ("cat", "ant"), "test": ("bee",)})
        self.assertEqual(data.pool("train").class_names, ("ant", "cat"))
        self.assertEqual(data.pool("test", "train").class_names, ("ant", "bee", "cat"))
        np.testing.assert_array_equal(data.pool("test").images_of("bee"), classes().images_of("bee"))

    def test_parts_share_no_image(self):
        data = SplitClasses(classes(), {"train": ["cat", "ant"], "test": ["bee"]})
        drawn = {
            part: {
                x.numpy().tobytes()
                for index in range(20)
                for images in data.pool(part).episode(0, index, 1, 1, 1)[::2]
                for x in images
            }
            for part in data.splits
        }
        self.assertLen(drawn["train"], 4)
        self.assertLen(drawn["test"], 2)
        self.assertEmpty(drawn["train"] & drawn["test"])

    @parameterized.product(usual=(True, False), asked=(None, True, False))
    def test_turns_classes_as_the_pool_of_all_or_as_asked(self, usual, asked):
        data = SplitClasses(classes(rotations=usual), {"all": ["ant", "bee", "cat"]})
        pool = data.pool("all", rotations=asked, transform=lambda images: images)
        stored = {image.tobytes() for name in pool.class_names for image in pool.images_of(name)}
        drawn = [x.numpy() for index in range(8) for x in pool.episode(0, index, 2, 1, 1).support_x]
        self.assertEqual(all(x.tobytes() in stored for x in drawn), not (usual if asked is None else asked))

    def test_transforms_images_as_the_pool_of_all_or_as_asked(self):
        data = SplitClasses(classes(transform=lambda images: tf.cast(images, tf.float32) + 100), {"all": ["ant"]})
        for options, least in (({}, 100), ({"transform": lambda images: tf.cast(images, tf.float32)}, 0)):
            episode = data.pool("all", **options).episode(0, 0, 1, 1, 1)
            self.assertEqual(min(np.min(episode.support_x), np.min(episode.query_x)), least)

    @parameterized.parameters(
        ({"train": ["ant", "ape"]}, "1 that are missing or named twice, the first 'ape'"),
        ({"train": ["ant"], "test": ["bee", "ant"]}, "1 that are missing or named twice, the first 'ant'"),
        ({"train": ["ant", "ant"]}, "1 that are missing or named twice, the first 'ant'"),
    )
    def test_splits_that_do_not_fit(self, splits, message):
        with self.assertRaisesRegex(ValueError, f"each in one part. Received: {message}"):
            SplitClasses(classes(), splits)

    @parameterized.parameters(((), r"\(\)"), (("train", "val"), r"\('train', 'val'\)"))
    def test_a_part_that_is_none(self, parts, received):
        data = SplitClasses(classes(), {"train": ["ant"], "validation": ["bee"]})
        with self.assertRaisesRegex(ValueError, rf"one or more of \('train', 'validation'\). Received: {received}"):
            data.pool(*parts)


if __name__ == "__main__":
    absltest.main()
