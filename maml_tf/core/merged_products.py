"""Batched matrix products of all tasks at once, whose operands have the same batch axes.

TensorFlow's kernel repeats an operand along the axes that it lacks. The one of oneDNN, which float32 on a CPU with
several threads goes to, does so wrongly for [tasks, 1, m, k] and [k, n], a dense layer of sequences with one example a
task: products are wrong, or the process crashes. Here it has nothing to repeat.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow.python.ops.parallel_for import pfor


def _convert_product(inputs: Any) -> Any:
    adjoint_a, adjoint_b = inputs.get_attr("adj_x"), inputs.get_attr("adj_y")
    (left, left_stacked, _), (right, right_stacked, _) = inputs.input(0), inputs.input(1)
    if left_stacked and not adjoint_a and right.shape.rank - right_stacked == 2:
        # One matrix a task, or one for all: the rows of what it multiplies stand one below the other.
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


# Of an operation's type, its converter for all tasks.
CONVERTERS = {"BatchMatMulV2": _convert_product}
