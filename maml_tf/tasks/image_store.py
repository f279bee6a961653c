"""ImageStore: one memory of images, as an array and as a tensor."""

from __future__ import annotations

import functools
import types

import numpy as np
import tensorflow as tf

# Alignment in bytes that TensorFlow's kernels need.
_ALIGNMENT = 64


class ImageStore:
    """An array of images, and the same memory as a tensor.

    An array that is mapped from a file stays in the file: only the images that are looked up are read.

    Args:
        array: [images, ...], of any real dtype. It is shared, not copied, and must not change.

    Attributes:
        array: The array.

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
        """The images on the host, where tf.data runs; a GPU would have to send every image back."""
        flags, dtype = self.array.flags, self.array.dtype
        aligned = self.array.ctypes.data % _ALIGNMENT == 0
        shareable = aligned and flags.c_contiguous and dtype.isnative and dtype.kind in "uif"
        with tf.init_scope(), tf.device("CPU:0"):
            if shareable:  # convert_to_tensor would copy, and so read the whole of a mapped file.
                return tf.experimental.dlpack.from_dlpack(_as_writable(self.array).__dlpack__())
            return tf.convert_to_tensor(self.array)


def _as_writable(array: np.ndarray) -> np.ndarray:
    """Returns the same memory as an array that says of itself that it can be written to: DLPack asks for that.

    Nothing writes to it: TensorFlow's tensors do not change.
    """
    if array.flags.writeable:
        return array
    interface = {**array.__array_interface__, "data": (array.ctypes.data, False)}
    return np.asarray(types.SimpleNamespace(__array_interface__=interface, array=array))
