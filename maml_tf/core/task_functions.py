"""The pure functions of one supervised task: adaptation to labelled examples, prediction and loss."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from maml_tf.checks import flag
from maml_tf.core.adaptation import Params
from maml_tf.core.faults import first_of, no_fault
from maml_tf.core.features import Features
from maml_tf.core.functional import FunctionalModel, ModelOutput, bind
from maml_tf.core.padding import check_loss, of_present_classes
from maml_tf.core.selection import Selection
from maml_tf.core.task_loss import as_task_loss
from maml_tf.core.update_rules import UpdateRule


class TaskState(NamedTuple):
    """The state that an adaptation passes from step to step.

    Attributes:
        model: The values of the variables that a call may change: moving statistics, seeds and the number of the step.
        fault: The first fault of the support set's targets, float64 [3]; see `maml_tf.core.faults`.
        memory: What an algorithm keeps of the support set besides parameters, a nest of tensors.
    """

    model: list[tf.Tensor]
    fault: tf.Tensor
    memory: Any = ()


class TaskLossValue(NamedTuple):
    """The loss of a set of examples.

    Attributes:
        loss: A scalar that includes the losses that the model adds itself; NaN if the targets are wrong.
        outputs: The model's outputs.
        state: The new values of the variables that a call may change.
        fault: The targets' fault, float64 [3].
    """

    loss: tf.Tensor
    outputs: Any
    state: list[tf.Tensor]
    fault: tf.Tensor


class TaskFunctions:
    """The functions that meta-learning algorithms are composed of: adaptation, prediction and loss of one task.

    Args:
        model: A built Keras model.
        loss: The task loss, as Keras accepts it.
        update_rule: The inner update rule; it is built for the adapted variables.
        selection: Which variables adapt.
        unroll: Whether to unroll inner steps in the graph, see `maml_tf.core.adaptation.adapt`.
        ways_vary: Whether tasks may have fewer classes than the model has outputs; the other outputs then get a
            probability of 0.

    Attributes:
        functional: The model as a pure function.
        data_loss: The loss of targets and predictions, a function `(y_true, y_pred) -> scalar`.
        update_rule: The update rule.
        adapted_names: Paths of the variables that adapt.

    Raises:
        TypeError: If the selection is not a function.
        ValueError: If no variable is selected, a selected one is unknown, or the model is not built.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Any,
        update_rule: UpdateRule,
        selection: Selection,
        unroll: bool | None = None,
        ways_vary: bool = False,
    ):
        self.ways_vary = ways_vary
        if ways_vary:
            check_loss(loss)
        self.functional = FunctionalModel(model)
        self.data_loss = as_task_loss(loss)
        self.update_rule = update_rule
        self.unroll = unroll if unroll is None else flag("unroll", unroll)
        if not callable(selection):
            raise TypeError(
                "Expected adapted to be maml_tf.everything, maml_tf.head, maml_tf.matching(pattern) or a function from "
                f"a model to names of its trainable variables. Received: {selection!r}"
            )
        selected = selection(model)
        if not isinstance(selected, (list, tuple)):
            raise TypeError(f"Expected adapted to return a list of names. Received: {selected!r}")
        self.adapted_names = tuple(selected)
        if not self.adapted_names:
            raise ValueError(f"Expected a trainable variable to adapt. Received: none in {model.name!r}")
        names = self.functional.names
        unknown = set(self.adapted_names) - set(names)
        if unknown:
            raise ValueError(f"Expected names of trainable variables, some of {names}. Received: {sorted(unknown)}")
        self._names, self._made_of = names, self._parts()
        update_rule.build(self.adapted(self.parameters()))

    @functools.cached_property
    def features(self) -> Features:
        """The features before the model's output layer.

        Raises:
            ValueError: If the model does not end in a linear layer.
        """
        return Features(self.functional)

    def require_unchanged(self) -> None:
        """Raises if layers were added or frozen since: functions compiled before would not notice.

        Raises:
            ValueError: If the model's layers or trainable variables have changed.
        """
        if self._parts() == self._made_of:
            return
        changed = sorted(set(self.functional.names) ^ set(self._names))
        raise ValueError(
            "Expected the layers and trainable variables that the model had when the learner was made; make a new "
            f"learner after adding layers or changing `trainable`. Received: a change of {changed or 'layers'}"
        )

    def parameters(self) -> dict[str, tf.Tensor]:
        """Reads the trainable variables, by path.

        Raises:
            ValueError: If layers were added or frozen since this object was made.
        """
        self.require_unchanged()
        return self.functional.parameters()

    def adapted(self, params: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Picks the parameters that adapt."""
        return {name: params[name] for name in self.adapted_names}

    def rule_values(self) -> list[tf.Tensor]:
        """Reads the update rule's meta-learned variables."""
        return [tf.convert_to_tensor(variable) for variable in self.update_rule.trainable_variables]

    def initial_state(self, number: Any = None) -> TaskState:
        """Reads the state before the first inner step.

        Args:
            number: Number of the task in the meta-batch, on which its random seeds depend, or None.
        """
        return TaskState(self.functional.at_inner_step(self.functional.state(number), 0), no_fault())

    def objective(self, params: dict[str, tf.Tensor]) -> Callable[..., Any]:
        """Makes the inner objective, with the parameters that do not adapt as constants.

        Args:
            params: A tensor for every variable path.

        Returns:
            A function `(adapted, (support_x, support_y), step, state) -> (loss, state)` for `maml_tf.adapt`.
        """

        def objective(adapted, batch, step, state):
            before = self.functional.at_inner_step(state.model, step)
            value = self.loss({**params, **adapted}, before, *batch, training=True)
            after = self.functional.at_inner_step(value.state, step + 1)
            return value.loss, state._replace(model=after, fault=first_of(state.fault, value.fault))

        return objective

    def rule_bound(self, values: Sequence[tf.Tensor]) -> keras.StatelessScope:
        """Makes the update rule's meta-learned variables read as `values` inside a `with` block."""
        return bind(self.update_rule.trainable_variables, values)

    def settle(self, params: dict[str, tf.Tensor], state: TaskState, support: Any) -> TaskState:
        """Recomputes the support set's batch statistics with the adapted parameters, for layers that keep the last's.

        The last inner step computed them with the parameters before that step. Without such layers nothing is computed.

        Args:
            params: The adapted parameters, a tensor for every variable path.
            state: The state after the last step.
            support: `(support_x, support_y)`, each [support examples, ...].

        Returns:
            The state for predictions with training=False.
        """
        kept = self.functional.last_batch_statistics()
        if not any(kept):
            return state
        value = self.loss(params, state.model, *support, training=True)
        model = [new if last else old for new, old, last in zip(value.state, state.model, kept, strict=True)]
        return state._replace(model=model, fault=first_of(state.fault, value.fault))

    def loss(self, params: Params, state: Sequence[tf.Tensor], inputs: Any, targets: Any, training: bool):
        """Computes the loss of one task's examples, Equation 2 or 3, and the model's own added losses.

        Args:
            params: A tensor for every variable path.
            state: The values of the variables that a call may change.
            inputs: [examples, ...].
            targets: [examples, ...].
            training: Keras' training flag.

        Returns:
            A `TaskLossValue`.
        """
        return self.loss_of(self.functional(params, state, inputs, training), targets)

    def loss_of(self, output: ModelOutput, targets: Any) -> TaskLossValue:
        """Computes the loss of a model's output on [examples, ...], as `loss` does."""
        outputs, added, state = output
        if self.ways_vary:
            outputs = of_present_classes(outputs, targets)
        loss, fault = self.data_loss.checked(targets, outputs)
        return TaskLossValue(loss if added is None else loss + tf.cast(added, loss.dtype), outputs, state, fault)

    def _parts(self) -> tuple[int, ...]:
        """Identifies the model's layers and trainable variables, cheaply enough for every step."""
        return self.functional.parts()
