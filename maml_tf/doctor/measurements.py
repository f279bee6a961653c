"""Measurements of a learner on tasks: its steps, meta-gradient, use of labels, loss and batch statistics."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from maml_tf.algorithms import Learned, Task
from maml_tf.core import episode_checks
from maml_tf.core.adaptation import MissingGradientError, inner_step
from maml_tf.core.faults import error_of, first_fault
from maml_tf.core.keras_interface import layers_of
from maml_tf.core.over_tasks import MissingDerivativeError, numbered
from maml_tf.diagnostics.second_order import Finding, check_second_order
from maml_tf.doctor import episode_measures
from maml_tf.learner import MetaLearner

_LABEL_ORDERS = 3
_QUERIES_ALONE = 3


@dataclasses.dataclass(frozen=True)
class Measurements:
    """The measured numbers; NaN for those that do not apply.

    Attributes:
        layers: Paths of the layers with trainable variables, in the model's order.
        adapted: Whether a layer has variables that the inner steps change, [layers].
        first_order: Whether the learner is set to a first-order meta-gradient.
        head_trainable: Whether the last layer with weights is trainable.
        support_before: Support loss before each inner step, [tasks, steps].
        support_after: Support loss after each inner step, with the same dropout masks, [tasks, steps].
        query_loss: Query loss before the first step and after each, [tasks, steps + 1].
        updates: Norm of a step's update divided by the norm of the layer's weights, [tasks, steps, layers].
        curvature: Second derivative of the support loss along a step's update, averaged over the update, in units of
            loss per squared weight, [tasks, steps, layers].
        slope_used: The fraction of the downward slope that a step uses up, [tasks, steps]: 0 if the loss keeps falling
            as before, 1 at the lowest point along the step, more than 2 if a parabola would be above its start again.
        dead_units: Share of a layer's outputs whose weights have a gradient of exactly 0 in every task and step,
            [layers].
        meta_gradient: Norm of the meta-gradient, [layers].
        second_order_share: Norm of the second-order part divided by the norm of the meta-gradient, [layers + 1], with
            the whole gradient last.
        second_order_angle: Angle in degrees between the meta-gradient and the first-order gradient, [layers + 1].
        meta_gradient_missing: Message of the error raised by the computation of the meta-gradient, or None.
        second_order_findings: The findings of `maml_tf.check_second_order`.
        permuted_loss: Query loss after steps on permuted support labels, [tasks].
        ways: Number of classes, or 0 if targets are not classes.
        accuracy: Share of correctly classified query examples after the steps, [tasks].
        order_gap: Largest minus smallest accuracy over orders in which the classes are numbered, [tasks].
        matched_accuracy: Accuracy after the steps and the best renaming of the predicted classes, [tasks].
        chance_matched_accuracy: The same for query labels in random order, [tasks].
        leakage: Change of an adapted output when its example is predicted alone, relative to all outputs, [tasks].
        transductive_layers: Layers that declare that they normalize by the examples of the call.
        duplicates: Share of query examples that are in the task's own support set, [tasks].
        chance_duplicates: Share of query examples that are in another task's support set, [tasks].
        doubled_loss: Loss of a query set with every example twice, divided by the loss of the set.
        uninformed_loss: Loss of outputs that are equal for all classes, divided by ln(ways).
        loss_not_finite_at: Description of outputs at which the loss or its gradient is not finite, or None.
    """

    layers: tuple[str, ...]
    adapted: np.ndarray
    first_order: bool
    head_trainable: bool
    support_before: np.ndarray
    support_after: np.ndarray
    query_loss: np.ndarray
    updates: np.ndarray
    curvature: np.ndarray
    slope_used: np.ndarray
    dead_units: np.ndarray
    meta_gradient: np.ndarray
    second_order_share: np.ndarray
    second_order_angle: np.ndarray
    meta_gradient_missing: str | None
    second_order_findings: tuple[Finding, ...]
    permuted_loss: np.ndarray
    ways: int
    accuracy: np.ndarray
    order_gap: np.ndarray
    matched_accuracy: np.ndarray
    chance_matched_accuracy: np.ndarray
    leakage: np.ndarray
    transductive_layers: tuple[str, ...]
    duplicates: np.ndarray
    chance_duplicates: np.ndarray
    doubled_loss: float
    uninformed_loss: float
    loss_not_finite_at: str | None

    @property
    def steps(self) -> int:
        """Number of inner steps."""
        return self.support_before.shape[1]

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return len(self.query_loss)


class Instrument:
    """Measures a learner on episodes, compiled once for many uses.

    Args:
        learner: The learner; every call reads its current weights, and does not change them.

    Raises:
        TypeError: If `learner` is not a MetaLearner.
        ValueError: If it has a `padding_label`.
    """

    def __init__(self, learner: MetaLearner):
        if not isinstance(learner, MetaLearner):
            raise TypeError(f"Expected a maml_tf.MetaLearner, such as maml_tf.MAML. Received: {learner!r}")
        if learner.padding:
            raise ValueError(
                "Expected a learner without padding_label: diagnose a learner of the same model on tasks of one size. "
                f"Received: {learner.name!r} with padding_label={learner.padding.label}"
            )
        self.learner, self.functions = learner, learner.task_functions
        names = self.functions.functional.names
        self.layers = tuple(dict.fromkeys(map(_layer_of, names)))
        # [layers, variables]: sums over a layer's variables are products with it.
        self._members = np.array([[_layer_of(name) == layer for name in names] for layer in self.layers], float)
        self._begin = _compiled(self._begin_tasks)
        self._advance = _compiled(self._advance_tasks)
        self._probe = _compiled(self._probe_tasks)
        self._predict = _compiled(self._predict_tasks)
        self._gradient = _compiled(functools.partial(self._gradient_over_tasks, learner.algorithm))
        first_order = copy.copy(learner.algorithm)
        first_order.first_order = True
        self._first_order_gradient = _compiled(functools.partial(self._gradient_over_tasks, first_order))
        self._second_order: tuple[Finding, ...] | None = None

    def __call__(self, episodes: Iterable[Any]) -> Measurements:
        """Measures.

        Args:
            episodes: Meta-batches `((support_x, support_y, query_x), query_y)`, each with a leading task axis.

        Raises:
            ValueError: If there is no meta-batch, or the shapes of an episode do not match each other or the model.
        """
        self.learner.check_before_step()
        batches = [episode_checks.check_data(data) for data in episodes]
        if not batches:
            raise ValueError("Expected at least one meta-batch of episodes. Received: none")
        measured, alive = [], None
        for data in batches:
            of_batch, outputs, alive_here = self._of_steps(data)
            alive = alive_here if alive is None else {name: alive[name] | alive_here[name] for name in alive}
            measured.append({**of_batch, **self._of_labels(data, outputs), **_of_data(data)})
        ways = measured[0].pop("ways")
        joined = {key: np.concatenate([of_batch[key] for of_batch in measured]) for key in measured[0]}
        support_x = batches[0][0][0]
        model = self.learner.model
        if self._second_order is None:
            checked = [] if self.learner.first_order else check_second_order(model, _of_task(support_x, 0))
            self._second_order = tuple(checked)
        leaves = [layer for layer in layers_of(model) if not layers_of(layer, include_self=False)]
        with_weights = [layer for layer in leaves if layer.weights]
        adapted = {_layer_of(name) for name in self.functions.adapted_names}
        transductive = [layer for layer in layers_of(model) if getattr(layer, "batch_statistics", None) == "always"]
        return Measurements(
            layers=self.layers,
            adapted=np.array([layer in adapted for layer in self.layers]),
            first_order=self.learner.first_order,
            head_trainable=not with_weights or bool(with_weights[-1].trainable_variables),
            dead_units=np.array([_dead_share(alive, layer) for layer in self.layers]),
            second_order_findings=self._second_order,
            ways=ways,
            transductive_layers=tuple(layer.name for layer in transductive),
            **joined,
            **self._of_meta_gradient(batches),
            **self._of_loss(batches[-1][1], outputs, ways),
        )

    def _of_steps(self, data: Any) -> tuple[dict[str, np.ndarray], Any, dict[str, np.ndarray]]:
        """Measures every step of a meta-batch's tasks; also returns the outputs, and which units have a gradient."""
        learned, (loss, outputs, faults) = self._begin(data)
        if error := error_of(first_fault(faults).numpy()):
            raise error
        query, probes, alive = [loss], [], {}
        for step in range(self.learner.inner_steps):
            learned, probe, units, (loss, outputs, _) = self._probe(learned, data, tf.constant(step))
            query.append(loss)
            probes.append(probe)
            for name, flags in units.items():
                alive[name] = alive.get(name, False) | np.any(flags, axis=0)
        parts = zip(*probes, strict=True)
        before, after, sums = (np.stack([np.asarray(value, float) for value in values], 1) for values in parts)
        with np.errstate(all="ignore"):
            # [tasks, steps, 4, layers]
            weight, update, slope, slope_after = np.moveaxis(sums @ self._members.T, 2, 0)
            result = {
                "support_before": before,
                "support_after": after,
                "query_loss": np.stack(query, axis=1).astype(float),
                "updates": np.sqrt(update / weight),
                "curvature": (slope_after - slope) / update,
                "slope_used": 1 - slope_after.sum(axis=2) / slope.sum(axis=2),
                "leakage": self._leakage(learned, data, outputs),
            }
        return result, outputs, alive

    def _leakage(self, learned: Any, data: Any, outputs: Any) -> np.ndarray:
        (support_x, support_y, query_x), query_y = data
        together = [np.asarray(leaf, float) for leaf in tf.nest.flatten(outputs)]
        number = min(_QUERIES_ALONE, together[0].shape[1])
        changes = []
        for row in range(number):
            alone_x = tf.nest.map_structure(lambda leaf, row=row: leaf[:, row : row + 1], query_x)
            alone = tf.nest.flatten(self._predict(learned, ((support_x, support_y, alone_x), query_y)))
            pairs = zip(alone, together, strict=True)
            changes.append([np.asarray(one, float)[:, 0] - every[:, row] for one, every in pairs])
        with np.errstate(all="ignore"):
            squares = [_mean_square(np.stack(of_leaf, axis=1)) for of_leaf in zip(*changes, strict=True)]
            return np.sqrt(sum(squares) / sum(map(_mean_square, together)))

    def _of_labels(self, data: Any, outputs: Any) -> dict[str, Any]:
        (support_x, support_y, query_x), query_y = data
        tasks = len(tf.nest.flatten(query_y)[0])
        random = np.random.default_rng(0)
        nothing = np.full(tasks, math.nan)
        labels = episode_measures.classes(query_y, outputs)
        if labels is None:
            # Rolled by half of the examples, so that every example gets another's targets.
            examples = len(tf.nest.flatten(support_y)[0][0])
            order = np.roll(np.arange(examples), max(1, examples // 2))
            permuted = tf.nest.map_structure(lambda leaf: tf.gather(leaf, order, axis=1), support_y)
            loss, _ = self._adapt(((support_x, permuted, query_x), query_y))
            names = ("accuracy", "order_gap", "matched_accuracy", "chance_matched_accuracy")
            return {"ways": 0, "permuted_loss": loss if examples > 1 else nothing, **dict.fromkeys(names, nothing)}
        ways = outputs.shape[2]
        next_class = np.tile((np.arange(ways) + 1) % ways, [tasks, 1])
        loss, _ = self._adapt(((support_x, episode_measures.renamed(support_y, next_class), query_x), query_y))
        predicted = np.argmax(outputs, axis=2)
        accuracies = [np.mean(predicted == labels, axis=1)]
        for _ in range(_LABEL_ORDERS):
            names = random.permuted(np.tile(np.arange(ways), [tasks, 1]), axis=1)
            renamed = [episode_measures.renamed(targets, names) for targets in (support_y, query_y)]
            _, others = self._adapt(((support_x, renamed[0], query_x), renamed[1]))
            accuracies.append(np.mean(np.argmax(others, axis=2) == np.take_along_axis(names, labels, axis=1), axis=1))
        return {
            "ways": ways,
            "permuted_loss": loss,
            "accuracy": accuracies[0],
            "order_gap": np.ptp(accuracies, axis=0),
            "matched_accuracy": episode_measures.matched_accuracy(predicted, labels, ways),
            "chance_matched_accuracy": episode_measures.chance_matched_accuracy(predicted, labels, ways),
        }

    def _adapt(self, data: Any) -> tuple[np.ndarray, Any]:
        """Returns the query losses after all steps, [tasks], and the outputs."""
        data = episode_checks.check_data(data)
        learned, measured = self._begin(data)
        for step in range(self.learner.inner_steps):
            learned, measured = self._advance(learned, data, tf.constant(step))
        return np.asarray(measured[0], float), measured[1]

    def _of_loss(self, query_y: Any, outputs: Any, ways: int) -> dict[str, Any]:
        """Measures the loss function on the first task whose outputs are finite."""
        loss = self.functions.data_loss
        finite = [
            task
            for task in range(len(tf.nest.flatten(outputs)[0]))
            if all(np.isfinite(leaf[task]).all() for leaf in tf.nest.flatten(outputs))
        ]
        if not finite:
            return {"doubled_loss": math.nan, "uninformed_loss": math.nan, "loss_not_finite_at": None}
        targets, outputs = _of_task(query_y, finite[0]), _of_task(outputs, finite[0])
        has_labels = ways and tf.nest.flatten(targets)[0].dtype.is_integer
        return {
            "doubled_loss": episode_measures.doubled_loss(loss, targets, outputs),
            "uninformed_loss": episode_measures.uninformed_loss(loss, targets, outputs) if has_labels else math.nan,
            "loss_not_finite_at": episode_measures.loss_not_finite_at(loss, targets, outputs),
        }

    def _of_meta_gradient(self, batches: list[Any]) -> dict[str, Any]:
        unknown = np.full(len(self.layers) + 1, math.nan)
        try:
            exact = _mean_gradient(self._gradient, batches)
            of_first_order = _mean_gradient(self._first_order_gradient, batches)
        except (MissingGradientError, MissingDerivativeError) as error:
            return {
                "meta_gradient": unknown[:-1],
                "second_order_share": unknown,
                "second_order_angle": unknown,
                "meta_gradient_missing": str(error),
            }
        members = np.concatenate([self._members, np.ones([1, len(exact)])])
        pairs = list(zip(exact.values(), of_first_order.values(), strict=True))
        square = members @ [np.sum(e * e) for e, _ in pairs]
        square_first = members @ [np.sum(f * f) for _, f in pairs]
        square_rest = members @ [np.sum((e - f) ** 2) for e, f in pairs]
        product = members @ [np.sum(e * f) for e, f in pairs]
        with np.errstate(all="ignore"):
            cosine = np.clip(product / np.sqrt(square * square_first), -1, 1)
            share = np.sqrt(square_rest / square)
        return {
            "meta_gradient": np.sqrt(square[:-1]),
            "second_order_share": share,
            "second_order_angle": np.degrees(np.arccos(cosine)),
            "meta_gradient_missing": None,
        }

    def _begin_tasks(self, data):
        theta = self.learner.meta_parameters()

        def begin(number, support, query):
            # Under XLA, tf.vectorized_map cannot return a tensor that was made outside of it.
            learned = self.learner.algorithm.begin(self.functions, theta, number, support)
            learned = tf.nest.map_structure(tf.identity, learned)
            return learned, self._query(theta, learned, support, query)

        return self._over_tasks(begin, *_numbered_sets(data))

    def _advance_tasks(self, learned, data, step):
        theta = self.learner.meta_parameters()

        def advance(learned, support, query):
            learned = self.learner.algorithm.advance(self.functions, theta, Learned(*learned), support, step)
            return learned, self._query(theta, learned, support, query)

        return self._over_tasks(advance, learned, *_numbered_sets(data)[1:])

    def _probe_tasks(self, learned, data, step):
        """Takes a step; returns the new state, (losses before and after, sums [4, variables]), units and the query."""
        theta, algorithm = self.learner.meta_parameters(), self.learner.algorithm

        def probe(learned, support, query):
            learned = Learned(*learned)
            objective = algorithm.objective(self.functions, theta, support)

            def gradient_at(params):
                # The inner loop's step with a rule that returns the gradient.
                rule = lambda params, gradients, step: gradients  # noqa: E731
                result = inner_step(objective, params, support, rule, step=step, state=learned.state)
                return result.loss, result.params

            after = algorithm.advance(self.functions, theta, learned, support, step)
            loss, gradient = gradient_at(learned.params)
            loss_after, gradient_after = gradient_at(after.params)
            sums = []
            for name in self.functions.functional.names:
                if name not in learned.params:
                    sums.append(tf.zeros([4], tf.float64))
                    continue
                weight, update = learned.params[name], after.params[name] - learned.params[name]
                pairs = (weight, weight), (update, update), (gradient[name], update), (gradient_after[name], update)
                sums.append(tf.stack([tf.cast(tf.reduce_sum(a * b), tf.float64) for a, b in pairs]))
            units = {
                name: tf.reduce_any(value != 0, axis=list(range(value.shape.rank - 1)))
                for name, value in gradient.items()
                if value.shape.rank > 1
            }
            measured = loss, loss_after, tf.stack(sums, axis=1)
            return after, measured, units, self._query(theta, after, support, query)

        return self._over_tasks(probe, learned, *_numbered_sets(data)[1:])

    def _predict_tasks(self, learned, data):
        theta = self.learner.meta_parameters()
        _, support, (query_x, _) = _numbered_sets(data)

        def predict(learned, support, query_x):
            return self._settled(theta, Learned(*learned), support, query_x)[0].outputs

        return self._over_tasks(predict, learned, support, query_x)

    def _gradient_over_tasks(self, algorithm, data):
        """Returns the sum of the finite meta-gradients and their number."""
        theta = self.learner.meta_parameters()

        def gradient(*task):
            result = algorithm.gradient(self.functions, theta, Task(*task), self.learner.inner_steps, self._iteration())
            gradients = result[1].model
            finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(value)) for value in gradients.values()])
            return finite, {name: tf.where(finite, value, tf.zeros_like(value)) for name, value in gradients.items()}

        finite, gradients = self._over_tasks(gradient, *_numbered_sets(data))
        summed = {name: tf.reduce_sum(value, axis=0) for name, value in gradients.items()}
        return summed, tf.reduce_sum(tf.cast(finite, tf.int32))

    def _iteration(self):
        compiled = self.learner.compiled
        return tf.convert_to_tensor(self.learner.optimizer.iterations) if compiled else tf.constant(0, tf.int64)

    def _query(self, theta, learned, support, query):
        """Returns a task's query loss, its outputs and its faults, [2, 3]."""
        output, fault = self._settled(theta, learned, support, query[0])
        value = self.functions.loss_of(output, query[1])
        return value.loss, value.outputs, tf.stack([fault, value.fault])

    def _settled(self, theta, learned, support, query_x):
        """Predicts as at meta-test; returns the output and the support set's fault."""
        state = self.functions.settle({**theta.model, **learned.params}, learned.state, support)
        learned = Learned(learned.params, state)
        output = self.learner.algorithm.predict(self.functions, theta, learned, query_x, training=False)
        return output, state.fault

    def _over_tasks(self, function, *tasks):
        return self.learner.over_tasks(lambda task: function(*task), tasks)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles once for each shape, of which there are few, without TensorFlow's warning about frequent tracing."""
    compiled = tf.function(function, autograph=False)
    return lambda *tensors: compiled.get_concrete_function(*tensors)(*tensors)


