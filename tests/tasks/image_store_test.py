"""Tests of images as tensors without a second copy."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf.tasks.image_store import ImageStore


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


if __name__ == "__main__":
    absltest.main()
