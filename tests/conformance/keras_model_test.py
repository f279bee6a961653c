"""`MAML` is a Keras model: compile, fit, evaluate, predict, callbacks, metrics, saving and export."""

import os
import warnings

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

import maml_tf
from maml_tf import layers
from maml_tf.models import mlp
from tests.support import small_learner
from tests.support.small_learner import Subclassed, assert_same, draw


def make_data(tasks=4, shots=4, queries=3):
    return small_learner.make_data(tasks, shots, queries)


def make_learner(rule=0.1, optimizer=None, model=None, **options):
    keras.utils.set_random_seed(0)
    model = model or mlp((2,), (4,), activation="tanh")
    learner = maml_tf.MAML(model, options.pop("loss", "mse"), rule, **options)
    # Compiling with XLA costs more than these tests do; test_ways_to_run_agree proves it equal.
    learner.compile(optimizer or keras.optimizers.Adam(0.01), jit_compile=False)
    return learner


def fit(learner, epochs=1, **options):
    return learner.fit(*make_data(), batch_size=2, epochs=epochs, shuffle=False, verbose=0, **options)


def values(variables):
    return [variable.numpy() for variable in variables]


@keras.saving.register_keras_serializable(package="keras_model_test")
def absolute_error(y_true, y_pred):
    return tf.reduce_mean(tf.abs(y_true - y_pred), axis=-1)


