"""Products of a divergence's Hessian with vectors: exactly, as Fisher-vector products, and by finite differences.

A problem maps parameters and a block of data to the parameters of distributions, and these to a loss and a divergence.
The loss and the divergence are averaged over blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from maml_tf.core.hessian import Product, derivatives
from maml_tf.core.over_tasks import meta_gradient

Params = Any


class Linearization(NamedTuple):
    """Outputs at some parameters, and products with their Jacobian J in the parameters there.

    Attributes:
        outputs: Nest of tensors.
        push: `v -> J v`, from a nest like the parameters to one like the outputs.
        pull: `u -> J' u`, from a nest like the outputs to one like the parameters.
    """

    outputs: Any
    push: Product
    pull: Product


class Problem(NamedTuple):
    """A loss to minimise, and a divergence to bound.

    Attributes:
        outputs: `(params, block) -> nest of tensors`, the parameters of the distributions.
        loss: `(outputs, block) -> scalar`.
        divergence: `(outputs, block) -> scalar`, whose minimum is 0 at the current parameters.
        curvature: `(outputs, tangent, block) -> nest`, the divergence's Hessian with respect to the outputs at the
            current parameters, times a tangent of the outputs.
        linearize: `(params, block) -> Linearization` of the outputs; None for automatic differentiation.
    """

    outputs: Callable[[Params, Any], Any]
    loss: Callable[[Any, Any], tf.Tensor]
    divergence: Callable[[Any, Any], tf.Tensor]
    curvature: Callable[[Any, Any, Any], Any]
    linearize: Callable[[Params, Any], Linearization] | None = None


def linearized(outputs: Callable[[Params, Any], Any], params: Params, block: Any) -> Linearization:
    """Linearises `(params, block) -> nest of tensors` by automatic differentiation.

    Forward mode is the derivative of the reverse pass, `u -> J'u`, in u.
    """
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as of_cotangent:
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as of_params:
            of_params.watch(params)
            values = outputs(params, block)
        cotangent = tf.nest.map_structure(tf.zeros_like, values)
        of_cotangent.watch(cotangent)
        pulled_back = of_params.gradient(values, params, cotangent, unconnected_gradients="zero")
    return Linearization(
        values,
        lambda v: of_cotangent.gradient(pulled_back, cotangent, v, unconnected_gradients="zero"),
        lambda u: of_params.gradient(values, params, u, unconnected_gradients="zero"),
    )


def loss_and_gradient(problem: Problem, params: Params, block: Any) -> tuple[tf.Tensor, Params, Linearization]:
    """Computes a block's loss, its gradient in the parameters, and the outputs linearised there."""
    at = problem.linearize(params, block) if problem.linearize else linearized(problem.outputs, params, block)
    loss, of_outputs, _ = derivatives(lambda outputs: problem.loss(outputs, block), at.outputs)
    return loss, at.pull(of_outputs), at


def _loss_and_product(problem: Problem, params: Params, block: Any, vector: Params) -> tuple[Any, Params]:
    """Returns a block's loss and its gradient, and J'FJ times a vector; they share computations."""
    loss, gradient, at = loss_and_gradient(problem, params, block)
    return (loss, gradient), at.pull(problem.curvature(at.outputs, at.push(vector), block))


class LinearizedProblem(NamedTuple):
    """The loss and the products that a step needs at given parameters, as means over blocks.

    Attributes:
        loss: The loss.
        gradient: Gradient of the loss in the parameters.
        product: `v -> mean J'FJ v`, of nests with the structure of the parameters.
    """

    loss: tf.Tensor
    gradient: Params
    product: Product


