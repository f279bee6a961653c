"""Many training iterations in one compiled call, their tasks drawn inside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf

from maml_tf import distribute
from maml_tf.checks import whole_number
from maml_tf.core.faults import FaultCheckedModel
from maml_tf.training.iterations import Iterations


class InGraphTraining(FaultCheckedModel):
    """Trains a compiled Keras model, running many of its train steps in one call.

    Where an iteration takes microseconds, starting it from Python and feeding it from a data set takes longer
    than computing it. Here a step is a loop of `iterations_per_call` iterations in the graph, each of them
    `model.train_step(draw(i))`. The weights, optimizer and metrics are the model's own: afterwards it is
    trained, and checkpoints of the model and its optimizer need not know of this class.

    Validation data, and `evaluate`, go to the model's own `test_step`.

    Under a strategy of several replicas, which cannot meet inside such a loop, a step is one iteration, and every
    replica takes its share of what is drawn. So it is with one replica of a learner with `in_task_order`.

    Args:
        model: A built and compiled Keras model with the `train_step` and `test_step` of Keras, `MAML` among
            them.
        draw: Maps an iteration's index, an int64 scalar tensor, to the data of that iteration. It is traced,
            so it must be made of TensorFlow operations, and pure; the element after the last is drawn too,
            and unused.
        iterations_per_call: Train steps of one call.

    Raises:
        ValueError: If the model is not built or not compiled, `iterations_per_call` is not positive, or several workers
            would train a model that is no learner.

    Example:
    >>> import keras
    >>> from maml_tf.tasks import Sinusoids, pooled
    >>> from maml_tf.training import InGraphTraining
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(40, "relu"), keras.layers.Dense(1)])
    >>> model.compile("adam", loss="mse")
    >>> def draw(index):
    ...     return pooled(Sinusoids().draw(0, index, tasks=25, shots=10, queries=0).episode)
    >>> training = InGraphTraining(model, draw, iterations_per_call=50)
    >>> history = training.fit_iterations(100)
    >>> int(model.optimizer.iterations)
    100
    """

    def __init__(self, model: keras.Model, draw: Callable[[tf.Tensor], Any], iterations_per_call: int):
        if not model.built or not model.compiled:
            raise ValueError(
                "Expected a built and compiled model. "
                f"Received: {model.name!r} with built={model.built}, compiled={model.compiled}"
            )
        if not isinstance(model, FaultCheckedModel):
            distribute.require_one_worker(f"a Keras model that is no learner ({model.name!r})")
        super().__init__(name=f"{model.name}_in_graph")
        self.model = model
        self.draw = draw
        self.iterations_per_call = whole_number("iterations_per_call", iterations_per_call, minimum=1)
        self.built = True
        # Variables cannot be created inside the loop: those of the optimizer and of the metrics are made
        # here.
        model.optimizer.build(model.trainable_variables)
        model.test_step(draw(tf.constant(0, tf.int64)))
        model.reset_metrics()
        self._replicas = model.distribute_strategy.num_replicas_in_sync
        # TensorFlow fuses other operations inside a loop, so a loop has other bits.
        self._loops = self._replicas == 1 and not getattr(model, "in_task_order", False)
        super().compile(optimizer=model.optimizer, jit_compile=model.jit_compile, run_eagerly=model.run_eagerly)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        raise ValueError(f"Expected the model within to be compiled, not its training. Compile {self.model.name!r}")

    def iterations(self, total: int) -> Iterations:
        """Makes the counter of a training, for `fit_iterations` and its callbacks: each call is an epoch.

        Args:
            total: Iterations of the whole training, a multiple of `iterations_per_call`.

        Returns:
            The counter.
        """
        return Iterations(total, per_epoch=self.iterations_per_call, per_batch=self._iterations_per_batch)

    @property
    def _iterations_per_batch(self) -> int:
        return self.iterations_per_call if self._loops else 1

    def fit_iterations(
        self,
        iterations: int | Iterations,
        callbacks: Iterable[keras.callbacks.Callback] = (),
        **fit_arguments: Any,
    ) -> keras.callbacks.History:
        """Trains from the iterations done on, one call an epoch of `fit`.

        Args:
            iterations: How many, or what `iterations` made: a resumed training restores it from its checkpoint.
            callbacks: In any order.
            **fit_arguments: Passed to `fit`, such as validation_data and validation_freq.

        Returns:
            Keras' History.

        Raises:
            ValueError: If the number is not a multiple of `iterations_per_call`.
        """
        if not isinstance(iterations, Iterations):
            iterations = self.iterations(iterations)
        calls = tf.data.Dataset.range(iterations.done, tf.int64.max, self._iterations_per_batch)
        return iterations.fit(self, distribute.shared(lambda k, n: calls), callbacks, **fit_arguments)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return self.model.metrics

    def require_no_fault(self, iteration: int | None = None) -> None:
        if isinstance(self.model, FaultCheckedModel):
            self.model.require_no_fault(iteration)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return self.model(inputs, training=training)

    def train_step(self, data: tf.Tensor) -> dict[str, Any]:
        """Runs the iterations from `data`, an int64 scalar, on; returns the model's metrics."""
        first = tf.cast(data, tf.int64)
        if not self._loops:
            return self.model.train_step(self._share(self.draw(first)))

        def iteration(index, batch):
            self.model.train_step(batch)
            # A batch is drawn one iteration ahead and carried: drawn where it is used, XLA fuses the draw
            # into every consumer and repeats it there, which made an iteration of the sinusoid net three
            # times slower.
            return index + 1, self.draw(index + 1)

        tf.while_loop(
            lambda index, batch: index < first + self.iterations_per_call,
            iteration,
            (first, self.draw(first)),
            maximum_iterations=self.iterations_per_call,
            parallel_iterations=1,
        )
        return self.model.get_metrics_result()

    def test_step(self, data: Any) -> dict[str, Any]:
        return self.model.test_step(data)

    def _share(self, data: Any) -> Any:
        """Returns this replica's tasks of a meta-batch."""
        if self._replicas == 1:
            return data
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        size = tf.nest.flatten(data)[0].shape[0]
        begin, end = size * replica // self._replicas, size * (replica + 1) // self._replicas
        return tf.nest.map_structure(lambda leaf: leaf[begin:end], data)
