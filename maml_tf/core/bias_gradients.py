"""Gradients of convolutions' biases in a form that TensorFlow's oneDNN pass leaves alone.

On a CPU the pass merges a `BiasAddGrad` with any `Conv2DBackpropFilter` of the same output gradient. In a graph with
second derivatives that may be one which depends on the bias gradient: the graph gets a cycle, and TensorFlow refuses it
with "nodes in a cycle". A residual block whose shortcut is a convolution with a bias leads there, and so does an inner
loop that adapts biases alone.
"""

from __future__ import annotations

import tensorflow as tf


def apart_from_filters(gradient: tf.Tensor) -> tf.Tensor:
    """Writes the gradient of a convolution's bias as a sum, `sum_{n, h, w} dL/dy[n, h, w, c]`.

    Args:
        gradient: A gradient that a tape returned.

    Returns:
        The same values. Eagerly, and where `gradient` is no such bias's, the tensor itself.
    """
    if not tf.is_symbolic_tensor(gradient):
        return gradient
    operation = gradient.op
    # Keras reshapes biases before it adds them.
    while operation.type == "Reshape":
        operation = operation.inputs[0].op
    if operation.type != "BiasAddGrad" or operation.inputs[0].shape.rank != 4:
        return gradient
    axes = (0, 2, 3) if operation.get_attr("data_format") == b"NCHW" else (0, 1, 2)
    return tf.reshape(tf.reduce_sum(operation.inputs[0], axes), gradient.shape)
