"""Tests of maml_tf.training.in_graph."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf.learner import MAML
from maml_tf.tasks.sinusoid import Sinusoids, pooled
from maml_tf.training.in_graph import InGraphTraining


def draw(index):
    return pooled(Sinusoids().draw(3, index, tasks=4, shots=5, queries=0).episode)


def small_model(jit_compile=True, **compile_arguments):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(1)])
    arguments = {"optimizer": keras.optimizers.Adam(0.01), "loss": "mse", **compile_arguments}
    model.compile(jit_compile=jit_compile, **arguments)
    return model


def assert_same_state(model, other, **tolerance):
    pairs = zip(model.variables + model.optimizer.variables, other.variables + other.optimizer.variables, strict=True)
    for one, two in pairs:
        np.testing.assert_allclose(one, two, err_msg=one.path, **tolerance)


class InGraphTrainingTest(parameterized.TestCase):
    @parameterized.parameters(True, False)
    def test_equals_as_many_ordinary_train_steps(self, jit_compile):
        model, reference = small_model(jit_compile), small_model(jit_compile=False)
        losses = InGraphTraining(model, draw, iterations_per_call=7).fit_iterations(14).history["loss"]
        expected = []
        for index in range(14):
            data = draw(tf.constant(index, tf.int64))
            expected.append(float(reference.train_on_batch(*data)))
            reference.reset_metrics()
        self.assertEqual(int(model.optimizer.iterations), 14)
        np.testing.assert_allclose(losses, [np.mean(expected[:7]), np.mean(expected[7:])], rtol=1e-5)
        assert_same_state(model, reference, rtol=1e-4, atol=1e-5)

    def test_one_call_of_many_equals_many_calls_of_one(self):
        model, other = small_model(), small_model()
        InGraphTraining(model, draw, iterations_per_call=6).fit_iterations(6)
        InGraphTraining(other, draw, iterations_per_call=1).fit_iterations(6)
        assert_same_state(model, other, rtol=1e-5, atol=1e-6)

    def test_resume_equals_never_stopped(self):
        model, resumed = small_model(), small_model()
        InGraphTraining(model, draw, iterations_per_call=5).fit_iterations(20)
        InGraphTraining(resumed, draw, iterations_per_call=5).fit_iterations(10)
        training = InGraphTraining(resumed, draw, iterations_per_call=5)
        iterations = training.iterations(20)
        iterations.variable.assign(10)
        training.fit_iterations(iterations)
        assert_same_state(model, resumed, rtol=0, atol=0)

    def test_metrics_and_validation_are_the_models(self):
        model = small_model(metrics=["mae"])
        training = InGraphTraining(model, draw, iterations_per_call=3)
        x, y = draw(tf.constant(99, tf.int64))
        history = training.fit_iterations(6, validation_data=(x, y), validation_batch_size=20).history
        self.assertCountEqual(history, ["loss", "mae", "val_loss", "val_mae"])
        loss, mae = model.evaluate(x, y, batch_size=20, verbose=0)
        np.testing.assert_allclose([history["val_loss"][1], history["val_mae"][1]], [loss, mae], rtol=1e-5)

    def test_a_moving_statistic_and_a_seed_advance_in_the_loop(self):
        model = keras.Sequential(
            [
                keras.Input((1,)),
                keras.layers.Dense(8),
                keras.layers.BatchNormalization(),
                keras.layers.Dropout(0.5),
            ]
        )
        model.compile("sgd", loss="mse", jit_compile=False)
        before = [variable.numpy() for variable in model.non_trainable_variables]
        InGraphTraining(model, draw, iterations_per_call=4).fit_iterations(4)
        for old, variable in zip(before, model.non_trainable_variables, strict=True):
            self.assertFalse(np.array_equal(old, variable), msg=variable.path)

    def test_data_of_several_inputs(self):
        inputs = [keras.Input((1,)), keras.Input((1,))]
        model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Concatenate()(inputs)))
        model.compile("sgd", loss="mse", jit_compile=True)

        def draw_two(index):
            x, y = draw(index)
            return (x, 2 * x), y

        self.assertLen(InGraphTraining(model, draw_two, iterations_per_call=3).fit_iterations(6).history["loss"], 2)

    @parameterized.parameters(True, False)
    def test_a_learners_loss_that_is_not_finite_stops_it_at_that_iteration(self, jit_compile):
        def draw_tasks(index):
            (support_x, support_y, query_x), query_y = (
                Sinusoids().draw(3, index, tasks=4, shots=5, queries=5).episode.keras_data()
            )
            at_fault = tf.reshape(tf.range(4) == 2, [4, 1, 1]) & (index == 24)
            return (support_x, tf.where(at_fault, np.nan, support_y), query_x), query_y

        stopped, healthy = (MAML(small_model(), "mse") for _ in range(2))
        for learner in (stopped, healthy):
            learner.compile(keras.optimizers.Adam(), jit_compile=jit_compile)
        with self.assertRaisesRegex(tf.errors.InvalidArgumentError, r"in iteration 24 at .* \[2, 0\]"):
            InGraphTraining(stopped, draw_tasks, iterations_per_call=10).fit_iterations(90)
        InGraphTraining(healthy, draw_tasks, iterations_per_call=8).fit_iterations(24)
        self.assertEqual(int(stopped.optimizer.iterations), 24)
        assert_same_state(stopped, healthy, rtol=1e-5, atol=1e-7)

    def test_a_model_that_runs_eagerly_trains_eagerly(self):
        training = InGraphTraining(small_model(jit_compile=False, run_eagerly=True), draw, iterations_per_call=2)
        self.assertTrue(training.run_eagerly)

    def test_an_uncompiled_model_is_refused(self):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        with self.assertRaisesRegex(ValueError, "Expected a built and compiled model.* compiled=False"):
            InGraphTraining(model, draw, iterations_per_call=3)

    def test_no_iterations_are_refused(self):
        with self.assertRaisesRegex(ValueError, "iterations_per_call=0"):
            InGraphTraining(small_model(), draw, iterations_per_call=0)

    @parameterized.parameters((10, 0), (9, 2))
    def test_iterations_that_are_not_whole_calls_are_refused(self, total, done):
        training = InGraphTraining(small_model(), draw, iterations_per_call=3)
        with self.assertRaisesRegex(ValueError, f"multiple.* Received: (total={total}|{done} done)"):
            iterations = training.iterations(total)
            iterations.variable.assign(done)
            training.fit_iterations(iterations)

    def test_compiling_the_training_is_refused(self):
        training = InGraphTraining(small_model(), draw, iterations_per_call=3)
        with self.assertRaisesRegex(ValueError, "Expected the model within to be compiled"):
            training.compile("adam")


if __name__ == "__main__":
    absltest.main()
