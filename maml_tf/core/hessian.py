"""Products of a Hessian with vectors, and the solution of linear systems by such products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from maml_tf.core.over_tasks import naming_missing_derivatives

Product = Callable[[Any], Any]


def derivatives(function: Callable[[Any], tf.Tensor], at: Any) -> tuple[tf.Tensor, Any, Product]:
    """Returns a scalar function's value, its gradient, and `v -> H v` with its Hessian, at a nest of float tensors.

    What does not depend on the vector is computed once, for any number of products.

    Raises:
        LookupError: When a product is computed, if an operation has no second derivative; the message names it.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.core.hessian import derivatives
    >>> value, gradient, product = derivatives(lambda x: tf.reduce_sum(x**3), tf.constant([1.0, 2.0]))
    >>> gradient.numpy().tolist(), product(tf.constant([1.0, 1.0])).numpy().tolist()
    ([3.0, 12.0], [6.0, 12.0])
    """
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as outer:
        outer.watch(at)
        with tf.GradientTape(watch_accessed_variables=False) as inner:
            inner.watch(at)
            value = function(at)
        gradient = inner.gradient(value, at, unconnected_gradients="zero")

    def product(vector):
        with naming_missing_derivatives():
            return outer.gradient(gradient, at, vector, unconnected_gradients="zero")

    return value, gradient, product


class Solution(NamedTuple):
    """The result of conjugate gradient.

    Attributes:
        solution: x, [size].
        residual: `b - A x`, [size].
    """

    solution: tf.Tensor
    residual: tf.Tensor


def conjugate_gradient(
    product: Product,
    target: tf.Tensor,
    iterations: int = 10,
    tolerance: float | tf.Tensor = 1e-10,
    ends_early: bool = True,
) -> Solution:
    """Solves `A x = b` for a symmetric positive definite A known by its products.

    Args:
        product: `v -> A v`.
        target: b, [size].
        iterations: The greatest number of iterations.
        tolerance: The solution does not change once the residual's squared norm is at most this.
        ends_early: Whether the loop ends there. If False, it has the same length for all tasks, which merged tasks
            need under XLA.

    Source: Hestenes and Stiefel, 1952.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.core.hessian import conjugate_gradient
    >>> conjugate_gradient(lambda v: tf.constant([2.0, 4.0]) * v, tf.constant([2.0, 2.0])).solution.numpy().round(3)
    array([1. , 0.5], dtype=float32)
    """

    def iterate(iteration, solution, residual, direction, squares):
        along = product(direction)
        # In a solved system the squares are set to 0, and with them both quotients: nothing changes.
        squares = squares if ends_early else tf.where(squares > tolerance, squares, tf.zeros_like(squares))
        size = tf.math.divide_no_nan(squares, tf.reduce_sum(direction * along))
        solution, residual = solution + size * direction, residual - size * along
        now = tf.reduce_sum(residual**2)
        return iteration + 1, solution, residual, residual + tf.math.divide_no_nan(now, squares) * direction, now

    start = (tf.constant(0), tf.zeros_like(target), target, target, tf.reduce_sum(target**2))
    _, solution, residual, _, _ = tf.while_loop(
        lambda iteration, s, r, d, squares: (iteration < iterations) & (squares > tolerance if ends_early else True),
        iterate,
        start,
    )
    return Solution(solution, residual)


def flatten(nest: Any) -> tf.Tensor:
    """Joins a nest of tensors of one dtype into a vector [size]."""
    return tf.concat([tf.reshape(leaf, [-1]) for leaf in tf.nest.flatten(nest)], axis=0)


def flattened(params: Any) -> tuple[tf.Tensor, Callable[[tf.Tensor], Any]]:
    """Joins parameters of static shapes and one dtype into a vector [size]; also returns the inverse function."""
    leaves = tf.nest.flatten(params)
    sizes = [int(np.prod(leaf.shape)) for leaf in leaves]

    def unflatten(vector):
        parts = tf.split(vector, sizes)
        shaped = [tf.reshape(part, leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
        return tf.nest.pack_sequence_as(params, shaped)

    return flatten(params), unflatten
