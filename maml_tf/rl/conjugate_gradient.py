"""Conjugate gradient: a linear system solved by products with its matrix alone."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from maml_tf.rl.hessian_products import Product


class Solution(NamedTuple):
    """What conjugate gradient found.

    Attributes:
        solution: x, [size].
        residual: `b - A x`, [size].
    """

    solution: tf.Tensor
    residual: tf.Tensor


def conjugate_gradient(product: Product, target: tf.Tensor, iterations: int = 10, tolerance: float = 1e-10) -> Solution:
    """Solves `A x = b` for a symmetric positive definite A known by its products.

    Args:
        product: `v -> A v`.
        target: b, [size].
        iterations: The greatest number of iterations.
        tolerance: Stop where the residual's squared norm is below it.

    Source: Hestenes and Stiefel, 1952.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.rl.conjugate_gradient import conjugate_gradient
    >>> conjugate_gradient(lambda v: tf.constant([2.0, 4.0]) * v, tf.constant([2.0, 2.0])).solution.numpy().round(3)
    array([1. , 0.5], dtype=float32)
    """

    def iterate(iteration, solution, residual, direction, squares):
        along = product(direction)
        size = squares / tf.reduce_sum(direction * along)
        solution, residual = solution + size * direction, residual - size * along
        now = tf.reduce_sum(residual**2)
        return iteration + 1, solution, residual, residual + now / squares * direction, now

    start = (tf.constant(0), tf.zeros_like(target), target, target, tf.reduce_sum(target**2))
    _, solution, residual, _, _ = tf.while_loop(
        lambda iteration, s, r, d, squares: (iteration < iterations) & (squares > tolerance), iterate, start
    )
    return Solution(solution, residual)