class FisherProducts:
    """Multiplies vectors by the mean over blocks of `J'FJ`, the exact Hessian of the divergence where it is 0.

    J is the Jacobian of a block's outputs in the parameters, F the curvature of the divergence in the outputs. The
    gradient of the divergence in the outputs is 0 there, so no derivative of J appears: a forward-mode product and a
    reverse-mode product are enough. What does not depend on the vector is computed once, and so are the loss and its
    gradient.

    Args:
        problem: The problem.
        params: Nest of tensors with the shapes and dtypes of the parameters.
        blocks: Nest of tensors with the shapes and dtypes of the blocks and a leading [blocks] axis.
        parallel_blocks: Number of blocks computed at once.
    """

    def __init__(self, problem: Problem, params: Params, blocks: Any, parallel_blocks: int = 2):
        specs = tf.nest.map_structure(lambda leaf: tf.TensorSpec(leaf.shape, leaf.dtype), params)
        block = tf.nest.map_structure(lambda leaf: tf.TensorSpec(leaf.shape[1:], leaf.dtype), blocks)
        self._stages = TwoStages(
            lambda early, vector: _loss_and_product(problem, *early, vector), (specs, block), specs
        )
        self._parallel = parallel_blocks

    def at(self, params: Params, blocks: Any) -> LinearizedProblem:
        """Computes the shared part of all products at these parameters, for blocks with a leading [blocks] axis."""
        stages = self._stages
        count = tf.nest.flatten(blocks)[0].shape[0]
        rows = [tf.TensorArray(leaf.dtype, count).unstack(leaf) for leaf in tf.nest.flatten(blocks)]

        # TensorArrays return their elements without copying, unlike a tensor with a leading axis.
        def arrays(specs):
            return [tf.TensorArray(s.dtype, count, clear_after_read=False, element_shape=s.shape) for s in specs]

        def write(arrays, number, values):
            return [array.write(number, value) for array, value in zip(arrays, values, strict=True)]

        def keep(number, kept, losses):
            block = tf.nest.pack_sequence_as(blocks, [row.read(number) for row in rows])
            of_block, values = stages.first((params, block))
            return number + 1, write(kept, number, values), write(losses, number, tf.nest.flatten(of_block))

        _, kept, losses = tf.while_loop(
            lambda number, *_: number < count,
            keep,
            (tf.constant(0), arrays(stages.kept), arrays(tf.nest.flatten(stages.early_results))),
            parallel_iterations=self._parallel,
        )

        def product(vector):
            of_blocks = tf.map_fn(
                lambda number: tf.nest.flatten(stages.second(vector, [array.read(number) for array in kept])),
                tf.range(count),
                fn_output_signature=tf.nest.flatten(stages.results),
                parallel_iterations=self._parallel,
            )
            return tf.nest.pack_sequence_as(params, [tf.reduce_mean(leaf, axis=0) for leaf in of_blocks])

        means = [tf.reduce_mean(array.stack(), axis=0) for array in losses]
        return LinearizedProblem(*tf.nest.pack_sequence_as(stages.early_results, means), product)


def finite_difference_product(gradient: Product, at: tf.Tensor, epsilon: float | None = None) -> Product:
    """Makes Hessian-vector products from gradients, `(g(theta + eps v) - g(theta - eps v)) / (2 eps)`.

    This is the paper's method, which needs no third derivatives. The eps of the authors' code, `1 / ||theta||`, is
    large: if v is a gradient, the product is within a few percent of the exact one; for a long v it is the curvature
    along a step of that length, and not linear in v.

    Args:
        gradient: `theta -> g(theta)`, [size] -> [size].
        at: theta, [size].
        epsilon: eps, by default that of the authors' code.

    Returns:
        `v -> H v`.

    Source: Section 5.3; Appendix A.2.
    """
    if epsilon is None:
        epsilon = 1.0 / (tf.norm(at) + 1e-8)

    def product(vector):
        return (gradient(at + epsilon * vector) - gradient(at - epsilon * vector)) / (2.0 * epsilon)

    return product


def divergence_gradient(problem: Problem, params: Params, blocks: Any, parallel_blocks: int = 2) -> Params:
    """Computes the gradient of the mean divergence over blocks, a nest like the parameters."""

    def of_block(params, block):
        return problem.divergence(problem.outputs(params, block), block), ()

    return meta_gradient(of_block, params, blocks, parallel_tasks=parallel_blocks).gradients