class FitTest(parameterized.TestCase):
    def test_train_step_is_the_optimizer_on_the_meta_gradient(self):
        for rule in (0.1, maml_tf.LearnedStepSizes(0.1)):
            learner = make_learner(rule, keras.optimizers.SGD(0.5))
            data = make_data()
            before = values(learner.trainable_variables)
            loss, gradients = learner.meta_gradients(data)
            logs = learner.train_on_batch(*data, return_dict=True)
            np.testing.assert_allclose(logs["loss"], loss, rtol=1e-5)
            expected = [value - 0.5 * np.asarray(g) for value, g in zip(before, gradients, strict=True)]
            assert_same(values(learner.trainable_variables), expected)

    def test_loss_falls(self):
        losses = fit(make_learner(), epochs=30).history["loss"]
        self.assertLess(losses[-1], 0.9 * losses[0])

    @parameterized.parameters(
        {"jit_compile": True}, {"jit_compile": "auto"}, {"run_eagerly": True, "jit_compile": False},
        {"steps_per_execution": 2},
    )  # fmt: skip
    def test_ways_to_run_agree(self, **options):
        expected, learner = make_learner(), make_learner()
        expected.compile(keras.optimizers.SGD(0.1), jit_compile=False)
        learner.compile(keras.optimizers.SGD(0.1), **options)
        assert_same(fit(learner, 2).history["loss"], fit(expected, 2).history["loss"])
        assert_same(values(learner.variables), values(expected.variables))

    def test_auto_compiles_dense_models_alone(self):
        dropout = keras.Sequential([keras.Input((2,)), keras.layers.Dropout(0.1), keras.layers.Dense(1)])
        for model, jit_compile in ((mlp((2,), (4,)), True), (dropout, False)):
            learner = maml_tf.MAML(model, "mse")
            learner.compile()
            self.assertIs(learner.jit_compile, jit_compile)

    def test_data_sets_and_validation(self):
        learner = make_learner()
        dataset = tf.data.Dataset.from_tensor_slices(make_data()).batch(2).repeat()
        history = learner.fit(
            dataset, steps_per_epoch=2, validation_data=dataset, validation_steps=1, shuffle=False, verbose=0
        )
        self.assertEqual(set(history.history), {"loss", "val_loss"})

    def test_evaluate_and_predict_agree_with_call(self):
        learner = make_learner()
        inputs, targets = make_data()
        outputs = np.asarray(learner(inputs))
        assert_same(learner.predict(inputs, batch_size=3, verbose=0), outputs)
        expected = np.mean((outputs - targets) ** 2)
        np.testing.assert_allclose(learner.evaluate(inputs, targets, batch_size=3, verbose=0), expected, rtol=1e-5)
        np.testing.assert_allclose(learner.test_on_batch(inputs, targets), expected, rtol=1e-5)
        np.testing.assert_allclose(learner.meta_gradients((inputs, targets))[0], expected, rtol=1e-5)

    def test_evaluate_measures_what_predict_returns(self):
        """With the moving statistics that the support set left, and without dropout."""
        norm = layers.BatchNormalization(momentum=0.5)
        stack = [norm, keras.layers.Dropout(0.5, seed=1), keras.layers.Dense(1)]
        learner = make_learner(model=keras.Sequential([keras.Input((2,)), *stack]))
        inputs, targets = make_data()
        expected = np.mean((learner.predict(inputs, verbose=0) - targets) ** 2)
        np.testing.assert_allclose(learner.evaluate(inputs, targets, verbose=0), expected, rtol=1e-5)

    def test_compiling_makes_the_optimizers_variables(self):
        learner = make_learner()
        self.assertLen(learner.optimizer.variables, 2 + 2 * len(learner.trainable_variables))

    def test_loss_of_an_epoch_weighs_tasks_equally(self):
        learner = make_learner(optimizer=keras.optimizers.SGD(0.0))
        whole = float(learner.meta_gradients(make_data())[0])
        history = learner.fit(*make_data(), batch_size=3, shuffle=False, verbose=0)
        np.testing.assert_allclose(history.history["loss"][0], whole, rtol=1e-5)

    def test_penalties_of_the_model_count_in_evaluate_as_in_fit(self):
        dense = keras.layers.Dense(1, kernel_regularizer=keras.regularizers.L2(0.5))
        learner = make_learner(0.0, keras.optimizers.SGD(0.0), keras.Sequential([keras.Input((2,)), dense]))
        fitted = learner.fit(*make_data(), batch_size=4, verbose=0).history["loss"][0]
        np.testing.assert_allclose(learner.evaluate(*make_data(), verbose=0), fitted, rtol=1e-5)

    def test_moving_statistics_follow_fit(self):
        norm = layers.BatchNormalization(momentum=0.5)
        model = keras.Sequential([keras.Input((2,)), norm, keras.layers.Dense(1)])
        learner = make_learner(model=model)
        (support_x, support_y, query_x), query_y = make_data()
        learner.train_on_batch((support_x, support_y, query_x), query_y)
        # One inner step's statistics, then the query's, from a mean of 0; averaged over the tasks.
        expected = np.mean(0.25 * support_x.mean(axis=1) + 0.5 * query_x.mean(axis=1), axis=0)
        np.testing.assert_allclose(norm.moving_mean, expected, rtol=1e-4, atol=1e-6)
        before = values([norm.moving_mean, norm.moving_variance])
        learner.evaluate((support_x, support_y, query_x), query_y, verbose=0)
        learner.predict((support_x, support_y, query_x), verbose=0)
        assert_same(values([norm.moving_mean, norm.moving_variance]), before, rtol=0)


