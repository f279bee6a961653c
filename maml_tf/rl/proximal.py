"""Proximal policy optimisation as an outer step: several steps of Adam on the same rollouts, instead of a trust region.

Like `TrustRegion` it knows nothing of tasks or adaptation, which are in its `Problem`. Its loss keeps the policy near
the one that sampled, such as `ClippedSurrogate`.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from maml_tf.checks import number, whole_number
from maml_tf.core.over_tasks import mean_gradient, over_tasks
from maml_tf.rl.hessian_products import Params, Problem, loss_and_gradient


class ProximalStep(NamedTuple):
    """The outcome of an outer step.

    Attributes:
        params: The new parameters.
        loss_before: The mean loss at the old parameters.
        loss: The mean loss at the new ones.
        divergence: The mean divergence of the new ones from the old.
        more: Further measurements by name.
    """

    params: Params
    loss_before: tf.Tensor
    loss: tf.Tensor
    divergence: tf.Tensor
    more: dict[str, float]

    def measurements(self) -> dict[str, float]:
        """Returns what logs show of the step, by name."""
        return {
            "surrogate_before": float(self.loss_before),
            "surrogate": float(self.loss),
            "kl": float(self.divergence),
            **self.more,
        }


class ProximalSteps:
    """Minimises a problem's loss by several steps of Adam on the same blocks, compiled once.

    Adam's moments go on from one call to the next.

    Args:
        problem: What is minimised; its divergence is measured, not bounded.
        params: Dict of tensors with the shapes and dtypes of the parameters.
        epochs: Steps of Adam for each call, each on all blocks.
        learning_rate: Adam's step size.
        parallel_blocks: How many blocks to compute at once.

    Raises:
        ValueError: If a number is out of range.

    Source: Schulman et al., Proximal policy optimization algorithms, 2017.
    """

    def __init__(
        self,
        problem: Problem,
        params: Params,
        *,
        epochs: int = 5,
        learning_rate: float = 1e-3,
        parallel_blocks: int = 2,
    ):
        self.problem = problem
        self.epochs = whole_number("epochs", epochs, minimum=1)
        self.learning_rate = number("learning_rate", learning_rate, positive=True)
        self.parallel_blocks = whole_number("parallel_blocks", parallel_blocks, minimum=1)
        self._variables = {name: keras.Variable(value, dtype=value.dtype.name) for name, value in params.items()}
        self._optimizer = keras.optimizers.Adam(self.learning_rate)
        self._optimizer.build(list(self._variables.values()))
        # Not the methods themselves, whose traces TensorFlow counts over all objects.
        self._compiled_epoch = tf.function(functools.partial(self._epoch), autograph=False)
        self._compiled_measured = tf.function(functools.partial(self._measured), autograph=False)

    @property
    def state(self) -> dict[str, Any]:
        """What is carried from call to call, by name, for a checkpoint."""
        return {"outer_optimizer": self._optimizer}

    def __call__(self, params: Params, blocks: Any) -> ProximalStep:
        """Takes the steps.

        Args:
            params: Dict of float tensors, at which the divergence is 0.
            blocks: Nest of tensors with a leading [blocks] axis.

        Raises:
            ValueError: If the loss is not finite at the new parameters.
        """
        for name, variable in self._variables.items():
            variable.assign(params[name])
        losses = [self._compiled_epoch(blocks) for _ in range(self.epochs)]
        new = {name: tf.identity(variable.value) for name, variable in self._variables.items()}
        loss, divergence, more = self._compiled_measured(new, blocks)
        if not np.isfinite(loss):
            raise ValueError(
                f"Expected a finite loss after {self.epochs} outer steps of Adam with the step size "
                f"{self.learning_rate}. Received: {float(loss)}; a smaller outer or inner step size may help"
            )
        return ProximalStep(new, losses[0], loss, divergence, self._finished(more))

    def _epoch(self, blocks: Any) -> tf.Tensor:
        params = {name: variable.value for name, variable in self._variables.items()}
        params = tf.nest.map_structure(tf.convert_to_tensor, params)

        def of_block(block):
            loss, gradient, _ = loss_and_gradient(self.problem, params, block)
            return loss, gradient, ()

        result = mean_gradient(of_block, blocks, parallel_tasks=self.parallel_blocks)
        self._optimizer.apply([result.gradients[name] for name in self._variables], list(self._variables.values()))
        return result.loss

    def _measured(self, params: Params, blocks: Any) -> tuple[tf.Tensor, tf.Tensor, Any]:
        def of_block(block):
            outputs = self.problem.outputs(params, block)
            return (
                self.problem.loss(outputs, block),
                self.problem.divergence(outputs, block),
                self._measured_of_block(outputs, block),
            )

        values = over_tasks(of_block, blocks, parallel_tasks=self.parallel_blocks)
        return tf.nest.map_structure(lambda leaf: tf.reduce_mean(leaf, axis=0), values)

    def _measured_of_block(self, outputs: Any, block: Any) -> Any:
        """Returns a nest of tensors, whose means over blocks go to `_finished`."""
        return ()

    def _finished(self, means: Any) -> dict[str, float]:
        """Learns from the means of what was measured; returns what logs show of them."""
        return {}
