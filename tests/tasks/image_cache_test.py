"""Tests of maml_tf.tasks.image_cache."""

import os
import pathlib
from unittest import mock

import numpy as np
from absl.testing import absltest

from maml_tf.tasks.image_cache import decoded_once


class DecodedOnceTest(absltest.TestCase):
    def test_what_a_killed_process_wrote_is_written_over(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        images = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
        # As a kill leaves it: not renamed, not removed.
        killed = mock.patch.object(os, "replace", side_effect=KeyboardInterrupt)
        with killed, mock.patch.object(pathlib.Path, "unlink"), self.assertRaises(KeyboardInterrupt):
            decoded_once(folder / "images.npy", images.shape, lambda: images)
        self.assertLen(list(folder.iterdir()), 1)
        np.testing.assert_array_equal(decoded_once(folder / "images.npy", images.shape, lambda: images), images)
        self.assertEqual(list(folder.iterdir()), [folder / "images.npy"])
        np.testing.assert_array_equal(np.load(folder / "images.npy"), images)


if __name__ == "__main__":
    absltest.main()