class MetricsTest(parameterized.TestCase):
    def test_metrics_see_examples_as_with_the_wrapped_model(self):
        learner = make_learner(0.0, keras.optimizers.SGD(0.0))
        learner.compile(keras.optimizers.SGD(0.0), metrics=["mae", keras.metrics.R2Score()])
        inputs, targets = make_data()
        fitted = {name: value[0] for name, value in fit(learner).history.items()}
        logs = learner.evaluate(inputs, targets, batch_size=2, verbose=0, return_dict=True)
        plain = learner.model
        plain.compile(loss="mse", metrics=["mae", keras.metrics.R2Score()])
        x, y = inputs[2].reshape(-1, 2), targets.reshape(-1, 1)
        expected = plain.evaluate(x, y, verbose=0, return_dict=True)
        self.assertEqual(set(logs), set(expected))
        for name, value in expected.items():
            np.testing.assert_allclose(logs[name], value, rtol=1e-4)
            np.testing.assert_allclose(fitted[name], value, rtol=1e-4)

    @parameterized.parameters("accuracy", "sparse_categorical_accuracy")
    def test_accuracy_of_labels(self, metric):
        model = mlp((2,), (), 3)
        learner = maml_tf.MAML(model, keras.losses.SparseCategoricalCrossentropy(from_logits=True), 0.0)
        # Keras reads what "accuracy" means off the loss, which compile() does not see.
        metrics = [keras.metrics.SparseCategoricalAccuracy() if metric == "accuracy" else metric]
        learner.compile("sgd", metrics=metrics)
        x, y = draw(2, 5, 2), np.random.default_rng(0).integers(0, 3, (2, 5))
        logs = learner.evaluate((x, y, x), y, verbose=0, return_dict=True)
        expected = np.mean(np.argmax(model(x.reshape(-1, 2)), axis=1) == y.reshape(-1))
        np.testing.assert_allclose(logs["sparse_categorical_accuracy"], expected, rtol=1e-6)

    @parameterized.parameters("mapped", "vectorized")
    def test_metrics_see_masks_as_with_the_wrapped_model(self, task_map):
        model = keras.Sequential([
            keras.Input((4,)), keras.layers.Embedding(5, 3, mask_zero=True),
            keras.layers.Dense(1),
        ])  # fmt: skip
        x, y = np.array([[1, 2, 0, 0], [3, 1, 2, 0]]), np.arange(8.0, dtype=np.float32).reshape(2, 4, 1)
        model.compile(loss="mse", metrics=["mae"])
        expected = model.evaluate(x, y, verbose=0, return_dict=True)
        learner = maml_tf.MAML(model, "mse", 0.0, task_map=task_map)
        learner.compile(keras.optimizers.SGD(0.0), metrics=["mae"])
        data = (x[:, np.newaxis], y[:, np.newaxis], x[:, np.newaxis]), y[:, np.newaxis]  # Two tasks of one example.
        fitted = {name: value[0] for name, value in learner.fit(*data, verbose=0).history.items()}
        for logs in (fitted, learner.evaluate(*data, verbose=0, return_dict=True)):
            np.testing.assert_allclose(logs["mae"], expected["mae"], rtol=1e-5)

    def test_metrics_by_the_name_of_an_output(self):
        inputs = keras.Input((2,))
        model = keras.Model(inputs, [keras.layers.Dense(1, name=name)(inputs) for name in ("left", "right")])
        learner = maml_tf.MAML(model, "mse", 0.0)
        learner.compile("sgd", metrics={"right": "mae"})
        x, y = draw(2, 5, 2), [draw(2, 5, 1), draw(2, 5, 1, seed=1)]
        logs = learner.evaluate((x, y, x), y, verbose=0, return_dict=True)
        self.assertEqual(set(logs), {"loss", "right_mae"})
        np.testing.assert_allclose(
            logs["right_mae"], np.mean(np.abs(model(x.reshape(-1, 2))[1] - y[1].reshape(-1, 1))), 1e-5
        )


class WritingTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.enter_context(warnings.catch_warnings())
        # Keras' own, as it writes variables with NumPy 2.
        warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy", DeprecationWarning)