class TwoStages:
    """Splits a function of early and late arguments into a stage that needs only the early ones, and the rest.

    Conjugate gradient multiplies one Jacobian by many vectors. Automatic differentiation gives each product as one
    function of the parameters and the vector. After the split, all products of a step share the first stage.

    `function(early, late) -> (of_early, of_both)` becomes `first(early) -> (of_early, kept)` and
    `second(late, kept) -> of_both`.

    The function is traced once into a graph, which is cut where operations that depend on the late arguments take
    tensors that do not. Both stages are then called in the caller's graph.

    Args:
        function: `(early, late) -> (nest of tensors, nest of tensors)`, which must not read variables. The first nest
            must not depend on the late arguments.
        early: Nest of `tf.TensorSpec`.
        late: Nest of `tf.TensorSpec`.

    Attributes:
        kept: Specifications of the tensors that the first stage passes to the second.
        early_results: Nest of specifications of the results that depend only on the early arguments.
        results: Nest of specifications of the other results.

    Raises:
        ValueError: If a result of the first nest depends on the late arguments.

    Example:
    >>> import tensorflow as tf
    >>> from maml_tf.rl.hessian_products import TwoStages
    >>> scalar = tf.TensorSpec([], tf.float32)
    >>> stages = TwoStages(lambda early, late: (early + 1.0, tf.exp(early) * late), scalar, scalar)
    >>> of_early, kept = stages.first(tf.constant(0.0))
    >>> [float(stages.second(tf.constant(late), kept)) for late in (2.0, 3.0)]
    [2.0, 3.0]
    """

    def __init__(self, function: Callable[[Any, Any], Any], early: Any, late: Any):
        specs = [*tf.nest.flatten(early), *tf.nest.flatten(late)]
        count = len(tf.nest.flatten(early))

        def flat(*values):
            return function(
                tf.nest.pack_sequence_as(early, values[:count]), tf.nest.pack_sequence_as(late, values[count:])
            )

        whole = tf.compat.v1.wrap_function(flat, specs)
        arguments = whole.inputs[: len(specs)]
        of_early, of_both = whole.structured_outputs
        dependent = _dependent(whole.graph, arguments[count:])
        if any(tensor.op in dependent for tensor in tf.nest.flatten(of_early)):
            raise ValueError("Expected first results of only early arguments. Received: some that depend on late ones")
        cut = _cut(whole.graph, dependent, tf.nest.flatten(of_both))
        self._first = whole.prune(arguments[:count], [*tf.nest.flatten(of_early), *cut])
        self._second = whole.prune([*arguments[count:], *cut], tf.nest.flatten(of_both))
        self.kept = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in cut]
        self.early_results, self.results = tf.nest.map_structure(
            lambda t: tf.TensorSpec(t.shape, t.dtype), (of_early, of_both)
        )

    def first(self, early: Any) -> tuple[Any, list[tf.Tensor]]:
        """Computes the function's first results, and the tensors to keep, from the early arguments."""
        values = list(self._first(*tf.nest.flatten(early)))
        count = len(tf.nest.flatten(self.early_results))
        return tf.nest.pack_sequence_as(self.early_results, values[:count]), values[count:]

    def second(self, late: Any, kept: Sequence[tf.Tensor]) -> Any:
        """Computes the function's other results from the late arguments and what `first` kept."""
        return tf.nest.pack_sequence_as(self.results, self._second(*tf.nest.flatten(late), *kept))


def _dependent(graph: tf.Graph, late: Iterable[tf.Tensor]) -> set[tf.Operation]:
    """Finds the operations that depend on `late`."""
    dependent = {tensor.op for tensor in late}
    for operation in graph.get_operations():  # Inputs come before the operations that use them.
        if any(tensor.op in dependent for tensor in operation.inputs):
            dependent.add(operation)
    return dependent


def _cut(graph: tf.Graph, dependent: set[tf.Operation], results: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Finds the tensors that cross from the operations that are not `dependent` to those that are."""
    needed: set[tf.Operation] = set()
    waiting = [tensor.op for tensor in results]
    while waiting:
        operation = waiting.pop()
        if operation not in needed:
            needed.add(operation)
            waiting += [tensor.op for tensor in operation.inputs]
    crossing = [
        _narrowest(tensor)
        for operation in graph.get_operations()
        if operation in needed and operation in dependent
        for tensor in operation.inputs
        if tensor.op not in dependent and tensor.op.type != "Const"
    ]
    # A result that does not depend on `late` crosses too.
    crossing += [tensor for tensor in results if tensor.op not in dependent]
    return list({tensor.ref(): tensor for tensor in crossing}.values())


def _narrowest(tensor: tf.Tensor) -> tf.Tensor:
    """Returns the input of a cast to a wider type: it takes less memory, and casting it again is cheap."""
    while tensor.op.type == "Cast" and tensor.op.inputs[0].dtype.size < tensor.dtype.size:
        tensor = tensor.op.inputs[0]
    return tensor
