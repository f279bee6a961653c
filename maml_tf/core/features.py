"""A classifier split into features and the linear layer that turns them into logits, as pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from maml_tf.core.functional import FunctionalModel, ModelOutput
from maml_tf.core.keras_interface import is_layer_graph, layer_of_output
from maml_tf.core.task_loss import wrong_label


class Features:
    """The features before a model's output layer, with the names of that layer's parameters.

    Args:
        functional: A sequential or functional model that ends in a `keras.layers.Dense` with a bias and without
            activation.

    Attributes:
        kernel: Name of the output layer's kernel, [features, classes].
        bias: Name of its bias, [classes].
        classes: Number of classes.

    Raises:
        ValueError: If the model ends in something else.
    """

    def __init__(self, functional: FunctionalModel):
        model = functional.model
        layer, inputs = layer_of_output(model) if is_layer_graph(model) else (None, None)
        linear = type(layer) is keras.layers.Dense and layer.activation is keras.activations.linear and layer.use_bias
        if not linear or len(inputs.shape) != 2:
            raise ValueError(
                "Expected a sequential or functional model with one output, that of a Dense layer with a bias and "
                "without activation on features [examples, features]. "
                f"Received: {model.name!r}, which ends in {type(layer).__name__ if layer else 'other code'}"
            )
        names = {id(v): name for name, v in zip(functional.names, model.trainable_variables, strict=True)}
        if id(layer.kernel) not in names or id(layer.bias) not in names:
            raise ValueError(f"Expected a trainable output layer. Received: {layer.name!r} with trainable=False")
        self.kernel, self.bias = names[id(layer.kernel)], names[id(layer.bias)]
        self.classes = layer.units
        self._functional = FunctionalModel(keras.Model(model.inputs, inputs, name=f"{model.name}_features"))
        variables = self._functional.model.trainable_variables
        self._names = dict(zip(self._functional.names, (names[id(variable)] for variable in variables), strict=True))
        places = {id(variable): place for place, variable in enumerate(functional.state_variables())}
        self._places = [places[id(variable)] for variable in self._functional.state_variables()]

    def __call__(
        self, params: dict[str, tf.Tensor], state: Sequence[tf.Tensor], inputs: Any, training: bool
    ) -> ModelOutput:
        """Computes features [examples, features] of inputs [examples, ...].

        Args:
            params: A tensor for every variable path of the whole model.
            state: The values of the whole model's `state_variables`.
            inputs: The model's inputs.
            training: Keras' training flag.

        Returns:
            A `ModelOutput` in the dtype of the output layer, with the whole model's state.
        """
        own = {name: params[path] for name, path in self._names.items()}
        output = self._functional(own, [state[place] for place in self._places], inputs, training)
        after = list(state)
        for place, value in zip(self._places, output.state, strict=True):
            after[place] = value
        return ModelOutput(tf.cast(output.outputs, params[self.kernel].dtype), output.added_loss, after)

    def one_hot(self, labels: Any, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
        """Encodes integer labels.

        Args:
            labels: [examples] or [examples, 1].
            dtype: Data type of the result.

        Returns:
            Vectors [examples, classes], zeros for a wrong label; and the fault of wrong labels, float64 [3].

        Raises:
            ValueError: If there is not one label for each example.
        """
        if not tf.is_tensor(labels) or labels.shape.rank is None or labels.shape[1:] not in ([], [1]):
            received = f"shape {labels.shape}" if tf.is_tensor(labels) else f"{type(labels).__name__}"
            raise ValueError(f"Expected one integer label for each support example. Received: support_y of {received}")
        fault = wrong_label(labels, self.classes)
        return tf.one_hot(tf.cast(tf.reshape(labels, [-1]), tf.int32), self.classes, dtype=dtype), fault
