"""Supervised tasks: what adapting a model to labelled examples, and measuring it on others, consists of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from maml_tf.core import adaptation
from maml_tf.core.adaptation import Adaptation, Params
from maml_tf.core.functional import FunctionalModel, bind
from maml_tf.core.selection import Selection
from maml_tf.core.task_loss import as_task_loss
from maml_tf.core.update_rules import UpdateRule


class SupervisedTasks:
    """The pure functions that MAML is composed of: adaptation, prediction and loss of one task.

    Args:
        model: A built Keras model.
        loss: The task loss, as Keras accepts it.
        update_rule: The inner update rule; it is built for the adapted variables.
        selection: Which variables adapt.

    Attributes:
        functional: The model as a pure function.
        data_loss: The loss of targets and predictions, a function `(y_true, y_pred) -> scalar`.
        update_rule: The update rule.
        adapted_names: Paths of the variables that adapt.

    Raises:
        TypeError: If the selection is no function.
        ValueError: If no variable is selected or an unknown one, or the model is not built.
    """

    def __init__(self, model: keras.Model, loss: Any, update_rule: UpdateRule, selection: Selection):
        self.functional = FunctionalModel(model)
        self._names = self.functional.names
        self.data_loss = as_task_loss(loss)
        self.update_rule = update_rule
        if not callable(selection):
            raise TypeError(
                "Expected adapted to be maml_tf.everything, maml_tf.head, maml_tf.matching(pattern) or a function from "
                f"a model to names of its trainable variables. Received: {selection!r}"
            )
        self.adapted_names = tuple(selection(model))
        if not self.adapted_names:
            raise ValueError(f"Expected a trainable variable to adapt. Received: none in {model.name!r}")
        unknown = set(self.adapted_names) - set(self.functional.names)
        if unknown:
            raise ValueError(
                f"Expected names of trainable variables, of {self.functional.names}. Received: {sorted(unknown)}"
            )
        update_rule.build(self.adapted(self.parameters()))

    def parameters(self) -> dict[str, tf.Tensor]:
        """Reads the model's parameters.

        Returns:
            A dictionary from variable path to tensor.

        Raises:
            ValueError: If other variables are trainable than when this object was made.
        """
        if self.functional.names != self._names:
            changed = sorted(set(self.functional.names) ^ set(self._names))
            raise ValueError(
                "Expected the trainable variables that there were when the learner was made; make a new one after "
                f"changing `trainable`. Received: a change of {changed}"
            )
        return self.functional.parameters()

    def adapted(self, params: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Picks the parameters that adapt.

        Args:
            params: A tensor for every variable path.

        Returns:
            A smaller dictionary.
        """
        return {name: params[name] for name in self.adapted_names}

    def rule_values(self) -> list[tf.Tensor]:
        """Reads the update rule's meta-learned variables.

        Returns:
            A list of tensors.
        """
        return [tf.convert_to_tensor(variable) for variable in self.update_rule.trainable_variables]

    def objective(self, params: dict[str, tf.Tensor]) -> Callable[..., Any]:
        """Makes the inner objective, with the parameters that do not adapt as constants.

        Args:
            params: A tensor for every variable path.

        Returns:
            A function `(adapted, (support_x, support_y), step, state) -> (loss, state)` for `maml_tf.adapt`.
        """

        def objective(adapted, batch, step, state):
            loss, _, state = self.loss({**params, **adapted}, state, *batch, training=True)
            return loss, state

        return objective

    def adapt(
        self,
        params: dict[str, tf.Tensor],
        rule_values: Sequence[tf.Tensor],
        number: Any,
        support: Any,
        steps: int,
        first_order: bool = False,
    ) -> Adaptation:
        """Adapts to one task.

        Args:
            params: A tensor for every variable path.
            rule_values: The update rule's meta-learned variables' values, as `rule_values()` returns them.
            number: Number of the task in the meta-batch, which its random seeds depend on, or None.
            support: `(support_x, support_y)`, each [support examples, ...].
            steps: Number of inner steps.
            first_order: Whether to stop the gradient through the inner gradients.

        Returns:
            An `Adaptation` whose `params` hold every variable, also those that do not adapt.
        """
        with bind(self.update_rule.trainable_variables, rule_values):
            adapted = adaptation.adapt(
                self.objective(params),
                self.adapted(params),
                [support] * steps,
                self.update_rule,
                first_order=first_order,
                state=self.functional.state(number),
            )
        return adapted._replace(params={**params, **adapted.params})

    def predict(self, params: Params, state: Any, inputs: Any, training: bool) -> Any:
        """Calls the model.

        Args:
            params: A tensor for every variable path.
            state: The non-trainable variables' values.
            inputs: [examples, ...].
            training: Keras' training flag.

        Returns:
            The model's outputs.
        """
        return self.functional(params, state, inputs, training).outputs

    def loss(self, params: Params, state: Any, inputs: Any, targets: Any, training: bool) -> tuple[Any, Any, Any]:
        """Computes the loss of one task's examples, Equation 2 or 3, and the model's own added losses.

        Args:
            params: A tensor for every variable path.
            state: The non-trainable variables' values.
            inputs: [examples, ...].
            targets: [examples, ...].
            training: Keras' training flag.

        Returns:
            The scalar loss, the outputs and the new state.
        """
        outputs, added, state = self.functional(params, state, inputs, training)
        loss = self.data_loss(targets, outputs)
        return (loss if added is None else loss + tf.cast(added, loss.dtype)), outputs, state
