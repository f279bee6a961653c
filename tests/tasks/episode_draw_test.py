"""Tests of the images of an episode: turns and range. tests/tasks/class_pool_test.py has the laws of the draw."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf.tasks.episode_draw import check_square, rotate_quarter_turns, unit_range


class RotateQuarterTurnsTest(parameterized.TestCase):
    @parameterized.product(shape=([9, 5, 5], [9, 5, 5, 1], [9, 4, 4, 3]), dtype=(np.uint8, np.float32))
    def test_turns_each_image_as_numpy_does(self, shape, dtype):
        images = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
        turns = [3, 0, 1, 2, 2, 0, 3, 1, 1]
        expected = np.stack([np.rot90(image, k) for image, k in zip(images, turns, strict=True)])
        turned = rotate_quarter_turns(tf.constant(images), turns)
        self.assertEqual(turned.dtype, dtype)
        np.testing.assert_array_equal(turned, expected)

    @parameterized.parameters(0, 1, 2, 3)
    def test_turns_all_images_alike(self, turns):
        images = np.arange(18.0).reshape(2, 3, 3)
        expected = np.rot90(images, turns, axes=(1, 2))
        np.testing.assert_array_equal(rotate_quarter_turns(tf.constant(images), [turns] * 2), expected)

    @parameterized.parameters(([3, 4, 5],), ([3, 4],), ([3, 4, 4, 1, 1],))
    def test_images_that_are_not_square(self, shape):
        with self.assertRaisesRegex(ValueError, "Expected square images.*Received: shape"):
            check_square(np.zeros(shape))


class UnitRangeTest(absltest.TestCase):
    def test_bytes_become_0_to_1(self):
        scaled = unit_range(tf.constant([0, 51, 255], tf.uint8))
        self.assertEqual(scaled.dtype, tf.float32)
        np.testing.assert_allclose(scaled, [0.0, 0.2, 1.0], rtol=1e-6)

    def test_other_numbers_stay(self):
        for dtype in (tf.int32, tf.float16, tf.float64):
            np.testing.assert_array_equal(unit_range(tf.constant([0, 51, 255], dtype)), [0.0, 51.0, 255.0])


if __name__ == "__main__":
    absltest.main()
