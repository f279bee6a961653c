"""`MAML`: a Keras model that learns, by gradient descent through adaptation, how to adapt."""

from __future__ import annotations

import numbers
import threading
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from maml_tf.core import episode_checks, selection
from maml_tf.core.clone import clone
from maml_tf.core.finite_losses import FiniteTraining, NonFiniteLossError, require_finite
from maml_tf.core.functional import FunctionalModel
from maml_tf.core.keras_interface import KeepsInnerLosses, masks_of, with_masks
from maml_tf.core.meta_batch import examples_of, merged_states, numbered
from maml_tf.core.meta_gradient import MetaGradient, check_task_map, meta_gradient, over_tasks
from maml_tf.core.supervised_tasks import SupervisedTasks
from maml_tf.core.task_map import choose_jit_compile, choose_task_map
from maml_tf.core.update_rules import UpdateRule, as_update_rule
from maml_tf.diagnostics.unsupported_layers import warn_of_unsupported_layers


@keras.saving.register_keras_serializable(package="maml_tf")
class MAML(KeepsInnerLosses, FiniteTraining):
    """Model-agnostic meta-learning of any Keras model, Algorithms 1 and 2.

    Called on `(support_x, support_y, query_x)` it adapts the wrapped model to every task's support set and returns
    the predictions on its query set. `fit` minimises the mean query loss after adaptation (Equation 1). Data are
    `((support_x, support_y, query_x), query_y)`, each a tensor or nest with a leading task axis:
    support_x [tasks, support examples, ...], query_x [tasks, query examples, ...].

    Inner steps call the model with training=True, at meta-test too: adapting is training. The query call passes
    on Keras' own flag: True in `fit`, False in `evaluate` and `predict`.

    Args:
        model: A built Keras model; its variables are the meta-parameters theta, changed in place by `fit`.
        loss: The task loss: a Keras loss name, a Keras loss, a function `(y_true, y_pred)`, or a list or
            dictionary of these for a model with several outputs. Losses that the model adds itself count too.
        inner_learning_rate: The step size alpha, one for each inner step, or an update rule such as
            `maml_tf.LearnedStepSizes(0.01)`.
        inner_steps: Number of gradient steps of an adaptation.
        first_order: Whether to stop the gradient through the inner gradients (Section 5.2).
        adapted: Which variables the inner steps change: `maml_tf.everything`, `maml_tf.head` (ANIL) or
            `maml_tf.matching(pattern)`. All are meta-trained.
        task_map: How to go over tasks, see `maml_tf.core.meta_gradient.over_tasks`; "auto" chooses by model and
            device, and for a model with a `call` of its own the way that every model can go, "mapped".
        parallel_tasks: How many tasks are held in memory at once, at most; None for the number of the way over tasks.
        name: Name of the Keras model.
        **kwargs: Passed to `keras.Model`.

    Raises:
        TypeError: If `model` is not a Keras model, or `inner_learning_rate` is not one of the above.
        ValueError: If the model is not built or computes in float16, or a number is out of range.

    Source: Finn, Abbeel and Levine (2017), Sections 2.2 and 3.1.

    Example:
    >>> import keras
    >>> import maml_tf
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(1)])
    >>> learner = maml_tf.MAML(model, loss="mse", inner_learning_rate=0.01)
    >>> learner.compile(optimizer="adam")
    >>> x, y = keras.random.normal((4, 5, 1)), keras.random.normal((4, 5, 1))  # 4 tasks of 5 examples
    >>> history = learner.fit((x, y, x), y, batch_size=4, verbose=0)
    >>> learner.predict((x, y, x), verbose=0).shape
    (4, 5, 1)
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Any,
        inner_learning_rate: float | Sequence[float] | UpdateRule = 0.01,
        inner_steps: int = 1,
        first_order: bool = False,
        *,
        adapted: selection.Selection = selection.everything,
        task_map: str = "auto",
        parallel_tasks: int | None = None,
        name: str = "maml",
        **kwargs,
    ):
        tasks = SupervisedTasks(model, loss, as_update_rule(inner_learning_rate), adapted)
        # Tasks' tensors keep their dtypes: the wrapped model casts its own inputs, and labels stay labels.
        super().__init__(name=name, **{"dtype": model.dtype_policy, "autocast": False, **kwargs})
        self.model = model
        self.inner_steps = _at_least(1, "inner_steps", inner_steps)
        self.first_order = bool(first_order)
        self.update_rule = tasks.update_rule
        self.adapted = adapted
        self.task_map = choose_task_map(model) if task_map == "auto" else task_map
        self.parallel_tasks = parallel_tasks
        check_task_map(self.task_map, parallel_tasks)
        self.tasks = tasks
        self._loss_given = loss
        self._evaluating = threading.RLock()
        self.built = True
        if not self.first_order:
            warn_of_unsupported_layers(model)

    def compile(self, optimizer: Any = "adam", *, jit_compile: bool | str = "auto", **kwargs) -> None:
        """Configures training, as `keras.Model.compile`; the loss is the constructor's.

        Args:
            optimizer: The outer optimizer, of the meta-parameters.
            jit_compile: Whether to compile with XLA; "auto" does so for models of dense layers alone: per-task
                convolutions under XLA are ten times slower on a CPU.
            **kwargs: Keras' other arguments, such as metrics and steps_per_execution.

        Raises:
            ValueError: If a loss or loss weights are given.
        """
        for name in ("loss", "loss_weights"):
            if kwargs.get(name) is not None:
                raise ValueError(
                    f"Expected no {name} in compile(): MAML's inner and outer loss is the one given to its "
                    f"constructor, where functions can weight it. Received: {name}={kwargs[name]!r}"
                )
        if jit_compile == "auto":
            jit_compile = not kwargs.get("run_eagerly") and choose_jit_compile(self.model)
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)
        # Before any training, so that what is saved and what it is loaded into hold the same variables.
        self.optimizer.build(self.trainable_variables)

    @property
    def output_names(self) -> list[str]:
        """The names of the wrapped model's outputs, by which `compile` takes metrics of single ones."""
        return self.model.output_names

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Adapts to each task's support set and predicts its query set.

        Args:
            inputs: `(support_x, support_y, query_x)`, each with a leading task axis.
            training: Keras' flag for the query pass.

        Returns:
            The model's outputs on query_x, [tasks, query examples, ...].
        """
        inputs = episode_checks.check_inputs(inputs)
        tasks, params, rates = self.tasks, self.tasks.parameters(), self.tasks.rule_values()

        def predict_task(task):
            number, (support_x, support_y, query_x) = task
            adaptation = tasks.adapt(params, rates, number, (support_x, support_y), self.inner_steps)
            return tasks.predict(adaptation.params, adaptation.state, query_x, training)

        return over_tasks(predict_task, numbered(inputs), task_map=self.task_map, parallel_tasks=self.parallel_tasks)

    def meta_gradients(self, data: Any) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Computes the mean query loss after adaptation and its gradient, Equation 1.

        Many calls belong into a `tf.function`: outside of one each call traces the task's graph anew.

        Args:
            data: `((support_x, support_y, query_x), query_y)`, each with a leading task axis.

        Returns:
            The loss, a scalar, and a list of gradients in the order of `trainable_variables`: the model's first,
            then learned step sizes.

        Raises:
            ValueError: If the data do not fit together, or a variable has no gradient.
            LookupError: If an operation of the model has no second derivative.
            tf.errors.InvalidArgumentError: If a loss is not finite; the message holds the task and the step. In
                a function of yours under XLA, which drops assertions, the loss returned is not finite either.
        """
        result = self._meta_gradient(data)
        return result.loss, self._in_order(result.gradients)

    def adapt(self, support_x: Any, support_y: Any, steps: int | None = None) -> keras.Model:
        """Adapts a copy of the model to one task.

        Args:
            support_x: Inputs of one task, [support examples, ...].
            support_y: Targets, [support examples, ...].
            steps: Number of gradient steps, by default `inner_steps`; 0 copies the model.

        Returns:
            A model of the wrapped model's class with weights of its own; the original is untouched.

        Raises:
            ValueError: If the support set is empty or does not fit together, or `steps` is negative.
            NonFiniteLossError: If a loss is not finite; the message holds the step.
        """
        steps = self.inner_steps if steps is None else _at_least(0, "steps", steps)
        support = episode_checks.check_support(support_x, support_y)
        adaptation = self.tasks.adapt(self.tasks.parameters(), self.tasks.rule_values(), None, support, steps)
        for step, loss in enumerate(adaptation.losses):
            if not tf.math.is_finite(loss):
                raise NonFiniteLossError(
                    f"Expected finite losses of the support set. Received: {float(loss)} before inner step {step}"
                )
        adapted = clone(self.model)
        for variable, value in zip(adapted.trainable_variables, adaptation.params.values(), strict=True):
            variable.assign(value)
        FunctionalModel(adapted).assign_state(adaptation.state)
        return adapted

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Measures the query sets after adaptation, as `keras.Model.evaluate`; threads do so one after the other."""
        # They share the metrics' variables.
        with self._evaluating:
            return super().evaluate(*args, **kwargs)

    def train_step(self, data: Any) -> dict[str, Any]:
        inputs, targets = episode_checks.without_sample_weight(data)
        result = self._meta_gradient((inputs, targets))
        predictions, masks, losses, state = result.auxiliary

        def update():
            # Keras' optimizers add up the replicas' gradients.
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
            # An optimizer that scales the loss takes the scale out of the gradients again.
            scale = self.optimizer.scale_loss(1.0) / replicas
            gradients = [gradient * tf.cast(scale, gradient.dtype) for gradient in self._in_order(result.gradients)]
            self.optimizer.apply(gradients, self.trainable_variables)
            self.tasks.functional.assign_state(merged_states(state))

        # Neither the optimizer nor the moving statistics must see the result of a loss that is not finite.
        self.update_if_finite(losses, update)
        self._loss_tracker.update_state(result.loss, sample_weight=tf.shape(result.task_losses)[0])
        return self._metrics_of_examples(inputs[2], targets, predictions, masks)

    def test_step(self, data: Any) -> dict[str, Any]:
        (support_x, support_y, query_x), targets = episode_checks.check_data(episode_checks.without_sample_weight(data))
        tasks, params, rates = self.tasks, self.tasks.parameters(), self.tasks.rule_values()

        def measure(task):
            number, (support, query) = task
            adaptation = tasks.adapt(params, rates, number, support, self.inner_steps)
            loss, outputs, _ = tasks.loss(adaptation.params, adaptation.state, *query, training=False)
            return loss, outputs, masks_of(outputs)

        losses, predictions, masks = over_tasks(
            measure,
            numbered(((support_x, support_y), (query_x, targets))),
            task_map=self.task_map,
            parallel_tasks=self.parallel_tasks,
        )
        self._loss_tracker.update_state(tf.reduce_mean(losses), sample_weight=tf.shape(losses)[0])
        return self._metrics_of_examples(query_x, targets, predictions, masks)

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "model": serialize(self.model),
            "loss": serialize(self._loss_given),
            "inner_learning_rate": serialize(self.update_rule),
            "inner_steps": self.inner_steps,
            "first_order": self.first_order,
            "adapted": serialize(self.adapted),
            "task_map": self.task_map,
            "parallel_tasks": self.parallel_tasks,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> MAML:
        config = dict(config)
        for key in ("model", "loss", "inner_learning_rate", "adapted"):
            config[key] = keras.saving.deserialize_keras_object(config[key], custom_objects=custom_objects)
        return cls(**config)

    def _meta_gradient(self, data: Any) -> MetaGradient:
        (support_x, support_y, query_x), query_y = episode_checks.check_data(data)

        def outer_loss(params, task):
            number, (task_support, (task_query_x, task_query_y)) = task
            theta, rates = params
            adaptation = self.tasks.adapt(theta, rates, number, task_support, self.inner_steps, self.first_order)
            loss, outputs, state = self.tasks.loss(
                adaptation.params, adaptation.state, task_query_x, task_query_y, training=True
            )
            return loss, (outputs, masks_of(outputs), tf.stack([*adaptation.losses, loss]), state)

        result = meta_gradient(
            outer_loss,
            (self.tasks.parameters(), self.tasks.rule_values()),
            numbered(((support_x, support_y), (query_x, query_y))),
            task_map=self.task_map,
            parallel_tasks=self.parallel_tasks,
        )
        # Whatever uses the gradients waits for the assertion.
        with tf.control_dependencies(require_finite(result.auxiliary[2])):
            return tf.nest.map_structure(tf.identity, result)

    def _metrics_of_examples(self, query_x: Any, query_y: Any, predictions: Any, masks: Any) -> dict[str, Any]:
        """Hands the tasks' examples to the metrics one after the other, as they would come from the model alone."""
        query_x, query_y, predictions, masks = examples_of((query_x, query_y, predictions, masks))
        return self.compute_metrics(query_x, query_y, with_masks(predictions, masks), None)

    def _in_order(self, gradients) -> list[tf.Tensor]:
        theta, rates = gradients
        return [*(theta[name] for name in self.tasks.functional.names), *rates]


def _at_least(minimum: int, name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < minimum:
        raise ValueError(f"Expected {name} to be an integer of at least {minimum}. Received: {name}={value!r}")
    return int(value)
