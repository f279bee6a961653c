"""Trust region policy optimisation: a natural-gradient step and a line search under a bound on a divergence.

It does not depend on tasks or adaptation: the blocks of a `Problem` may hold anything. It is MAML's outer step if the
problem's `outputs` adapt parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from maml_tf.checks import choice, number, whole_number
from maml_tf.core.hessian import conjugate_gradient, flatten, flattened
from maml_tf.core.over_tasks import meta_gradient, over_tasks
from maml_tf.rl.hessian_products import (
    FisherProducts,
    Params,
    Problem,
    Product,
    divergence_gradient,
    finite_difference_product,
)


class Step(NamedTuple):
    """The result of a step.

    Attributes:
        params: The new parameters, or the old ones if no step was accepted.
        loss_before: The mean loss at the old parameters.
        loss: The mean loss at the new parameters.
        divergence: The mean divergence of the new parameters from the old.
        searches: Steps of the line search, including the accepted one.
        accepted: Whether a step was accepted.
        residual: Norm of the last residual of conjugate gradient, relative to the gradient's norm.
    """

    params: Params
    loss_before: tf.Tensor
    loss: tf.Tensor
    divergence: tf.Tensor
    searches: tf.Tensor
    accepted: tf.Tensor
    residual: tf.Tensor

    def measurements(self) -> dict[str, float]:
        """Returns what logs show of the step, by name."""
        return {
            "surrogate_before": float(self.loss_before),
            "surrogate": float(self.loss),
            "kl": float(self.divergence),
            "line_search_steps": int(self.searches),
            "accepted": float(self.accepted),
            "conjugate_gradient_residual": float(self.residual),
        }


class TrustRegion:
    """Steps that minimise a loss under a bound on a divergence (TRPO), compiled once.

    The direction d is the solution of `(H + damping I) d = g` by conjugate gradient. The step is `sqrt(2 delta / d'(H +
    damping I)d) d`; a line search shrinks it until the loss falls and the divergence is within its bound.

    Args:
        problem: The loss to minimise and the divergence to bound.
        bound: delta, the greatest mean divergence.
        iterations: Iterations of conjugate gradient.
        damping: Added to the Hessian's diagonal.
        products: "fisher", exact, or "finite_differences", as in the paper.
        thin: Makes a smaller block from a block, for the products with the Hessian; None uses the block itself.
        shrink: Factor by which each step of the line search shrinks the step.
        searches: Greatest number of steps of the line search.
        parallel_blocks: Number of blocks computed at once.

    Raises:
        ValueError: If `products` is unknown, or a number is out of range.

    Source: Schulman et al., Trust region policy optimization, 2015, Appendix C.
    """

    def __init__(
        self,
        problem: Problem,
        bound: float = 0.01,
        *,
        iterations: int = 10,
        damping: float = 1e-5,
        products: str = "fisher",
        thin: Callable[[Any], Any] | None = None,
        shrink: float = 0.8,
        searches: int = 15,
        parallel_blocks: int = 2,
    ):
        if not 0 < shrink < 1:
            raise ValueError(f"Expected 0 < shrink < 1. Received: shrink={shrink}")
        self.problem, self.thin, self.shrink = problem, thin, shrink
        self.bound = number("bound", bound, positive=True)
        self.damping = number("damping", damping, minimum=0)
        self.iterations = whole_number("iterations", iterations, minimum=1)
        self.searches = whole_number("searches", searches, minimum=1)
        self.parallel_blocks = whole_number("parallel_blocks", parallel_blocks, minimum=1)
        self.products = choice("products", products, ("fisher", "finite_differences"))
        self._fisher: dict[Any, FisherProducts] = {}
        self._compiled = tf.function(self._step, autograph=False)

    def __call__(self, params: Params, blocks: Any) -> Step:
        """Takes a step.

        Args:
            params: Nest of float tensors, at which the divergence is 0.
            blocks: Nest of tensors with a leading [blocks] axis.
        """
        if self.products == "fisher":
            shapes = _shapes((params, blocks))
            # Made here, because inside the trace of the step they would become part of its graph.
            if shapes not in self._fisher:
                self._fisher[shapes] = FisherProducts(self.problem, params, self._thinned(blocks), self.parallel_blocks)
        return self._compiled(params, blocks)

    def _step(self, params: Params, blocks: Any) -> Step:
        flat, unflatten = flattened(params)
        loss_before, gradient, product = self._linearized(params, blocks)
        direction, residual = conjugate_gradient(lambda v: product(v) + self.damping * v, gradient, self.iterations)
        # d'(H + damping I)d from the residual, without another product.
        curved = tf.reduce_sum(direction * (gradient - residual))
        full = tf.sqrt(2.0 * self.bound / tf.maximum(curved, np.finfo(np.float32).tiny)) * direction

        def evaluate(candidate):
            values = over_tasks(
                lambda block: self._loss_and_divergence(unflatten(candidate), block), blocks,
                parallel_tasks=self.parallel_blocks,
            )  # fmt: skip
            return tuple(tf.reduce_mean(value) for value in values)

        new, loss, divergence, searches, accepted = self._search(evaluate, flat, full, loss_before)
        relative = tf.norm(residual) / tf.maximum(tf.norm(gradient), np.finfo(np.float32).tiny)
        return Step(unflatten(new), loss_before, loss, divergence, searches, accepted, relative)

    def _thinned(self, blocks: Any) -> Any:
        return tf.vectorized_map(self.thin, blocks) if self.thin else blocks

    def _linearized(self, params: Params, blocks: Any) -> tuple[tf.Tensor, tf.Tensor, Product]:
        """Returns the loss, its gradient and the products with the divergence's Hessian, of flat vectors."""
        flat, unflatten = flattened(params)
        thinned = self._thinned(blocks)
        if self.products == "fisher":
            at = self._fisher[_shapes((params, blocks))].at(params, thinned)
            loss, gradient = at.loss, at.gradient
            if self.thin:
                loss, gradient = self._loss_and_gradient(params, blocks)
            return loss, flatten(gradient), lambda vector: flatten(at.product(unflatten(vector)))

        def divergence_gradient_at(at):
            return flatten(divergence_gradient(self.problem, unflatten(at), thinned, self.parallel_blocks))

        loss, gradient = self._loss_and_gradient(params, blocks)
        return loss, flatten(gradient), finite_difference_product(divergence_gradient_at, flat)

    def _loss_and_gradient(self, params: Params, blocks: Any) -> tuple[tf.Tensor, Params]:
        def loss_of_block(params, block):
            return self.problem.loss(self.problem.outputs(params, block), block), ()

        objective = meta_gradient(loss_of_block, params, blocks, parallel_tasks=self.parallel_blocks)
        return objective.loss, objective.gradients

    def _loss_and_divergence(self, params: Params, block: Any) -> tuple[tf.Tensor, tf.Tensor]:
        outputs = self.problem.outputs(params, block)
        return self.problem.loss(outputs, block), self.problem.divergence(outputs, block)

    def _search(self, evaluate, start, full, loss_before):
        """Shrinks the step until it is acceptable; stays at the start if none is."""

        def attempt(number, *_):
            candidate = start - self.shrink ** tf.cast(number, full.dtype) * full
            loss, divergence = evaluate(candidate)
            # Comparisons with NaN are false: a diverged candidate is never accepted.
            return number + 1, candidate, loss, divergence, (loss < loss_before) & (divergence <= self.bound)

        zero = tf.zeros_like(loss_before)
        searches, candidate, loss, divergence, accepted = tf.while_loop(
            lambda number, _candidate, _loss, _divergence, accepted: (number < self.searches) & ~accepted,
            attempt,
            (tf.constant(0), start, loss_before, zero, tf.constant(False)),
        )
        new = tf.where(accepted, candidate, start)
        return new, tf.where(accepted, loss, loss_before), tf.where(accepted, divergence, zero), searches, accepted


def _shapes(nest: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(leaf.shape) for leaf in tf.nest.flatten(nest))