class CallbacksTest(WritingTest):
    def test_tensorboard_and_checkpoints(self):
        folder = self.create_tempdir().full_path
        path = os.path.join(folder, "{epoch}.weights.h5")
        learner = make_learner()
        callbacks = [keras.callbacks.ModelCheckpoint(path, save_weights_only=True)]
        try:
            import tensorboard  # noqa: F401

            callbacks.append(keras.callbacks.TensorBoard(os.path.join(folder, "logs"), write_graph=False))
        except ImportError:
            pass
        fit(learner, 2, callbacks=callbacks)
        if len(callbacks) == 2:
            self.assertNotEmpty(tf.io.gfile.glob(os.path.join(folder, "logs", "train", "events*")))
        restored = make_learner()
        restored.load_weights(os.path.join(folder, "2.weights.h5"))
        assert_same(values(restored.variables), values(learner.variables), rtol=0)

    def test_early_stopping_restores_the_best_weights(self):
        learner = make_learner(optimizer=keras.optimizers.SGD(0.0))
        stopping = keras.callbacks.EarlyStopping("loss", patience=1, restore_best_weights=True)
        self.assertLen(fit(learner, 10, callbacks=[stopping]).history["loss"], 2)

    def test_backup_and_restore_equals_never_stopped(self):
        class Interrupt(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                if epoch == 2:
                    raise KeyboardInterrupt

        folder = self.create_tempdir().full_path
        backup = lambda: keras.callbacks.BackupAndRestore(folder)  # noqa: E731
        rule = lambda: maml_tf.LearnedStepSizes(0.1)  # noqa: E731
        expected = make_learner(rule())
        fit(expected, 4)
        with self.assertRaises(KeyboardInterrupt):
            fit(make_learner(rule()), 4, callbacks=[backup(), Interrupt()])
        resumed = make_learner(rule())
        history = fit(resumed, 4, callbacks=[backup()])
        self.assertEqual(history.epoch, [2, 3])
        assert_same(values(resumed.variables), values(expected.variables), rtol=0)
        assert_same(values(resumed.optimizer.variables), values(expected.optimizer.variables), rtol=0)


_OPTIONS = {
    "sgd": lambda: {"rule": [0.1, 0.05], "inner_steps": 2},
    "learned": lambda: {"rule": maml_tf.LearnedStepSizes(0.1), "first_order": True},
    "learned_layer": lambda: {"rule": maml_tf.LearnedStepSizes(0.1, "layer_and_step", steps=3)},
    "chain": lambda: {"rule": maml_tf.Chain([maml_tf.ClipByValue(1.0), maml_tf.LearnedStepSizes(0.1, "layer")])},
    "matching": lambda: {"adapted": maml_tf.matching("head")},
    "head": lambda: {"adapted": maml_tf.head, "task_map": "mapped", "parallel_tasks": 2},
    "own_loss": lambda: {"loss": absolute_error},
    "loss_object": lambda: {"loss": keras.losses.LogCosh()},
}


class SavingTest(WritingTest):
    def path(self, name="learner.keras"):
        return os.path.join(self.create_tempdir().full_path, name)

    @parameterized.named_parameters(*_OPTIONS.items())
    def test_saved_model_is_the_learner(self, options):
        learner = make_learner(**options())
        path = self.path()
        learner.save(path)
        restored = keras.saving.load_model(path)
        self.assertIsInstance(restored, maml_tf.MAML)
        self.assertEqual(restored.get_config()["inner_steps"], learner.inner_steps)
        self.assertEqual(restored.first_order, learner.first_order)
        self.assertEqual(restored.parallel_tasks, learner.parallel_tasks)
        assert_same(values(restored.variables), values(learner.variables), rtol=0)
        assert_same(restored.meta_gradients(make_data()), learner.meta_gradients(make_data()))

    @parameterized.named_parameters(
        *((name, _OPTIONS[name]) for name in ("learned_layer", "chain", "head", "own_loss"))
    )
    def test_saved_model_trains_on_as_if_never_saved(self, options):
        learner = make_learner(**options())
        fit(learner)
        path = self.path()
        learner.save(path)
        restored = keras.saving.load_model(path)
        assert_same(values(restored.variables), values(learner.variables), rtol=0)
        assert_same(fit(restored).history["loss"], fit(learner).history["loss"])
        assert_same(values(restored.trainable_variables), values(learner.trainable_variables))

    @parameterized.parameters("sequential", "subclassed", "nested")
    def test_kinds_of_model(self, kind):
        if kind == "subclassed":
            model = Subclassed()
            model(draw(1, 2))
        else:
            inner = [mlp((2,), (3,))] if kind == "nested" else [keras.layers.Dense(3), layers.BatchNormalization()]
            model = keras.Sequential([keras.Input((2,)), *inner, keras.layers.Dense(1)])
        learner = make_learner(model=model)
        fit(learner)
        path = self.path()
        learner.save(path)
        restored = keras.saving.load_model(path)
        self.assertIs(type(restored.model), type(model))
        assert_same(restored.predict(make_data()[0], verbose=0), learner.predict(make_data()[0], verbose=0))

    def test_several_losses(self):
        inputs = keras.Input((2,))
        model = keras.Model(inputs, {"a": keras.layers.Dense(1)(inputs), "b": keras.layers.Dense(1)(inputs)})
        learner = make_learner(model=model, loss={"a": "mse", "b": keras.losses.MeanAbsoluteError()})
        path = self.path()
        learner.save(path)
        restored = keras.saving.load_model(path)
        (support_x, support_y, query_x), query_y = make_data()
        data = (support_x, {"a": support_y, "b": support_y}, query_x), {"a": query_y, "b": query_y}
        assert_same(restored.meta_gradients(data), learner.meta_gradients(data))

    def test_not_compiled(self):
        learner = maml_tf.MAML(mlp((2,), (3,)), "mse")
        path = self.path()
        learner.save(path)
        restored = keras.saving.load_model(path)
        assert_same(restored(make_data()[0]), learner(make_data()[0]))
        self.assertFalse(restored.compiled)

    def test_weights_alone(self):
        learner = make_learner(maml_tf.LearnedStepSizes(0.1))
        fit(learner)
        path = self.path("learner.weights.h5")
        learner.save_weights(path)
        restored = make_learner(maml_tf.LearnedStepSizes(0.5))
        restored.load_weights(path)
        assert_same(values(restored.variables), values(learner.variables), rtol=0)

    def test_clone_and_config(self):
        learner = make_learner(maml_tf.LearnedStepSizes(0.1), inner_steps=3, adapted=maml_tf.head)
        copy = maml_tf.MAML.from_config(learner.get_config())
        self.assertEqual(copy.get_config(), learner.get_config())

    def test_custom_objects_reach_the_wrapped_model(self):
        class Own(keras.layers.Dense):
            pass

        learner = make_learner(model=keras.Sequential([keras.Input((2,)), Own(1)]))
        copy = maml_tf.MAML.from_config(learner.get_config(), custom_objects={"Own": Own})
        self.assertIs(type(copy.model.layers[0]), Own)

    def test_saved_model_of_a_function(self):
        learner = make_learner()
        inputs, _ = make_data()
        path = self.path("exported")
        predict = tf.function(lambda *given: learner(given))
        signature = [tf.TensorSpec([None, *array.shape[1:]], array.dtype) for array in inputs]
        module = tf.Module()
        module.variables_ = [variable.value for variable in learner.variables]
        module.predict = tf.function(predict, input_signature=signature)
        tf.saved_model.save(module, path)
        loaded = tf.saved_model.load(path)
        assert_same(loaded.predict(*inputs), learner(inputs))

    def test_export(self):
        learner = make_learner()
        inputs, _ = make_data()
        path = self.path("exported")
        signature = [keras.InputSpec(shape=(None, *array.shape[1:]), dtype="float32") for array in inputs]
        learner.export(path, input_signature=[tuple(signature)], verbose=False)
        loaded = tf.saved_model.load(path)
        assert_same(loaded.serve(tuple(map(tf.constant, inputs))), learner(inputs))

    def test_export_after_fit_takes_any_number_of_examples_of_the_datas_types(self):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        learner = maml_tf.MAML(model, keras.losses.SparseCategoricalCrossentropy(from_logits=True), 0.1)
        learner.compile("sgd")
        with self.assertRaisesRegex(ValueError, "input_signature"):
            maml_tf.MAML(model, lambda y, outputs: tf.reduce_mean(outputs)).export(self.path("unknown"))
        path = self.path("unfed")
        learner.export(path)
        unfed = tf.saved_model.load(path)

        def episodes(shots):
            (x, _, query_x), _ = make_data(shots=shots)
            labels = np.arange(len(x) * shots).reshape(len(x), shots) % 3
            return (x, labels, query_x), np.zeros(query_x.shape[:2], np.int64)

        learner.fit(*episodes(4), verbose=0)
        path = self.path("exported")
        learner.export(path)
        loaded = tf.saved_model.load(path)
        inputs, _ = episodes(7)
        expected = learner(inputs)
        assert_same(loaded.serve(tuple(map(tf.constant, inputs))), expected)
        # Labels are int32 where no data have said otherwise; the weights are from before fit.
        support_x, support_y, query_x = inputs
        self.assertEqual(unfed.serve((support_x, support_y.astype(np.int32), query_x)).shape, expected.shape)


if __name__ == "__main__":
    absltest.main()
