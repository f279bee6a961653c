"""Batched matrix products merged over tasks, with operands of the same batch axes.

TensorFlow's kernel broadcasts an operand along missing batch axes. The kernel of oneDNN, used for float32 on a CPU with
several threads, does this wrongly for [tasks, 1, m, k] and [k, n], a dense layer on sequences with one example a task:
products are wrong, or the process crashes. Here it has nothing to broadcast.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow.python.ops.parallel_for import pfor


def _convert_product(inputs: Any) -> Any:
    adjoint_a, adjoint_b = inputs.get_attr("adj_x"), inputs.get_attr("adj_y")
    (left, left_stacked, _), (right, right_stacked, _) = inputs.input(0), inputs.input(1)
    if left_stacked and not adjoint_a and right.shape.rank - right_stacked == 2:
        # One matrix for each task, or one for all: the rows that it multiplies are joined along one axis.
        leading = tf.shape(right)[: int(right_stacked)]
        rows = tf.reshape(left, tf.concat([leading, [-1], tf.shape(left)[-1:]], axis=0))
        product = tf.matmul(rows, right, adjoint_b=adjoint_b)
        result = tf.reshape(product, tf.concat([tf.shape(left)[:-1], tf.shape(product)[-1:]], axis=0))
        return pfor.wrap(tf.ensure_shape(result, left.shape[:-1] + product.shape[-1:]), True)
    inputs.expanddim_inputs_for_broadcast()
    left, right = inputs.input(0)[0], inputs.input(1)[0]
    if left.shape[:-2] != right.shape[:-2] or not left.shape[:-2].is_fully_defined():
        batch = tf.broadcast_dynamic_shape(tf.shape(left)[:-2], tf.shape(right)[:-2])
        left, right = (tf.broadcast_to(x, tf.concat([batch, tf.shape(x)[-2:]], axis=0)) for x in (left, right))
    return pfor.wrap(tf.matmul(left, right, adjoint_a=adjoint_a, adjoint_b=adjoint_b), True)


CONVERTERS = {"BatchMatMulV2": _convert_product}
