"""Images as a tensor on the host, without a second copy of them in memory."""

from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf

# What TensorFlow's kernels ask of the address of a tensor.
_ALIGNMENT = 64


class ImageStore:
    """An array of images, and the same memory as a tensor.

    An array that is mapped from a file stays in the file: only the images that are looked up are read.

    Args:
        array: [images, ...], of any real dtype. It is shared, not copied, and must stay as it is.

    Attributes:
        array: The array given.

    Example:
    >>> import numpy as np
    >>> from maml_tf.tasks.image_store import ImageStore
    >>> ImageStore(np.ones([3, 2], np.uint8)).tensor.shape
    TensorShape([3, 2])
    """

    def __init__(self, array: np.ndarray):
        self.array = array

    @functools.cached_property
    def tensor(self) -> tf.Tensor:
        """The images on the host, where tf.data works; a GPU would send every image back."""
        with tf.init_scope(), tf.device("CPU:0"):
            if self._is_shareable():
                # convert_to_tensor would copy, and so read all of a mapped file.
                return tf.experimental.dlpack.from_dlpack(self.array.__dlpack__())
            return tf.convert_to_tensor(self.array)

    def _is_shareable(self) -> bool:
        flags = self.array.flags
        aligned = self.array.ctypes.data % _ALIGNMENT == 0
        dtype = self.array.dtype
        return aligned and flags.c_contiguous and flags.writeable and dtype.isnative and dtype.kind in "uif"
