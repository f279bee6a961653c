"""The interface of meta-learning algorithms: pure functions of one task; a subclass overrides those that differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from maml_tf.core import adaptation
from maml_tf.core.functional import ModelOutput, nan_where_invalid
from maml_tf.core.keras_interface import masks_of
from maml_tf.core.over_tasks import task_gradient
from maml_tf.core.task_functions import TaskFunctions, TaskLossValue, TaskState


class MetaParameters(NamedTuple):
    """The meta-learned values.

    Attributes:
        model: A tensor for every trainable variable's path, theta.
        rule: The values of the update rule's meta-learned variables, such as step sizes.
    """

    model: dict[str, tf.Tensor]
    rule: list[tf.Tensor]


class Task(NamedTuple):
    """One task of a meta-batch.

    Attributes:
        number: Number of the task, on which random seeds depend; None for a single task.
        support: `(support_x, support_y)`, each [support examples, ...].
        query: `(query_x, query_y)`, each [query examples, ...].
    """

    number: tf.Tensor | None
    support: Any
    query: Any


class Learned(NamedTuple):
    """What a task has learned after some inner steps.

    Attributes:
        params: The parameters that adapt, by path.
        state: The state that is passed from step to step.
        rule_state: The update rule's state.
    """

    params: dict[str, tf.Tensor]
    state: TaskState
    rule_state: Any = ()


class Outcome(NamedTuple):
    """The results of a task besides its outer loss.

    Attributes:
        outputs: The model's outputs on the query set.
        masks: The outputs' masks.
        losses: [steps + 1]: the losses that must be finite, the last one being the outer loss.
        state: The new values of the model's non-trainable variables.
        faults: The faults of the support and the query set's targets, float64 [2, 3].
    """

    outputs: Any
    masks: Any
    losses: tf.Tensor
    state: list[tf.Tensor]
    faults: tf.Tensor


class Algorithm:
    """A meta-learning algorithm; without overrides it is exact MAML.

    The learner maps `gradient` over the tasks of a meta-batch and applies the mean; evaluation calls `begin`,
    `advance` and `predict`. A subclass overrides what differs; nothing else in the package has to change. In all
    methods, `functions` are the model's pure functions and `theta` the meta-parameters. `steps` is the number of inner
    steps, which `maml_tf.MetaLearner.adapt` passes as an integer tensor. `iteration` is the number of the training
    iteration, an integer tensor.

    Example:
    >>> import maml_tf
    >>> class Plain(maml_tf.Algorithm):  # No adaptation in training: the query loss of theta.
    ...     def loss(self, functions, theta, task, steps, iteration):
    ...         return super().loss(functions, theta, task, 0, iteration)
    """

    #: Whether to stop the gradient through the inner gradients.
    first_order = False
    #: Whether a task learns weights of the model, so that `maml_tf.MetaLearner.adapt` can return a model with them.
    learns_weights = True

    def check(self, functions: TaskFunctions) -> None:
        """Raises if the algorithm does not suit the model or the update rule; called when a learner is made."""

    def unused(self, functions: TaskFunctions) -> tuple[str, ...]:
        """Returns the names of the parameters on which the outer loss does not depend: their gradient is 0."""
        return ()

    def begin(self, functions: TaskFunctions, theta: MetaParameters, number: Any, support: Any) -> Learned:
        """Returns the start of a task's adaptation: those of theta's parameters that adapt."""
        params = functions.adapted(theta.model)
        return Learned(params, functions.initial_state(number), functions.update_rule.initial_state(params))

    def objective(self, functions: TaskFunctions, theta: MetaParameters, support: Any) -> Callable[..., Any]:
        """Returns the inner objective `(params, support, step, state) -> (loss, state)`: the support loss."""
        return functions.objective(theta.model)

    def adapt(self, functions: TaskFunctions, theta: MetaParameters, number: Any, support: Any, steps: int):
        """Adapts to one task, `theta_{i+1} = theta_i - alpha * grad L(theta_i)`, Section 2.2.

        Returns:
            `maml_tf.core.adaptation.Adaptation` of the parameters that adapt, with losses and states of every step.
        """
        start = self.begin(functions, theta, number, support)
        with functions.rule_bound(theta.rule):
            return adaptation.adapt(
                self.objective(functions, theta, support),
                start.params,
                support,
                functions.update_rule,
                steps=steps,
                unroll=functions.unroll,
                first_order=self.first_order,
                state=start.state,
            )

    def learn(
        self, functions: TaskFunctions, theta: MetaParameters, number: Any, support: Any, steps: int
    ) -> tuple[Learned, tf.Tensor]:
        """Adapts to one task for predictions with training=False.

        Returns:
            A `Learned`, with the batch statistics of `functions.settle`, and the support losses [steps].
        """
        result = self.adapt(functions, theta, number, support, steps)
        params = {**theta.model, **result.params}
        return Learned(result.params, functions.settle(params, result.state, support)), result.losses

    def advance(
        self, functions: TaskFunctions, theta: MetaParameters, learned: Learned, support: Any, step: Any
    ) -> Learned:
        """Takes one inner step, from which no outer gradient is computed."""
        with functions.rule_bound(theta.rule):
            result = adaptation.inner_step(
                self.objective(functions, theta, support),
                learned.params,
                support,
                functions.update_rule,
                step=step,
                state=learned.state,
                rule_state=learned.rule_state,
            )
        return Learned(result.params, result.state, result.rule_state)

    def predict(
        self, functions: TaskFunctions, theta: MetaParameters, learned: Learned, query_x: Any, training: bool
    ) -> ModelOutput:
        """Calls the adapted model on [query examples, ...]; `training` is Keras' flag.

        With training=False, outputs are NaN if an adapted parameter is not finite or the example contains NaN.
        """
        output = functions.functional({**theta.model, **learned.params}, learned.state.model, query_x, training)
        # In training the gradients show it.
        return output if training else nan_where_invalid(output, learned.params, query_x)

    def loss(
        self, functions: TaskFunctions, theta: MetaParameters, task: Task, steps: int, iteration: tf.Tensor
    ) -> tuple[tf.Tensor, Outcome]:
        """Returns the outer loss, which is the query loss after adaptation (Equation 1), and the other results."""
        adapted = self.adapt(functions, theta, task.number, task.support, steps)
        query_x, query_y = task.query
        output = self.predict(functions, theta, Learned(adapted.params, adapted.state), query_x, training=True)
        query = functions.loss_of(output, query_y)
        return query.loss, self.outcome(adapted, query)

    def outcome(self, adapted: adaptation.Adaptation, query: TaskLossValue) -> Outcome:
        """Collects a task's results besides its outer loss from its adaptation and its query loss."""
        return Outcome(
            query.outputs,
            masks_of(query.outputs),
            tf.concat([tf.cast(adapted.losses, query.loss.dtype), query.loss[tf.newaxis]], axis=0),
            query.state,
            tf.stack([adapted.state.fault, query.fault]),
        )

    def gradient(
        self, functions: TaskFunctions, theta: MetaParameters, task: Task, steps: int, iteration: tf.Tensor
    ) -> tuple[tf.Tensor, MetaParameters, Outcome]:
        """Returns the outer loss, its gradient with the structure of `theta`, and the other results."""
        unused = self.unused(functions)
        used = MetaParameters({name: value for name, value in theta.model.items() if name not in unused}, theta.rule)

        def loss(used: MetaParameters, task: Task) -> tuple[tf.Tensor, Outcome]:
            whole = MetaParameters({**theta.model, **used.model}, used.rule)
            return self.loss(functions, whole, task, steps, iteration)

        value, gradients, outcome = task_gradient(loss, used, task)
        zeros = {name: tf.zeros_like(theta.model[name]) for name in unused}
        return value, gradients._replace(model={**gradients.model, **zeros}), outcome

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, which are saved with a learner."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Algorithm:
        return cls(**config)


def require_no_learned_rule(functions: TaskFunctions, reason: str) -> None:
    """Raises if the update rule has variables, for algorithms that compute no gradient for them.

    Args:
        functions: The learner's pure functions.
        reason: Why the algorithm computes none, for the message.

    Raises:
        ValueError: If the rule has variables.
    """
    if learned := functions.update_rule.trainable_variables:
        raise ValueError(
            f"Expected an update rule without learned step sizes: {reason}. "
            f"Received: {functions.update_rule.name!r} with {len(learned)} variables"
        )
