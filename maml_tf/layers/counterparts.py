"""Keras' softsign and upsampling, made of operations that have second derivatives."""

from __future__ import annotations

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="maml_tf")
def softsign(x: tf.Tensor) -> tf.Tensor:
    """`keras.activations.softsign`, `x / (1 + |x|)`, with a second derivative.

    Args:
        x: Floating tensor.

    Returns:
        A tensor of the same shape and data type.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.layers import softsign
    >>> softsign(tf.constant([-1.0, 3.0])).numpy().tolist()
    [-0.5, 0.75]
    """
    x = tf.convert_to_tensor(x)
    return x / (1 + tf.abs(x))


@keras.saving.register_keras_serializable(package="maml_tf")
class UpSampling2D(keras.layers.UpSampling2D):
    """`keras.layers.UpSampling2D` with a second derivative for every interpolation.

    Interpolation is linear in the images: `y = A x B^T` in each channel, with constant A [height * factor, height] and
    B [width * factor, width].

    Args:
        size: Factors of height and width, or one for both.
        data_format: "channels_last" or "channels_first".
        interpolation: "nearest", "bilinear", "bicubic", "lanczos3" or "lanczos5".
        **kwargs: Keras' other arguments (name, dtype).

    Example:
    >>> import keras
    >>> from maml_tf.layers import UpSampling2D
    >>> UpSampling2D(interpolation="bilinear")(keras.ops.reshape([0.0, 4.0], (1, 1, 2, 1)))[0, 0, :, 0].numpy().tolist()
    [0.0, 1.0, 3.0, 4.0]
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Enlarges images [images, height, width, channels], or as `data_format` says."""
        if self.interpolation == "nearest":
            return super().call(inputs)
        x = tf.convert_to_tensor(inputs)
        first = 1 if self.data_format == "channels_last" else 2
        rows, columns = (
            tf.cast(self._interpolation(tf.shape(x)[first + axis], self.size[axis]), x.dtype) for axis in (0, 1)
        )
        images = "nhwc" if self.data_format == "channels_last" else "nchw"
        enlarged = images.replace("h", "a").replace("w", "b")
        return tf.einsum(f"{images},ah,bw->{enlarged}", x, rows, columns)

    def _interpolation(self, length: tf.Tensor, factor: int) -> tf.Tensor:
        """Returns the matrix [length * factor, length] whose columns are the enlarged unit vectors."""
        units = tf.eye(length)[:, :, tf.newaxis, tf.newaxis]
        enlarged = tf.image.resize(units, [length * factor, 1], self.interpolation)
        return tf.transpose(enlarged[:, :, 0, 0])
