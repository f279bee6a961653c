"""Tests of maml_tf.training.iterations."""

import os
import pathlib
import signal

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf.learner import MAML
from maml_tf.stopping import Stopped, stop_on_signals
from maml_tf.tasks.sinusoid import Sinusoids
from maml_tf.training.checkpointing import AtomicCheckpoint
from maml_tf.training.in_graph import InGraphTraining
from maml_tf.training.iterations import Iterations, TerminateOnNonFinite, in_order
from maml_tf.training.progress import Progress, WallTime
from maml_tf.training.validation import BestWeights
from tests.support.keras_warnings import ignore_array_copy


class SendSignal(keras.callbacks.Callback):
    """Sends this process a signal in its n-th batch."""

    def __init__(self, number, batch):
        super().__init__()
        self.number = number
        self.batches_left = batch

    def on_train_batch_begin(self, batch, logs=None):
        self.batches_left -= 1
        if self.batches_left == 0:
            os.kill(os.getpid(), self.number)


class Training:
    """A training of 20 iterations in epochs of 10, as a new process would build it."""

    def __init__(self, folder, seed=0):
        keras.utils.set_random_seed(seed)
        layers = [keras.layers.Dense(8, "relu"), keras.layers.Dropout(0.2), keras.layers.Dense(1)]
        self.learner = MAML(keras.Sequential([keras.Input((1,)), *layers]), "mse", 0.01)
        self.learner.compile(keras.optimizers.Adam(0.01), jit_compile=False, metrics=["mae"])
        self.iterations = Iterations(20, 10)
        self.best = BestWeights(self.learner, "loss", self.iterations)
        self.checkpoint = AtomicCheckpoint(
            folder / "checkpoints", self.iterations, {},
            model=self.learner, optimizer=self.learner.optimizer, best=self.best.state,
        )  # fmt: skip
        self.checkpoint.restore()
        self.folder = folder

    def fit(self, *callbacks):
        data = Sinusoids().dataset(4, tasks=4, shots=5, queries=5).skip(self.iterations.done)
        board = keras.callbacks.TensorBoard(str(self.folder), write_graph=False)
        wall_time = WallTime(self.folder, self.iterations, resume=True)
        return self.iterations.fit(
            self.learner, data, [board, wall_time, self.checkpoint, self.best, *callbacks]
        ).history

    def state(self):
        variables = [*self.learner.variables, *self.learner.optimizer.variables, *self.best.state.variables]
        return [np.array(variable) for variable in variables]


def scalars(folder):
    """Returns what TensorBoard shows of the loss, by its step."""
    return {
        event.step: tf.make_ndarray(value.tensor).item()
        for path in (folder / "train").glob("events*")
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
        if value.tag == "epoch_loss"
    }


class FitTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        ignore_array_copy()

    def folder(self):
        return pathlib.Path(self.create_tempdir().full_path)

    def test_stopped_inside_epochs_and_resumed_it_equals_never_stopped(self):
        straight = Training(self.folder())
        history = straight.fit()
        folder = self.folder()
        stops = ((0, signal.SIGTERM, 3, 3), (1, signal.SIGINT, 5, 8), (2, signal.SIGTERM, 7, 15))
        for seed, number, batch, done in stops:
            with self.assertRaises(Stopped) as stopped, stop_on_signals():
                Training(folder, seed).fit(SendSignal(number, batch))
            self.assertEqual(stopped.exception.code, 128 + number)
            self.assertTrue((folder / "checkpoints" / f"checkpoint-{done}.index").exists())
        resumed = Training(folder, seed=7)
        resumed_history = resumed.fit()
        for one, other in zip(straight.state(), resumed.state(), strict=True):
            np.testing.assert_array_equal(one, other)
        # Metrics of the epoch are of all its iterations, and TensorBoard has each epoch once.
        self.assertEqual({name: values[-1:] for name, values in history.items()}, resumed_history)
        self.assertEqual(scalars(folder), scalars(straight.folder))
        parts = WallTime(folder, resumed.iterations, resume=True).content["parts"]
        self.assertEqual([part["iterations"] for part in parts], [[0, 3], [3, 8], [8, 15], [15, 20]])

    def test_stopped_in_the_last_batch_of_an_epoch_it_ends_the_epoch(self):
        training = Training(self.folder())
        with self.assertRaises(Stopped), stop_on_signals():
            training.fit(SendSignal(signal.SIGTERM, 10))
        self.assertEqual((training.iterations.done, training.best.iteration), (10, 10))
        self.assertEqual(list(scalars(training.folder)), [0])

    def test_a_training_that_is_done_does_nothing(self):
        training = Training(self.folder())
        training.iterations.variable.assign(20)
        self.assertEqual(training.fit(), {})
        self.assertEqual(int(training.learner.optimizer.iterations), 0)

    def test_several_batches_an_execution(self):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile("sgd", loss="mse", steps_per_execution=5)
        iterations, seen = Iterations(20, 10), []
        data = tf.data.Dataset.from_tensors((tf.ones([4, 1]), tf.ones([4, 1]))).repeat()
        note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(iterations.done))
        iterations.fit(model, data, [note])
        self.assertEqual(seen, [5, 10, 15, 20])
        iterations.variable.assign(13)
        with self.assertRaisesRegex(ValueError, "7 batches .*steps_per_execution=5"):
            iterations.fit(model, data)

    @parameterized.parameters((0, 1, 1), (10, 3, 1), (10, 5, 2), (10, 2.5, 1))
    def test_numbers_that_do_not_fit_together(self, total, per_epoch, per_batch):
        with self.assertRaisesRegex(ValueError, f"Received: .*({total}|{per_epoch})"):
            Iterations(total, per_epoch, per_batch)


class InOrderTest(absltest.TestCase):
    def test_counted_kept_saved_and_shown_in_this_order(self):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        iterations, folder = Iterations(10), self.create_tempdir().full_path
        callbacks = [
            iterations,
            TerminateOnNonFinite(iterations),
            BestWeights(model, "loss", iterations),
            keras.callbacks.LambdaCallback(),
            keras.callbacks.EarlyStopping(),
            AtomicCheckpoint(folder, iterations, {}, model=model),
            Progress(iterations),
            keras.callbacks.TensorBoard(folder),
        ]
        mixed = [callbacks[number] for number in (6, 5, 3, 1, 7, 4, 2, 0)]
        self.assertEqual(in_order(mixed)[:-1], callbacks)


class TerminateOnNonFiniteTest(absltest.TestCase):
    def iterations(self, done):
        iterations = Iterations(100, 5)
        iterations.variable.assign(done)
        return iterations

    def test_names_the_iterations_of_the_call_that_diverged(self):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile("sgd", loss="mse", jit_compile=True)

        def draw(index):
            x = tf.ones([2, 1])
            return x, tf.where(index == 24, np.nan, 1.0) * x

        training = InGraphTraining(model, draw, iterations_per_call=10)
        with self.assertRaisesRegex(ValueError, "diverged in one of the iterations 20 to 29.* Received: loss=nan"):
            training.fit_iterations(90)

    def test_infinite_is_not_finite(self):
        with self.assertRaisesRegex(ValueError, "iterations 0 to 4.* Received: loss=inf"):
            TerminateOnNonFinite(self.iterations(5)).on_epoch_end(0, {"loss": float("inf")})

    def test_metrics_of_each_class(self):
        terminate = TerminateOnNonFinite(self.iterations(5))
        terminate.on_epoch_end(0, {"f1": np.array([0.5, 1.0])})
        with self.assertRaisesRegex(ValueError, r"Received: f1=\[0.5 nan\]"):
            terminate.on_epoch_end(0, {"f1": np.array([0.5, np.nan])})

    def test_validation_may_diverge(self):
        TerminateOnNonFinite(self.iterations(5)).on_epoch_end(0, {"loss": 1.0, "val_loss": float("nan")})


if __name__ == "__main__":
    absltest.main()
