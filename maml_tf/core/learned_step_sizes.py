"""An inner update rule whose step sizes are meta-learned: for each weight, layer, or layer and step."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from maml_tf.core.update_rules import UpdateRule, at_step

_GRANULARITIES = ("weight", "layer", "layer_and_step")


@keras.saving.register_keras_serializable(package="maml_tf")
class LearnedStepSizes(UpdateRule):
    """Gradient descent with meta-learned step sizes: `theta - alpha_j * gradient`, alpha_j trained with theta.

    Args:
        initial: Initial step size.
        granularity: "weight", one step size for every scalar weight (Meta-SGD); "layer", one for every layer;
            "layer_and_step", one for every layer and inner step.
        steps: Number of inner steps that have sizes of their own with "layer_and_step"; the last one's serve all
            later steps.

    Raises:
        ValueError: If the granularity is unknown or a number is out of range, or where it is built for a second model.

    Source: Section 2.2 ("the step size alpha may be fixed as a hyperparameter or meta-learned"); per weight: Li et
    al., Meta-SGD, 2017; per layer and step: Antoniou et al., How to train your MAML, 2019.

    Example:
    >>> from maml_tf import LearnedStepSizes
    >>> rule = LearnedStepSizes(0.5, granularity="layer")
    >>> rule.build({"dense/kernel": keras.ops.ones((2, 3)), "dense/bias": keras.ops.ones((3,))})
    >>> [variable.path for variable in rule.trainable_variables]
    ['learned_step_sizes/dense']
    """

    def __init__(self, initial: float = 0.01, granularity: str = "weight", steps: int = 1, **kwargs):
        super().__init__(**kwargs)
        if granularity not in _GRANULARITIES:
            raise ValueError(f"Expected granularity to be one of {_GRANULARITIES}. Received: {granularity!r}")
        if not initial >= 0 or steps < 1:
            raise ValueError(f"Expected initial >= 0 and steps >= 1. Received: initial={initial}, steps={steps}")
        self.initial, self.granularity, self.steps = float(initial), granularity, int(steps)
        self._step_sizes: dict[str, keras.Variable] = {}

    def build(self, params):
        if not isinstance(params, dict):
            raise ValueError(f"Expected a dictionary from variable path to value. Received: {type(params).__name__}")
        needed = {self._key(path): value for path, value in params.items()}
        made = {key: tuple(variable.shape) for key, variable in self._step_sizes.items()}
        if self.built and any(made.get(key) != self._shape(value) for key, value in needed.items()):
            raise ValueError(
                "Expected step sizes of their own for each model. "
                f"Received: {self.name!r}, built for {list(self._step_sizes)}, and a model with {list(needed)}"
            )
        for key, value in needed.items():
            if key not in self._step_sizes:
                self._step_sizes[key] = self.add_weight(
                    shape=self._shape(value),
                    # Keras' Constant goes by way of float32.
                    initializer=lambda shape, dtype: tf.fill(shape, tf.constant(self.initial, dtype)),
                    dtype=keras.backend.standardize_dtype(value.dtype),
                    name=key.replace("/", "."),
                )
        self.built = True

    def updates(self, gradients, params, step):
        if not self.built:
            raise ValueError("Expected build(params) to have been called. Received: an unbuilt LearnedStepSizes")
        return {path: self._step_size(path, step, gradient) * gradient for path, gradient in gradients.items()}

    def get_config(self):
        own = {"initial": self.initial, "granularity": self.granularity, "steps": self.steps}
        return {**super().get_config(), **own}

    def _key(self, path: str) -> str:
        return path if self.granularity == "weight" else path.rpartition("/")[0]

    def _shape(self, value: Any) -> tuple[int, ...]:
        return {"weight": tuple(value.shape), "layer": (), "layer_and_step": (self.steps,)}[self.granularity]

    def _step_size(self, path: str, step: int | tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        size = tf.convert_to_tensor(self._step_sizes[self._key(path)])
        return at_step(size, step, gradient) if self.granularity == "layer_and_step" else size
