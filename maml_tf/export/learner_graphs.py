"""A learner's adaptation and prediction, in the form in which they are exported."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from maml_tf.algorithms.algorithm import Learned
from maml_tf.core import episode_checks
from maml_tf.core.faults import first_fault, no_fault
from maml_tf.core.keras_interface import layers_of, seed_variables
from maml_tf.core.task_functions import TaskState
from maml_tf.export.task_graphs import Adapted, Part, TaskGraphs, named, unnamed
from maml_tf.learner import MetaLearner

if TYPE_CHECKING:
    from maml_tf.rl.adaptation import PolicyAdaptation


class LearnerGraphs(TaskGraphs):
    """A learner's adaptation and prediction, the same as `learner.adapt` and `learner.predict`.

    Args:
        learner: The learner.
        specs: `(support_x, support_y, query_x)` of one task, nests of `tf.TensorSpec` [examples, ...]; None uses
            `learner.data_specs()`.
    """

    def __init__(self, learner: MetaLearner, specs: Any = None):
        self._learner = learner
        # `unroll` is a choice for speed, for a number of steps that Python knows.
        self._functions = copy.copy(learner.task_functions)
        self._functions.unroll = None
        if specs is None:
            specs = tf.nest.map_structure(
                lambda spec: tf.TensorSpec(spec.shape[1:], spec.dtype), learner.data_specs()
            )  # fmt: skip
        specs = tuple(
            tf.nest.map_structure(lambda spec: tf.TensorSpec([None, *spec.shape[1:]], spec.dtype), spec)
            for spec in specs
        )
        batched = tf.nest.map_structure(lambda spec: tf.TensorSpec([None, *spec.shape], spec.dtype), specs)
        episode_checks.check_inputs(batched, learner.model)
        self._of_tasks = dict(zip(("support_x", "support_y", "query_x"), specs, strict=True))
        self._of_task = dict(zip(("support_x", "support_y", "x"), specs, strict=True))
        self.support = {**named("support_x", specs[0]), **named("support_y", specs[1])}
        self.query = named("x", specs[2])
        if not learner.algorithm.learns_weights:
            raise ValueError(
                "Expected an algorithm that adapts weights of the model, because an export holds weights. "
                f"Received: {type(learner.algorithm).__name__}, which compares queries with the support set"
            )
        theta = self._functions.adapted(learner.meta_parameters().model)
        state = self._functions.functional.state_variables()
        seeds = {id(variable) for variable in seed_variables(learner.model)}
        self._kept = [id(variable) not in seeds for variable in state]
        self.parts = [Part(name, tuple(value.shape), value.dtype) for name, value in theta.items()]
        self.parts += [
            Part(f"state/{variable.path}", tuple(variable.shape), tf.as_dtype(variable.dtype))
            for variable, kept in zip(state, self._kept, strict=True)
            if kept
        ]

    def variables(self) -> list[tf.Variable]:
        learner = self._learner
        return [variable.value for variable in [*learner.model.variables, *learner.update_rule.variables]]

    def layers(self) -> list[str]:
        return [layer.name for layer in layers_of(self._learner.model)]

    def frozen(self) -> list[str]:
        functions = self._functions
        state = {id(variable) for variable in functions.functional.state_variables()}
        frozen = [one.path for one in self._learner.model.non_trainable_variables if id(one) not in state]
        return frozen + [name for name in functions.functional.names if name not in functions.adapted_names]

    def initial(self) -> list[tf.Tensor]:
        functions = self._functions
        theta = functions.adapted(self._learner.meta_parameters().model)
        return [*theta.values(), *self._without_seeds(functions.initial_state().model)]

    def adapt(self, weights, support, number):
        learner, functions = self._learner, self._functions
        (support_x, support_y), fault = self._fitted(support)
        theta = learner.meta_parameters()
        learned, losses = learner.algorithm.learn(functions, theta, None, (support_x, support_y), number)
        of_task = tf.stack([[learned.state.fault, no_fault()]])
        weights = [*learned.params.values(), *self._without_seeds(learned.state.model)]
        return Adapted(weights, losses, first_fault(of_task, sizes=fault))

    def begin(self, support: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        """Returns the values that inner steps carry, before the first step."""
        start = self._learner.algorithm.begin(
            self._functions, self._learner.meta_parameters(), None, self._set(support)
        )
        self._carried = start
        return tf.nest.flatten(start)

    def step(
        self, carried: Sequence[tf.Tensor], support: dict[str, tf.Tensor], number: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Takes one step, as `learner.adapt` does; called after `begin`.

        Returns:
            The carried values after the step, and the support loss before it.
        """
        losses, algorithm = [], copy.copy(self._learner.algorithm)

        def objective(*arguments):
            of_step = self._learner.algorithm.objective(*arguments)

            def noted(*arguments):
                loss, state = of_step(*arguments)
                losses.append(loss)
                return loss, state

            return noted

        algorithm.objective = objective
        learned = tf.nest.pack_sequence_as(self._carried, carried)
        learned = algorithm.advance(
            self._functions, self._learner.meta_parameters(), learned, self._set(support), number
        )  # fmt: skip
        # Prototypical networks compute no inner loss.
        return tf.nest.flatten(learned), losses[0] if losses else tf.zeros([])

    def finish(self, carried: Sequence[tf.Tensor], support: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        """Returns a task's weights after the last step; called after `begin`."""
        learned = tf.nest.pack_sequence_as(self._carried, carried)
        params = {**self._learner.meta_parameters().model, **learned.params}
        state = self._functions.settle(params, learned.state, self._set(support))
        return [*learned.params.values(), *self._without_seeds(state.model)]

    def predict(self, weights, query):
        learner, functions = self._learner, self._functions
        names = functions.adapted_names
        params = dict(zip(names, weights[: len(names)], strict=True))
        of_task = iter(weights[len(names) :])
        initial = functions.initial_state().model
        state = [next(of_task) if kept else value for value, kept in zip(initial, self._kept, strict=True)]
        learned = Learned(params, TaskState(state, no_fault()))
        x = unnamed("x", self._of_task["x"], query)
        outputs = learner.algorithm.predict(functions, learner.meta_parameters(), learned, x, training=False).outputs
        return named("outputs", outputs)

    def of_tasks(self) -> list[tf.TensorSpec]:
        """Lists the arguments of `adapt_and_predict`."""
        # An unrolled map repeats the graph for every task.
        tasks = 1 if self._learner.task_map == "unrolled" else None
        leaves = {name: spec for prefix, nest in self._of_tasks.items() for name, spec in named(prefix, nest).items()}
        return [tf.TensorSpec([tasks, *spec.shape], spec.dtype, name) for name, spec in leaves.items()]

    def adapt_and_predict(self, *arguments: tf.Tensor) -> dict[str, tf.Tensor]:
        """Adapts to each of several tasks and predicts its query set, as `learner.predict` does, with a task axis."""
        values = {spec.name: value for spec, value in zip(self.of_tasks(), arguments, strict=True)}
        inputs = tuple(unnamed(prefix, nest, values) for prefix, nest in self._of_tasks.items())
        return named("outputs", self._learner(inputs, training=False))

    def _set(self, support: dict[str, tf.Tensor]) -> tuple[Any, Any]:
        return tuple(unnamed(name, self._of_task[name], support) for name in ("support_x", "support_y"))

    def _fitted(self, support: dict[str, tf.Tensor]) -> tuple[tuple[Any, Any], list[tf.Tensor]]:
        """Compares the numbers of examples, as `maml_tf.core.episode_checks.fitted` does for a meta-batch."""
        x, y = self._set(support)
        x, y = tf.nest.map_structure(lambda leaf: leaf[tf.newaxis], (x, y))
        (x, y, _), _, faults = episode_checks.fitted((x, y, x), model=self._learner.model)
        return tf.nest.map_structure(lambda leaf: tf.squeeze(leaf, axis=0), (x, y)), faults

    def _without_seeds(self, state: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        return [value for value, kept in zip(state, self._kept, strict=True) if kept]


def graphs_of(model: MetaLearner | PolicyAdaptation, specs: Any = None) -> TaskGraphs:
    """Makes the functions of a learner or of a policy's adaptation.

    Args:
        model: The learner, or a `maml_tf.rl.adaptation.PolicyAdaptation`.
        specs: For a learner, see `LearnerGraphs`; for a policy None.

    Raises:
        TypeError: If `model` is neither.
        ValueError: If the specs do not match each other or the model, or are not known.
    """
    if isinstance(model, MetaLearner):
        return LearnerGraphs(model, specs)
    if type(model).__name__ == "PolicyAdaptation":
        # Imported here because it needs the extra rl.
        from maml_tf.export.policy_graphs import PolicyGraphs

        return PolicyGraphs(model)
    raise TypeError(
        "Expected a maml_tf.MetaLearner or a maml_tf.rl.adaptation.PolicyAdaptation. "
        f"Received: {model!r} of type {type(model).__name__}"
    )
