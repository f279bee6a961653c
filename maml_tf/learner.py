"""`MetaLearner`, a Keras model that learns to adapt with any meta-learning algorithm, and `MAML`, which uses MAML."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from maml_tf.algorithms import Algorithm, Learned, MetaParameters, ModelAgnostic, Task, algorithms
from maml_tf.checks import flag, whole_number
from maml_tf.core import episode_checks, selection
from maml_tf.core.clone import clone
from maml_tf.core.conversions import conversions, convert
from maml_tf.core.faults import (
    FaultCheckedModel,
    NonFiniteLossError,
    error_of,
    first_fault,
    first_of,
    gradient_fault,
    raise_in_graph,
)
from maml_tf.core.functional import FunctionalModel
from maml_tf.core.keras_interface import WrapsModel, apply_alike, logs_of_replica, masks_of, with_masks
from maml_tf.core.low_rank import keep_factors
from maml_tf.core.over_tasks import (
    MetaGradient,
    check_task_map,
    choose_jit_compile,
    choose_task_map,
    examples_of,
    mean_gradient,
    mean_gradient_of_replicas,
    mean_over_tasks,
    numbered,
    over_tasks,
    shares_of_replicas,
)
from maml_tf.core.padding import Padding, of_present_classes
from maml_tf.core.replicas import Shares, merged_states
from maml_tf.core.task_functions import TaskFunctions, TaskState
from maml_tf.core.update_rules import UpdateRule, as_update_rule
from maml_tf.diagnostics.unsupported_layers import warn_of_unsupported_layers


@keras.saving.register_keras_serializable(package="maml_tf")
class MetaLearner(WrapsModel, FaultCheckedModel):
    """Meta-learning of any Keras model with any algorithm of `maml_tf.algorithms`.

    Called on `(support_x, support_y, query_x)`, it adapts the wrapped model to every task's support set and returns
    the predictions on the query sets. `fit` minimises the algorithm's outer loss, for MAML the mean query loss after
    adaptation (Equation 1). Data are `((support_x, support_y, query_x), query_y)`, each a tensor or nest with a leading
    task axis: support_x [tasks, support examples, ...], query_x [tasks, query examples, ...].

    Inner steps call the model with training=True, also at meta-test, because adaptation is training. The query pass
    gets Keras' flag: True in `fit`, False in `evaluate` and `predict`. Before a query pass with False, layers that keep
    the last batch's statistics (batch normalization with momentum 0) see the support set once more.

    Args:
        model: A built Keras model; its variables are the meta-parameters theta, changed in place by `fit`.
        loss: The task loss: a Keras loss name, a Keras loss, a function `(y_true, y_pred)`, or a list or
            dictionary of these for a model with several outputs. Losses that the model adds itself are included.
        algorithm: Name of an algorithm of `maml_tf.algorithms.algorithms`, or an `Algorithm`.
        inner_learning_rate: The step size alpha, one for each inner step, or an update rule such as
            `maml_tf.LearnedStepSizes(0.01)`.
        inner_steps: Number of gradient steps of an adaptation.
        adapted: Which variables the inner steps change: `maml_tf.everything`, `maml_tf.head` (ANIL) or
            `maml_tf.matching(pattern)`. All are meta-trained.
        task_map: How to map over tasks, see `maml_tf.core.over_tasks.over_tasks`. "auto" chooses by model and device;
            for a model with its own `call` it chooses "mapped", which supports every model.
        parallel_tasks: The greatest number of tasks in memory at once; None uses the task map's default.
        unroll: True repeats inner steps in the graph, False runs them in a loop; None chooses by their number. See
            `maml_tf.adapt`.
        padding_label: A negative label, such as -1, of examples that pad a task's sets to the largest size in a
            meta-batch. The model never sees them, so tasks may have different numbers of examples. They may also have
            different numbers of classes, if every set holds each class of its task; the remaining outputs then get a
            probability of 0. The loss must be `keras.losses.SparseCategoricalCrossentropy(from_logits=True)`; tasks are
            not merged, and XLA is not used. `predict` gets no query labels, and does not remove padding from query_x.
        in_task_order: Whether replicas of a `tf.distribute` strategy exchange the gradient of every task instead of
            their sum, and add them up in the order of the tasks. With task_map="mapped" and without XLA, the trained
            weights are then bitwise equal for any number of replicas.
        name: Name of the Keras model.
        **kwargs: Passed to `keras.Model`.

    Raises:
        TypeError: If `model` is not a Keras model, or another argument has the wrong type.
        ValueError: If the model is not built or computes in float16, a name is unknown, or a number is out of range.

    Example:
    >>> import keras
    >>> import maml_tf
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(1)])
    >>> learner = maml_tf.MetaLearner(model, loss="mse", algorithm="maml_first_order")
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
        algorithm: str | Algorithm = "maml",
        inner_learning_rate: float | Sequence[float] | UpdateRule = 0.01,
        inner_steps: int = 1,
        *,
        adapted: selection.Selection = selection.everything,
        task_map: str = "auto",
        parallel_tasks: int | None = None,
        unroll: bool | None = None,
        padding_label: int | None = None,
        in_task_order: bool = False,
        name: str = "meta_learner",
        **kwargs,
    ):
        if isinstance(algorithm, str):
            algorithm = algorithms[algorithm]
        if not isinstance(algorithm, Algorithm):
            raise TypeError(
                f"Expected algorithm to be a name of {list(algorithms)} or a maml_tf.Algorithm. Received: {algorithm!r}"
            )
        padding = None if padding_label is None else Padding(padding_label)
        functions = TaskFunctions(
            model, loss, as_update_rule(inner_learning_rate), adapted, unroll, ways_vary=padding is not None
        )
        algorithm.check(functions)
        keep_factors(model)
        # Keras must not cast the tasks' tensors: the wrapped model casts its inputs, and labels keep their dtype.
        super().__init__(name=name, **{"dtype": model.dtype_policy, "autocast": False, **kwargs})
        self.model = model
        self.algorithm = algorithm
        self.inner_steps = whole_number("inner_steps", inner_steps, minimum=1)
        self.update_rule = functions.update_rule
        self.adapted = adapted
        self.padding = padding
        if task_map == "auto":
            task_map = "mapped" if padding else choose_task_map(model)
        self.task_map = task_map
        self.parallel_tasks = parallel_tasks
        self.in_task_order = flag("in_task_order", in_task_order)
        check_task_map(self.task_map, parallel_tasks)
        if padding and task_map == "vectorized":
            raise ValueError(
                "Expected task_map to be 'mapped' or 'unrolled' with padding_label: tasks of different sizes cannot be "
                "merged. Received: task_map='vectorized'"
            )
        self.task_functions = functions
        self._loss_given = loss
        # In a namespace, because Keras wraps dictionaries that are attributes.
        self._fed = types.SimpleNamespace(inputs=None)
        self._compiled = types.SimpleNamespace(adaptations={})
        self.built = True
        if not algorithm.first_order:
            warn_of_unsupported_layers(model, stacklevel=3 if type(self) is MetaLearner else 4)

    @property
    def first_order(self) -> bool:
        """Whether the gradient through the inner gradients is stopped."""
        return self.algorithm.first_order

    def compile(self, optimizer: Any = "adam", *, jit_compile: bool | str = "auto", **kwargs) -> None:
        """Configures training, as `keras.Model.compile`, but with the constructor's loss.

        Args:
            optimizer: The outer optimizer, of the meta-parameters.
            jit_compile: Whether to compile with XLA. "auto" does so only for models of dense layers, because per-task
                convolutions under XLA are ten times slower on a CPU.
            **kwargs: Keras' other arguments, such as metrics and steps_per_execution.

        Raises:
            ValueError: If a loss or loss weights are given.
        """
        for name in ("loss", "loss_weights"):
            if kwargs.get(name) is not None:
                raise ValueError(
                    f"Expected no {name} in compile(): the loss is an argument of the learner's constructor, and may "
                    f"be a function that weights it. Received: {name}={kwargs[name]!r}"
                )
        if jit_compile != "auto":
            jit_compile = flag("jit_compile", jit_compile)
        else:
            jit_compile = not (self.padding or kwargs.get("run_eagerly")) and choose_jit_compile(self.model)
        if jit_compile and self.padding:
            raise ValueError(
                "Expected jit_compile=False with padding_label: XLA needs tasks of the same size. "
                "Received: jit_compile=True"
            )
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)
        # Built before training, so that a saved learner and the one it is loaded into have the same variables.
        self.optimizer.build(self.trainable_variables)

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        if kwargs.get("class_weight") is not None:
            received = kwargs["class_weight"]
            raise ValueError(
                f"Expected no class_weight: the loss can weight classes. Received: class_weight={received}"
            )
        return super().fit(x, y, *args, **kwargs)

    def check_arguments(self, x: Any, y: Any, inputs_alone: bool) -> None:
        episode_checks.check_before(self.model, x, y, inputs_alone=inputs_alone)

    @property
    def output_names(self) -> list[str]:
        """The names of the wrapped model's outputs, which `compile` uses for metrics of single outputs."""
        return self.model.output_names

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))

    def meta_parameters(self) -> MetaParameters:
        """Reads the meta-learned values: the model's parameters, and those of the update rule."""
        return MetaParameters(self.task_functions.parameters(), self.task_functions.rule_values())

    def over_tasks(self, function: Any, tasks: Any) -> Any:
        """Applies a function to each task with the learner's task map; see `maml_tf.core.over_tasks.over_tasks`."""
        return over_tasks(function, tasks, task_map=self.task_map, parallel_tasks=self.parallel_tasks)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Adapts to each task's support set and predicts its query set.

        Args:
            inputs: `(support_x, support_y, query_x)`, each with a leading task axis.
            training: Keras' flag for the query pass.

        Returns:
            The model's outputs on query_x, [tasks, query examples, ...].

        Raises:
            ValueError: If the shapes of the inputs do not match each other or the model.
        """
        inputs = episode_checks.check_inputs(inputs, self.model)
        self._remember(inputs)
        # An exported function may be called with arrays of other shapes than those of its graph.
        inputs = tf.nest.map_structure(lambda leaf: tf.ensure_shape(leaf, leaf.shape), inputs)
        inputs, _, sizes = episode_checks.fitted(inputs, model=self.model)
        outputs, faults = self._predict(inputs, training)
        fault = first_fault(faults, sizes=sizes)
        with tf.control_dependencies(raise_in_graph(fault)):
            return tf.nest.map_structure(tf.identity, outputs)

    def meta_gradients(self, data: Any) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Computes the mean outer loss over tasks and its gradient, for MAML Equation 1.

        Use a `tf.function` for repeated calls: outside of one, each call traces the task's graph again.

        Args:
            data: `((support_x, support_y, query_x), query_y)`, each with a leading task axis.

        Returns:
            The loss, a scalar, and a list of gradients in the order of `trainable_variables`: the model's first,
            then learned step sizes. Zeros if there are no tasks.

        Raises:
            ValueError: If the shapes of the data do not match, or a variable has no gradient.
            LookupError: If an operation of the model has no second derivative.
            tf.errors.InvalidArgumentError: If a loss is not finite, or labels are out of range; the message holds the
                task. XLA drops assertions: in your own function under XLA, the returned loss is not finite instead.
        """
        inputs, targets, sizes = episode_checks.fitted(*episode_checks.check_data(data, self.model), self.model)
        result = self._meta_gradient(inputs, targets)
        with tf.control_dependencies(raise_in_graph(self._first_fault(result, sizes))):
            return tf.identity(result.loss), [tf.identity(gradient) for gradient in self._in_order(result.gradients)]

    def adapt(self, support_x: Any, support_y: Any, steps: int | None = None) -> keras.Model:
        """Adapts a copy of the model to one task.

        Args:
            support_x: Inputs of one task, [support examples, ...].
            support_y: Targets, [support examples, ...].
            steps: Number of gradient steps, by default `inner_steps`; 0 copies the model.

        Returns:
            A model of the wrapped model's class that shares no variable with it; the wrapped model does not change.

        Raises:
            ValueError: If the support set is empty, its shapes do not match each other or the model, or `steps` is not
                a whole number of at least 0; or if the algorithm keeps the support set instead of adapting weights.
            NonFiniteLossError: If a loss or an adapted weight is not finite; the message holds the step.
        """
        if not self.algorithm.learns_weights:
            raise ValueError(
                "Expected an algorithm that adapts weights of the model; `predict` and `evaluate` support all others. "
                f"Received: {type(self.algorithm).__name__}, which compares queries with the support set"
            )
        steps = self.inner_steps if steps is None else whole_number("steps", steps, minimum=0)
        support = episode_checks.check_support(support_x, support_y, self.model)
        if self.padding:
            support = self.padding.cut(*support)[0]
        self.check_before_step()
        params, state, losses = self._adapting(*support, steps)
        if error := error_of(first_fault(tf.stack([[state.fault, tf.zeros_like(state.fault)]])).numpy()):
            raise error
        for step, loss in enumerate(losses.numpy()):
            if not np.isfinite(loss):
                raise NonFiniteLossError(
                    f"Expected finite losses of the support set. Received: {loss} before inner step {step}"
                )
        for name, value in params.items():
            if not tf.reduce_all(tf.math.is_finite(value)):
                raise NonFiniteLossError(
                    f"Expected finite weights after {steps} inner steps; a smaller step size may help. "
                    f"Received: NaN or infinity in {name!r}"
                )
        adapted = clone(self.model)
        for variable, value in zip(adapted.trainable_variables, params.values(), strict=True):
            variable.assign(value)
        FunctionalModel(adapted).assign_state(state.model)
        return adapted

    def train_step(self, data: Any) -> dict[str, Any]:
        inputs, targets = episode_checks.check_data(episode_checks.without_sample_weight(data), self.model)
        self._remember(inputs)
        inputs, targets, sizes = episode_checks.fitted(inputs, targets, self.model)
        shares = shares_of_replicas(targets)
        result = self._meta_gradient(inputs, targets, shares)
        functional = self.task_functions.functional
        merged = merged_states(result.auxiliary.state, functional.state(), shares, in_task_order=self.in_task_order)
        state = functional.at_inner_step(merged, 0)

        def update():
            # An optimizer that scales the loss divides the gradients by the scale.
            scale = self.optimizer.scale_loss(1.0)
            gradients = [gradient * tf.cast(scale, gradient.dtype) for gradient in self._in_order(result.gradients)]
            apply_alike(self.optimizer, gradients, self.trainable_variables)
            functional.assign_state(state)

        # A step with a fault, or without tasks, must change neither the optimizer nor the moving statistics.
        sound = self.note(self._first_fault(result, sizes, shares.earlier))
        self.update_if(sound if result.task_losses.shape[0] else sound & (shares.total > 0), update)
        self.loss_metric.update_state(result.loss, sample_weight=shares.own)
        return self._metrics_of_examples(inputs[2], targets, result.auxiliary.outputs, result.auxiliary.masks)

    def test_step(self, data: Any) -> dict[str, Any]:
        inputs, targets = episode_checks.check_data(episode_checks.without_sample_weight(data), self.model)
        self._remember(inputs)
        (support_x, support_y, query_x), targets, sizes = episode_checks.fitted(inputs, targets, self.model)
        functions, theta = self.task_functions, self.meta_parameters()

        def measure(task):
            whole = Task(*task)
            task, restored = self.without_padding(whole)
            learned = self._learn(theta, task)
            query_x, query_y = task.query
            output = self.algorithm.predict(functions, theta, learned, query_x, training=False)
            query = functions.loss_of(output, query_y)
            faults = tf.stack([learned.state.fault, query.fault])
            return query.loss, restored(query.outputs), self._masks(query.outputs, whole), faults

        shares = shares_of_replicas(targets)
        losses, predictions, masks, faults = self.over_tasks(
            measure, (numbered(targets, shares)[0], (support_x, support_y), (query_x, targets))
        )
        self.note(first_fault(faults, sizes=sizes, earlier=shares.earlier))
        self.loss_metric.update_state(mean_over_tasks(losses), sample_weight=tf.shape(losses)[0])
        return self._metrics_of_examples(query_x, targets, predictions, masks)

    def predict_step(self, data: Any) -> tuple[Any, tf.Tensor]:
        inputs = keras.utils.unpack_x_y_sample_weight(data)[0]
        inputs = episode_checks.check_inputs(inputs, self.model)
        self._remember(inputs)
        inputs, _, sizes = episode_checks.fitted(inputs, model=self.model)
        outputs, faults = self._predict(inputs, training=False)
        sizes = [tf.tile(size[tf.newaxis, tf.newaxis], [1, 2, 1]) for size in sizes]
        # Faults of sizes are added as rows; `predict_function` checks all rows outside of the graph.
        return outputs, tf.concat([*sizes, faults], axis=0)

    def check_before_step(self) -> None:
        self.task_functions.require_unchanged()

    def export(
        self,
        filepath: Any,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> None:
        """Exports adaptation and prediction for serving, as `keras.Model.export`.

        Args:
            filepath: Folder or file to write.
            format: Keras' name of the format.
            verbose: Whether Keras prints a summary.
            input_signature: `[(support_x, support_y, query_x)]` as `tf.TensorSpec`s; by default `data_specs()`.
            **kwargs: Keras' other arguments.

        Raises:
            ValueError: If `data_specs` does not know the signature.
        """
        input_signature = [self.data_specs()] if input_signature is None else input_signature
        super().export(filepath, format, bool(verbose), input_signature, **kwargs)

    def data_specs(self) -> tuple[Any, Any, Any]:
        """Returns the dtypes and shapes of `(support_x, support_y, query_x)`, as nests of `tf.TensorSpec`.

        They are those of the data that the learner was last trained, evaluated or called on. For a learner without data
        they follow from the model's single input and output and from its loss, with int32 labels. Numbers of tasks and
        examples are None.

        Raises:
            ValueError: If the learner has seen no data, and the model and the loss do not determine them.
        """
        if self._fed.inputs is not None:
            return self._fed.inputs
        specs = episode_checks.specs_of(self.model, self.task_functions.data_loss.targets)
        if specs is None:
            raise ValueError(
                "Expected a learner that has seen data, for the dtypes and shapes of its inputs: call fit, evaluate or "
                "predict first, or pass input_signature. Received: neither, and a model and a loss that do not "
                "determine them"
            )
        # An unrolled map repeats the graph for every task.
        tasks = 1 if self.task_map == "unrolled" else None
        return tf.nest.map_structure(lambda spec: tf.TensorSpec([tasks, *spec.shape], spec.dtype), specs)

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "model": serialize(self.model),
            "conversions": conversions(self.model),
            "loss": serialize(self._loss_given),
            "algorithm": serialize(self.algorithm),
            "inner_learning_rate": serialize(self.update_rule),
            "inner_steps": self.inner_steps,
            "adapted": serialize(self.adapted),
            "task_map": self.task_map,
            "parallel_tasks": self.parallel_tasks,
            "unroll": self.task_functions.unroll,
            "padding_label": self.padding.label if self.padding else None,
            "in_task_order": self.in_task_order,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> MetaLearner:
        config = dict(config)
        for key in ("model", "loss", "algorithm", "inner_learning_rate", "adapted"):
            if key in config:
                config[key] = keras.saving.deserialize_keras_object(config[key], custom_objects=custom_objects)
        convert(config["model"], config.pop("conversions", {}))
        return cls(**config)

    def _adapting(self, support_x: Any, support_y: Any, steps: int) -> tuple[dict[str, tf.Tensor], TaskState, Any]:
        """Adapts to one task, compiled once for all numbers of steps and examples.

        Returns:
            All parameters by path, the state for predictions, and the losses [steps].
        """
        algorithm, functions = self.algorithm, self.task_functions

        def adapted(support, steps):
            theta = self.meta_parameters()
            learned, losses = algorithm.learn(functions, theta, None, support, steps)
            return {**theta.model, **learned.params}, learned.state, losses

        support = support_x, support_y
        if functions.unroll or (self.compiled and self.run_eagerly):
            return adapted(support, steps)
        # TensorFlow's `reduce_retracing` would make the rank unknown if ranks differ.
        specs = tf.nest.map_structure(lambda leaf: tf.TensorSpec([None, *leaf.shape[1:]], leaf.dtype), support)
        key = algorithm, repr(specs)
        if key not in self._compiled.adaptations:
            signature = [specs, tf.TensorSpec([], tf.int32)]
            self._compiled.adaptations[key] = tf.function(adapted, input_signature=signature, autograph=False)
        return self._compiled.adaptations[key](support, tf.constant(steps))

    def _remember(self, inputs: Any) -> None:
        """Records the inputs' dtypes and shapes, without the numbers of tasks and examples, for `export`."""

        def of_any_size(leaf: tf.Tensor) -> tf.TensorSpec:
            # An unrolled map repeats the graph for every task.
            tasks = leaf.shape[0] if self.task_map == "unrolled" else None
            return tf.TensorSpec([tasks, None, *leaf.shape[2:]], leaf.dtype)

        self._fed.inputs = tf.nest.map_structure(of_any_size, inputs)

    def without_padding(self, task: Task) -> tuple[Task, Callable[[Any], Any]]:
        """Returns a task without its padding examples.

        Returns:
            The task, and a function that puts values [query examples, ...] back at their places in the padded set.
        """
        if self.padding is None:
            return task, lambda values: values
        support, _ = self.padding.cut(*task.support)
        query, places = self.padding.cut(*task.query)
        size = task.query[1].shape[0] or tf.shape(task.query[1])[0]
        return Task(task.number, support, query), lambda values: self.padding.restored(values, places, size)

    def _masks(self, outputs: Any, whole: Task) -> list[tuple[tf.Tensor, ...]]:
        """Returns the masks of a task's outputs: Keras' own, or with padding the query examples that count."""
        return [(self.padding.counted(whole.query[1]),)] if self.padding else masks_of(outputs)

    def _learn(self, theta: MetaParameters, task: Task) -> Learned:
        """Adapts to a task's support set, for predictions with training=False."""
        return self.algorithm.learn(self.task_functions, theta, task.number, task.support, self.inner_steps)[0]

    def _predict(self, inputs: Any, training: bool) -> tuple[Any, tf.Tensor]:
        """Returns the outputs on the query sets and the tasks' faults, [tasks, 2, 3]."""
        support_x, support_y, query_x = inputs
        functions, theta = self.task_functions, self.meta_parameters()

        def predict_task(task):
            task = Task(*task)
            if self.padding:
                task = task._replace(support=self.padding.cut(*task.support)[0])
            if training:
                result = self.algorithm.adapt(functions, theta, task.number, task.support, self.inner_steps)
                learned = Learned(result.params, result.state)
            else:
                learned = self._learn(theta, task)
            outputs = self.algorithm.predict(functions, theta, learned, task.query, training).outputs
            if functions.ways_vary:
                outputs = of_present_classes(outputs, task.support[1])
            fault = learned.state.fault
            return outputs, tf.stack([fault, tf.zeros_like(fault)])

        return self.over_tasks(predict_task, (numbered(query_x)[0], (support_x, support_y), query_x))

    def _meta_gradient(self, inputs: Any, query_y: Any, shares: Shares | None = None) -> MetaGradient:
        support_x, support_y, query_x = inputs
        functions, theta = self.task_functions, self.meta_parameters()
        iteration = tf.convert_to_tensor(self.optimizer.iterations) if self.compiled else tf.constant(0, tf.int64)

        def gradient(task):
            whole = Task(*task)
            task, restored = self.without_padding(whole)
            loss, gradients, outcome = self.algorithm.gradient(functions, theta, task, self.inner_steps, iteration)
            if self.padding:
                outcome = outcome._replace(outputs=restored(outcome.outputs), masks=self._masks(outcome.outputs, whole))
            return loss, gradients, outcome

        tasks = numbered(query_y, shares)[0], (support_x, support_y), (query_x, query_y)
        way = dict(task_map=self.task_map, parallel_tasks=self.parallel_tasks)
        if shares is None:
            return mean_gradient(gradient, tasks, **way)
        return mean_gradient_of_replicas(gradient, tasks, shares, in_task_order=self.in_task_order, **way)

    def _first_fault(self, result: MetaGradient, sizes: Sequence[tf.Tensor], earlier: int | tf.Tensor = 0) -> tf.Tensor:
        fault = first_fault(result.auxiliary.faults, result.auxiliary.losses, sizes, earlier)
        return first_of(fault, gradient_fault(self._in_order(result.gradients)))

    def _metrics_of_examples(self, query_x: Any, query_y: Any, predictions: Any, masks: Any) -> dict[str, Any]:
        """Passes the examples of all tasks to the metrics along one axis, as if they came from the model itself."""
        query_x, query_y, predictions, masks = examples_of((query_x, query_y, predictions, masks))
        if self.padding:  # Masked targets must still be valid labels.
            query_y = tf.where(self.padding.counted(query_y), tf.reshape(query_y, [-1]), tf.zeros_like(query_y[:1]))
        return logs_of_replica(self.compute_metrics(query_x, query_y, with_masks(predictions, masks), None))

    def _in_order(self, gradients: MetaParameters) -> list[tf.Tensor]:
        return [*(gradients.model[name] for name in self.task_functions.functional.names), *gradients.rule]


@keras.saving.register_keras_serializable(package="maml_tf")
class MAML(MetaLearner):
    """Model-agnostic meta-learning of any Keras model, Algorithms 1 and 2: a `MetaLearner` with the algorithm MAML.

    Args:
        model: A built Keras model; its variables are the meta-parameters theta, changed in place by `fit`.
        loss: The task loss, see `MetaLearner`.
        inner_learning_rate: The step size alpha, one for each inner step, or an update rule such as
            `maml_tf.LearnedStepSizes(0.01)`.
        inner_steps: Number of gradient steps of an adaptation.
        first_order: Whether to stop the gradient through the inner gradients (Section 5.2).
        adapted: Which variables the inner steps change, see `MetaLearner`.
        task_map: How to map over tasks, see `MetaLearner`.
        parallel_tasks: The greatest number of tasks in memory at once, see `MetaLearner`.
        unroll: Whether to unroll inner steps, see `MetaLearner`.
        in_task_order: How replicas add up gradients, see `MetaLearner`.
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
        name: str = "maml",
        **kwargs,
    ):
        algorithm = ModelAgnostic(flag("first_order", first_order))
        super().__init__(model, loss, algorithm, inner_learning_rate, inner_steps, name=name, **kwargs)

    @property
    def first_order(self) -> bool:
        """Whether the gradient through the inner gradients is stopped; compiled functions keep the earlier value."""
        return self.algorithm.first_order

    @first_order.setter
    def first_order(self, value: bool) -> None:
        self.algorithm = ModelAgnostic(value)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["algorithm"]
        return {**config, "first_order": self.first_order}
