"""What must not change a meta-gradient, and what must."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import absltest, parameterized

import maml_tf
from maml_tf.models import mlp
from tests.conformance import registry
from tests.support.graph_loops import count

_NETWORK = registry.MODELS[0]
_SGD = registry.RULES[0]
_LEARNED = registry.RULES[4]
_TASKS = 4
_WAYS = (
    ("unrolled", "unrolled", None),
    ("mapped", "mapped", None),
    ("mapped_two_at_a_time", "mapped", 2),
    ("vectorized", "vectorized", None),
    ("vectorized_two_at_a_time", "vectorized", 2),
)
_ONE_AT_A_TIME = (("mapped", "mapped", 1), ("vectorized", "vectorized", 1))


# Forwards, backwards, and backwards through both, of the support set and of the query set.
_LOOPS_OVER_TIME = {"gru_regressor": 6}


def assert_same(result, expected, rtol=1e-11):
    scale = max(np.max(np.abs(value)) for value in tf.nest.flatten(expected))
    for value, other in zip(tf.nest.flatten(result), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(value, other, rtol=rtol, atol=rtol * scale)


def permuted(data, order):
    return tf.nest.map_structure(lambda array: array[order], data)


class TaskMapTest(parameterized.TestCase):
    @parameterized.named_parameters(*_WAYS)
    def test_every_way_gives_the_same(self, task_map, parallel_tasks):
        self.assert_as_unrolled(task_map, parallel_tasks)

    @parameterized.named_parameters(*_ONE_AT_A_TIME)
    @pytest.mark.thorough
    def test_one_at_a_time_gives_the_same(self, task_map, parallel_tasks):
        self.assert_as_unrolled(task_map, parallel_tasks)

    def assert_as_unrolled(self, task_map, parallel_tasks):
        data = registry.make_data(_NETWORK, tasks=_TASKS)
        reference = registry.make_learner(_NETWORK, _LEARNED, 2)
        learner = registry.make_learner(_NETWORK, _LEARNED, 2, task_map=task_map, parallel_tasks=parallel_tasks)
        compiled = tf.function(learner.meta_gradients)
        assert_same(learner.meta_gradients(data), reference.meta_gradients(data))
        assert_same(compiled(data), reference.meta_gradients(data))
        assert_same(learner(data[0]), reference(data[0]))

    @parameterized.named_parameters(*((entry.name, entry) for entry in registry.MODELS))
    def test_every_model_vectorized_in_a_graph(self, model):
        self.assertEqual(self.loops(model, "vectorized"), _LOOPS_OVER_TIME.get(model.name, 0))

    @parameterized.named_parameters(*((entry.name, entry) for entry in registry.MODELS))
    @pytest.mark.thorough
    def test_every_model_mapped_in_a_graph(self, model):
        self.assertEqual(self.loops(model, "mapped"), _LOOPS_OVER_TIME.get(model.name, 0) + 1)  # That over the tasks.

    def loops(self, model, task_map):
        """Returns the number of loops in the graph, whose results are compared."""
        data = registry.make_data(model)
        compiled = tf.function(registry.make_learner(model, _SGD, 1, task_map=task_map).meta_gradients)
        assert_same(compiled(data), registry.make_learner(model, _SGD, 1).meta_gradients(data))
        return count(compiled.get_concrete_function(data).graph)


class CompilationTest(parameterized.TestCase):
    @parameterized.product(task_map=("unrolled", "vectorized"), first_order=(False, True))
    def test_eager_graph_and_xla_agree(self, task_map, first_order):
        data = registry.make_data(_NETWORK)
        options = {"task_map": task_map, "first_order": first_order}
        learner = registry.make_learner(_NETWORK, _LEARNED, 2, **options)
        eager = learner.meta_gradients(data)
        assert_same(tf.function(learner.meta_gradients)(data), eager)
        assert_same(tf.function(learner.meta_gradients, jit_compile=True)(data), eager)

    def test_graph_reads_the_weights_at_every_call(self):
        data = registry.make_data(_NETWORK)
        learner = registry.make_learner(_NETWORK, _LEARNED, 1)
        compiled = tf.function(learner.meta_gradients)
        before = [np.array(gradient) for gradient in compiled(data)[1]]
        for variable in learner.trainable_variables:
            variable.assign(variable * 1.5)
        after = compiled(data)
        assert_same(after, learner.meta_gradients(data))
        for gradient, other in zip(before, after[1], strict=True):
            self.assertFalse(np.allclose(gradient, other))


class ZeroStepsTest(absltest.TestCase):
    def test_adapt_without_batches_is_the_identity(self):
        params = {"w": tf.constant([1.0, 2.0])}
        adaptation = maml_tf.adapt(lambda *_: tf.constant(0.0), params, [], maml_tf.SGD(0.1))
        self.assertIs(adaptation.params, params)
        self.assertEqual((len(adaptation.path), adaptation.losses.shape), (1, (0,)))

    def test_learner_adapted_zero_steps_is_the_plain_model(self):
        for entry in registry.MODELS:
            with self.subTest(entry.name):
                learner = registry.make_learner(entry, _SGD, 1)
                (support_x, support_y, query_x), _ = registry.make_data(entry)
                adapted = learner.adapt(support_x[0], support_y[0], steps=0)
                self.assertIsNot(adapted, learner.model)
                expected = learner.model(query_x[0])
                np.testing.assert_array_equal(adapted(query_x[0]), expected)

    def test_rate_zero_is_the_plain_model_and_its_plain_gradient(self):
        model = mlp((2,), (4,), dtype="float64")
        data = registry.make_data(_NETWORK)
        learner = maml_tf.MAML(model, "mse", 0.0, inner_steps=2, task_map="unrolled")
        (_, _, query_x), query_y = data
        with tf.GradientTape() as tape:
            outputs = model(tf.reshape(query_x, (-1, 2)))
            loss = tf.reduce_mean((outputs - tf.reshape(query_y, (-1, 1))) ** 2)
        expected = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
        assert_same(learner.meta_gradients(data), (loss, expected))


class TasksTest(absltest.TestCase):
    def test_permuting_tasks_permutes_predictions_and_keeps_the_gradient(self):
        order = [2, 0, 3, 1]
        for task_map in ("mapped", "vectorized"):
            with self.subTest(task_map):
                data = registry.make_data(_NETWORK, tasks=_TASKS)
                learner = registry.make_learner(_NETWORK, _LEARNED, 2, task_map=task_map)
                shuffled = permuted(data, order)
                assert_same(learner(shuffled[0]), np.asarray(learner(data[0]))[order])
                assert_same(learner.meta_gradients(shuffled), learner.meta_gradients(data))

    def test_gradient_is_the_mean_of_each_task_alone(self):
        data = registry.make_data(_NETWORK, tasks=_TASKS)
        learner = registry.make_learner(_NETWORK, _LEARNED, 2)
        alone = [learner.meta_gradients(permuted(data, [task])) for task in range(_TASKS)]
        loss, gradients = learner.meta_gradients(data)
        assert_same(loss, np.mean([task_loss for task_loss, _ in alone]))
        means = [np.mean(task_gradients, axis=0) for task_gradients in zip(*(g for _, g in alone), strict=True)]
        assert_same(gradients, means)

    def test_a_task_repeated_changes_nothing(self):
        data = registry.make_data(_NETWORK)
        learner = registry.make_learner(_NETWORK, _SGD, 1)
        assert_same(learner.meta_gradients(permuted(data, [0, 0, 0])), learner.meta_gradients(permuted(data, [0])))

    def test_tasks_do_not_see_each_other(self):
        for entry in registry.MODELS:
            with self.subTest(entry.name):
                data = registry.make_data(entry)
                learner = registry.make_learner(entry, _SGD, 1)
                alone = np.concatenate([learner(permuted(data[0], [task])) for task in range(registry.TASKS)])
                assert_same(learner(data[0]), alone)


class AdaptTest(parameterized.TestCase):
    @parameterized.named_parameters(*((entry.name, entry) for entry in registry.MODELS))
    def test_leaves_the_model_alone_and_agrees_with_call(self, model):
        learner = registry.make_learner(model, registry.RULES[1], 2)
        before = [variable.numpy() for variable in learner.variables]
        inputs, _ = registry.make_data(model)
        support_x, support_y, query_x = inputs
        adapted = learner.adapt(support_x[0], support_y[0])
        for variable, value in zip(learner.variables, before, strict=True):
            np.testing.assert_array_equal(variable, value)
        changed = [
            not np.array_equal(variable, other)
            for variable, other in zip(adapted.trainable_variables, learner.model.trainable_variables, strict=True)
        ]
        self.assertTrue(all(changed), changed)
        assert_same(adapted(query_x[0]), learner(inputs)[0])

    def test_meta_gradients_and_predict_leave_the_model_alone(self):
        entry = next(entry for entry in registry.MODELS if entry.name == "batch_statistics_in_training")
        learner = registry.make_learner(entry, _SGD, 2)
        before = [variable.numpy() for variable in learner.variables]
        data = registry.make_data(entry)
        learner.meta_gradients(data)
        learner(data[0], training=True)
        keras.ops.convert_to_numpy(learner(data[0]))
        for variable, value in zip(learner.variables, before, strict=True):
            np.testing.assert_array_equal(variable, value)


if __name__ == "__main__":
    absltest.main()
