"""Threads share a learner: what they compute is what one thread computes, and learner and model stay as they are."""

import concurrent.futures
import threading
import time
import warnings
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

import maml_tf
from maml_tf.core.functional import FunctionalModel
from tests.support.small_learner import Subclassed, draw, make_data
from tests.support.small_models import sequential

_THREADS = 8
_X, _Y = draw(6, 2, seed=5), draw(6, 1, seed=6)


class Activity(keras.layers.Layer):
    """Adds a loss in its call."""

    def call(self, x):
        self.add_loss(keras.ops.mean(x**2))
        return x


def make_sequential():
    layers = [
        keras.layers.Dense(4, activation=lambda x: tf.tanh(x), kernel_regularizer="l2", activity_regularizer="l2"),
        keras.layers.Dropout(0.5, seed=1),
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "tanh"), Activity()]),
        keras.layers.Dense(1),
    ]
    layers[2].compile("sgd", loss="mse")
    return sequential(*layers, features=2)


def make_subclassed():
    model = Subclassed()
    model(_X)
    return model


def is_compiled(model):
    return [layer.compiled for layer in [model, *model.layers] if isinstance(layer, keras.Model)]


def in_threads(function, items):
    """Applies a function in threads that start together and change places often."""
    barrier = threading.Barrier(_THREADS)

    def wait_first(item):
        if item[0] < _THREADS:
            barrier.wait()
        return function(item[1])

    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(wait_first, enumerate(items)))


def slowly(method):
    """Makes a method wait once it is done, where threads could meet."""

    def call(*args, **kwargs):
        result = method(*args, **kwargs)
        time.sleep(1.0)
        return result

    return call


class ThreadsTest(parameterized.TestCase):
    @parameterized.named_parameters(("sequential", make_sequential), ("subclassed", make_subclassed))
    def test_mixed_calls_return_what_one_thread_gets(self, make_model):
        keras.utils.set_random_seed(3)
        model = make_model()
        model.compile("sgd", loss="mse", metrics=["mae"])
        learner = maml_tf.MAML(model, "mse", 0.1, task_map="mapped")
        learner.compile("sgd", metrics=["mae"])
        evaluator = maml_tf.Evaluator(learner)
        episodes = [make_data(tasks=2, shots=3 + number) for number in range(2)]
        before = [variable.numpy() for variable in learner.variables]

        def adapt(episode):
            adapted = learner.adapt(episode[0][0][0], episode[0][1][0])
            return [*adapted.get_weights(), *is_compiled(adapted)]

        calls = {
            "adapt": adapt,
            "predict": lambda episode: learner.predict(episode[0], verbose=0),
            "evaluate": lambda episode: learner.evaluate(*episode, verbose=0),
            "evaluator": lambda episode: evaluator([episode]).values["loss"],
            "maml_tf.evaluate": lambda episode: maml_tf.evaluate(learner, [episode], 1).values["loss"],
            "test_on_batch": lambda _: model.test_on_batch(_X, _Y)[0],
        }
        compiled = is_compiled(model)

        # `test_on_batch` is Keras' own, and no two threads can share its metrics.
        others = sorted(set(calls) - {"adapt", "test_on_batch"})
        items = [("adapt", 0), ("adapt", 1), *((name, 0) for name in others)]
        expected = {item: calls[item[0]](episodes[item[1]]) for item in items}
        items += [("adapt", 0), ("adapt", 1), ("adapt", 0), ("evaluate", 0), ("predict", 0)]
        expected_loss = calls["test_on_batch"](None)
        items = [items[index] for index in np.random.default_rng(0).permutation(len(items))]
        stop, losses = threading.Event(), []

        def use_the_model():
            while not stop.is_set():
                losses.append(calls["test_on_batch"](None))
                time.sleep(0.01)

        user = threading.Thread(target=use_the_model)
        user.start()
        try:
            results = in_threads(lambda item: calls[item[0]](episodes[item[1]]), items)
        finally:
            stop.set()
            user.join()
        for item, result in zip(items, results, strict=True):
            with self.subTest(item):
                for value, other in zip(tf.nest.flatten(result), tf.nest.flatten(expected[item]), strict=True):
                    np.testing.assert_allclose(value, other, rtol=1e-5)
        self.assertNotEmpty(losses)
        # Other threads change the order of the sums.
        np.testing.assert_allclose(losses, [expected_loss] * len(losses), rtol=1e-5)
        self.assertEqual(is_compiled(model), compiled)
        # Keras' own metrics and their counts apart, nothing has moved.
        own = {id(variable) for variable in learner.metrics_variables}
        for variable, value in zip(learner.variables, before, strict=True):
            if id(variable) not in own:
                np.testing.assert_array_equal(variable, value)

    def test_first_predictions_at_the_same_time(self):
        inputs, _ = make_data(tasks=2)
        learner = maml_tf.MAML(make_subclassed(), "mse", 0.1)
        learner.compile("sgd")
        with mock.patch.object(keras.Model, "make_predict_function", slowly(keras.Model.make_predict_function)):
            results = in_threads(lambda _: learner.predict(inputs, verbose=0), range(_THREADS))
        for result in results:
            np.testing.assert_allclose(result, learner.predict(inputs, verbose=0), rtol=1e-6)

    def test_the_warning_filters_are_left_alone(self):
        model = make_sequential()
        learner = maml_tf.MAML(model, "mse", 0.1)
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            before = list(warnings.filters)
            in_threads(lambda _: learner.adapt(_X, _Y), range(2 * _THREADS))
            self.assertEqual(warnings.filters, before)
        self.assertNotIn("lambda", " ".join(str(warning.message) for warning in raised))


class UnchangedTest(absltest.TestCase):
    def test_losses_of_the_users_last_call_stay(self):
        model = make_sequential()
        learner = maml_tf.MAML(model, "mse", 0.1)
        learner.compile("sgd")
        model(_X)
        before = [float(loss) for loss in model.losses]
        self.assertLen(before, 3)
        learner.adapt(_X, _Y)
        learner.predict(make_data()[0], verbose=0)
        self.assertEqual([float(loss) for loss in model.losses], before)

    def test_a_mask_is_not_left_on_the_users_tensor(self):
        model = sequential(keras.layers.Lambda(lambda x: x, mask=lambda x, mask=None: x[:, 0] > 0))
        x = tf.constant(draw(4, 3))
        pure = FunctionalModel(model)
        pure(pure.parameters(), pure.state(), x, training=True)
        self.assertFalse(hasattr(x, "_keras_mask"))


if __name__ == "__main__":
    absltest.main()