def _mean_gradient(gradient: Callable[[Any], Any], batches: list[Any]) -> dict[str, np.ndarray]:
    """Averages the tasks' finite meta-gradients."""
    summed, tasks = zip(*(gradient(data) for data in batches), strict=True)
    count = max(sum(int(number) for number in tasks), 1)
    return {name: sum(np.asarray(of_batch[name], float) for of_batch in summed) / count for name in summed[0]}


def _numbered_sets(data):
    (support_x, support_y, query_x), query_y, _ = episode_checks.fitted(*data)
    return numbered(query_y)[0], (support_x, support_y), (query_x, query_y)


def _of_data(data: Any) -> dict[str, np.ndarray]:
    support_x, _, query_x = data[0]
    alone = len(tf.nest.flatten(query_x)[0]) == 1
    own = episode_measures.duplicates(support_x, query_x)
    others = np.zeros(1) if alone else episode_measures.duplicates(support_x, query_x, shift=1)
    return {"duplicates": own, "chance_duplicates": others}


def _of_task(nest: Any, task: int) -> Any:
    return tf.nest.map_structure(lambda leaf: leaf[task], nest)


def _layer_of(name: str) -> str:
    return name.rpartition("/")[0] or name


def _dead_share(alive: dict[str, np.ndarray], layer: str) -> float:
    units = [flags for name, flags in alive.items() if _layer_of(name) == layer]
    return float(1 - np.mean(np.concatenate(units))) if units else math.nan


def _mean_square(values: np.ndarray) -> np.ndarray:
    """Averages the squares of [tasks, ...] over all axes but the first."""
    return np.mean(values.reshape(len(values), -1) ** 2, axis=1)
