"""Inner steps as a `tf.while_loop`: graph size and tracing time do not grow with the number of steps.

Of every step, memory holds only what is carried to the next step. The backward pass computes the rest of a step again
and takes the vector-Jacobian product of one step at a time, `v_k = v_{k+1} d theta_{k+1} / d theta_k`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import record  # No public function tells whether a tape watches a tensor.


class Steps(Sequence):
    """The carried values before the first step and after each step, stacked; item k holds those after k steps.

    Args:
        last: The item after the last step.
        stacked: Nest of tensors [steps + 1, ...].
        steps: Number of steps, an integer or a tensor.
    """

    def __init__(self, last: Any, stacked: Any, steps: int | tf.Tensor):
        self._last, self._stacked, self._steps = last, stacked, steps

    def __len__(self) -> int:
        if tf.is_tensor(self._steps):
            raise TypeError("Expected a number of steps known to Python. Received: a tensor; index with a tensor")
        return self._steps + 1

    def __getitem__(self, step: int | slice | tf.Tensor) -> Any:
        if isinstance(step, slice):
            return [self[each] for each in range(len(self))[step]]
        if not tf.is_tensor(step):
            if step == -1:
                return self._last
            if not tf.is_tensor(self._steps):
                step = range(len(self))[step]  # Raises the IndexError that ends an iteration.
        return tf.nest.map_structure(lambda leaf: leaf[step], self._stacked)


def loop_of_steps(one: Callable[[Any, tf.Tensor], tuple[Any, tf.Tensor]], carried: Any, steps: int | tf.Tensor):
    """Takes steps in a loop that is differentiable with respect to `carried` and all tensors that `one` reads.

    Args:
        one: `(carried, step) -> (carried, loss)`; the shapes of `carried` do not change, and the loss is a scalar.
        carried: Nest of tensors, the values before the first step.
        steps: Number of steps, an integer or a scalar integer tensor.

    Returns:
        `Steps`, and the losses [steps].
    """
    steps = tf.cast(steps, tf.int32) if tf.is_tensor(steps) else steps
    leaves = [tf.convert_to_tensor(leaf) for leaf in tf.nest.flatten(carried)]
    dtypes = [leaf.dtype for leaf in leaves]

    def of_leaves(leaves, step):
        new, loss = one(tf.nest.pack_sequence_as(carried, leaves), step)
        return tf.nest.flatten(new), loss

    # Traced once; the backward pass differentiates the trace.
    specs = [tf.TensorSpec(leaf.shape, leaf.dtype) for leaf in leaves]
    traced = tf.function(of_leaves, autograph=False).get_concrete_function(specs, tf.TensorSpec([], tf.int32))
    # What the step reads besides its arguments, such as parameters that do not adapt.
    captured = [tensor for tensor in traced.captured_inputs if tensor.dtype.is_floating and _is_followed(tensor)]
    read = [variable for variable in traced.trainable_variables if _is_followed(variable.handle)]
    numbers = [index for index, dtype in enumerate(dtypes) if dtype.is_floating]
    loss_dtype = traced.structured_outputs[1].dtype

    def step_of(leaves, step):
        new, loss = traced(leaves, step)
        return [tf.ensure_shape(leaf, old.shape) for leaf, old in zip(new, leaves, strict=True)], loss

    @tf.custom_gradient
    def run(*inputs):
        given = dict(zip(numbers, inputs, strict=False))
        start = [given.get(index, leaf) for index, leaf in enumerate(leaves)]
        kept = [_put(_zeros(steps + 1, leaf), 0, leaf) for leaf in start]

        def forth(step, leaves, kept, losses):
            new, loss = step_of(leaves, step)
            kept = [_put(all_steps, step + 1, leaf) for all_steps, leaf in zip(kept, new, strict=True)]
            return step + 1, new, kept, _put(losses, step, loss)

        start = tf.constant(0), start, kept, _zeros(steps, tf.zeros([], loss_dtype))
        _, last, kept, losses = tf.while_loop(lambda step, *_: step < steps, forth, start, parallel_iterations=1)

        def gradient(*cotangents, variables=()):
            of_last = [_dense(cotangents[index]) for index in numbers]
            of_kept = [_dense(cotangents[len(leaves) + index]) for index in numbers]
            of_losses = _dense(cotangents[-1])
            flowing = [value + of_steps[steps] for value, of_steps in zip(of_last, of_kept, strict=True)]

            def back(step, flowing, collected):
                before = [
                    tf.ensure_shape(all_steps[step], leaf.shape) for all_steps, leaf in zip(kept, leaves, strict=True)
                ]
                sources = [[before[index] for index in numbers], [*captured, *read]]
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch(sources)
                    new, loss = step_of(before, step)
                targets = [*(new[index] for index in numbers), loss]
                flowing, more = tape.gradient(
                    targets, sources, [*flowing, of_losses[step]], unconnected_gradients=tf.UnconnectedGradients.ZERO
                )
                flowing = [_dense(value) + all_steps[step] for value, all_steps in zip(flowing, of_kept, strict=True)]
                collected = [sofar + _dense(value) for sofar, value in zip(collected, more, strict=True)]
                return step - 1, flowing, collected

            last_step = tf.convert_to_tensor(steps - 1)
            nothing = [tf.zeros_like(tensor) for tensor in [*captured, *read]]
            _, flowing, collected = tf.while_loop(
                lambda step, *_: step >= 0, back, (last_step, flowing, nothing), parallel_iterations=1
            )
            of_read = {variable.ref(): value for variable, value in zip(read, collected[len(captured) :], strict=True)}
            of_inputs = [*flowing, *collected[: len(captured)]]
            return (of_inputs, [of_read.get(variable.ref()) for variable in variables]) if variables else of_inputs

        return [*last, *kept, losses], gradient

    *results, losses = run(*(leaves[index] for index in numbers), *captured)
    last, kept = (tf.nest.pack_sequence_as(carried, part) for part in (results[: len(leaves)], results[len(leaves) :]))
    return Steps(last, kept, steps), losses


def _is_followed(tensor: tf.Tensor) -> bool:
    return record.should_record_backprop([tensor])


def _zeros(steps: int | tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    return tf.zeros(tf.concat([[steps], tf.shape(like)], axis=0), like.dtype)


def _put(all_steps: tf.Tensor, step: int | tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    return tf.tensor_scatter_nd_update(all_steps, [[step]], value[tf.newaxis])


def _dense(value: Any) -> tf.Tensor:
    """Makes sparse gradients, such as an embedding's or a slice's, dense."""
    return tf.convert_to_tensor(value)
