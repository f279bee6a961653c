"""Tests of maml_tf.core.masks."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest

from maml_tf.core.masks import masks_of, with_masks


class MasksTest(absltest.TestCase):
    def test_each_output_gets_its_own_back(self):
        plain, masked = tf.ones((2, 3)), tf.zeros((2, 3))
        masked._keras_mask = tf.constant([[True, False, True], [True, True, False]])
        masks = masks_of({"a": plain, "b": [masked, plain]})
        self.assertEqual([len(mask) for mask in masks], [0, 1, 0])
        other = tf.zeros((2, 3))
        outputs = with_masks({"a": plain, "b": [other, plain]}, masks)
        np.testing.assert_array_equal(outputs["b"][0]._keras_mask, masked._keras_mask)
        for output in (outputs["a"], outputs["b"][1], plain, other):
            self.assertFalse(hasattr(output, "_keras_mask"))


if __name__ == "__main__":
    absltest.main()
