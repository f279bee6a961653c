"""Tests of maml_tf.evaluation."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

import maml_tf
from maml_tf.core.over_tasks import over_tasks
from maml_tf.evaluation import Evaluator, accuracy, evaluate
from maml_tf.models import mlp
from tests.conformance import registry

_TASKS, _STEPS = 3, 4


def make_learner(model=registry.MODELS[0], **options):
    return registry.make_learner(model, registry.RULES[1], 1, **{"task_map": "vectorized", **options})


def mean_squared_error(targets, outputs):
    return tf.reduce_mean((targets - outputs) ** 2)


def task_by_task(learner, data, steps):
    """Adapts to each task alone and measures with NumPy: [steps + 1, tasks]."""
    (support_x, support_y, query_x), query_y = data
    rows = []
    for step in range(steps + 1):
        row = []
        for task in range(len(query_y)):
            adapted = learner.adapt(support_x[task], support_y[task], steps=step)
            row.append(np.mean((query_y[task] - np.asarray(adapted(query_x[task]))) ** 2))
        rows.append(row)
    return np.array(rows)


class EvaluateTest(parameterized.TestCase):
    @parameterized.parameters(("vectorized", False), ("mapped", False), ("unrolled", False), ("vectorized", True))
    def test_equals_adapting_to_each_task_alone(self, task_map, jit_compile):
        learner = make_learner(task_map=task_map)
        data = registry.make_data(registry.MODELS[0], tasks=_TASKS)
        result = evaluate(learner, [data], _STEPS, jit_compile=jit_compile)
        np.testing.assert_allclose(result.values["loss"], task_by_task(learner, data, _STEPS), rtol=1e-11)

    @parameterized.named_parameters(
        *((entry.name, entry) for entry in registry.NORMALIZED_MODELS if entry.classes is None)
    )
    def test_layers_with_state(self, entry):
        learner = make_learner(entry)
        data = registry.make_data(entry, tasks=_TASKS)
        result = evaluate(learner, [data], 2)
        np.testing.assert_allclose(result.values["loss"], task_by_task(learner, data, 2), rtol=1e-10)

    def test_meta_batches_are_joined_in_order(self):
        learner = make_learner()
        data = registry.make_data(registry.MODELS[0], tasks=4)
        whole = evaluate(learner, [data], 1).values["loss"]
        pair = lambda first, last: tf.nest.map_structure(lambda x: x[first:last], data)  # noqa: E731
        np.testing.assert_allclose(evaluate(learner, [pair(0, 3), pair(3, 4)], 1).values["loss"], whole, rtol=1e-11)
        dataset = tf.data.Dataset.from_tensor_slices(data).batch(3)
        np.testing.assert_allclose(evaluate(learner, dataset, 1).values["loss"], whole, rtol=1e-11)

    def test_agrees_with_the_query_loss_of_the_learner(self):
        learner = make_learner()
        data = registry.make_data(registry.MODELS[0], tasks=_TASKS)
        loss, _ = learner.meta_gradients(data)
        np.testing.assert_allclose(evaluate(learner, [data]).summary("loss", 1).mean, loss, rtol=1e-12)

    def test_goes_over_tasks_as_the_learner_does(self):
        learner = make_learner(parallel_tasks=2)
        data = registry.make_data(registry.MODELS[0], tasks=_TASKS)
        with absltest.mock.patch("maml_tf.learner.over_tasks", wraps=over_tasks) as way:
            evaluate(learner, [data], 1)
        begin, advance = (call.kwargs for call in way.call_args_list)
        self.assertEqual(begin, {"task_map": "vectorized", "parallel_tasks": 2})
        self.assertEqual(advance, begin)

    def test_no_steps_are_not_the_learners(self):
        values = evaluate(make_learner(), [registry.make_data(registry.MODELS[0])], 0).values
        self.assertLen(values["loss"], 1)

    @parameterized.parameters((["mse"],), ({"mse": "mse"},))
    def test_metrics_that_are_no_functions_by_name(self, metrics):
        with self.assertRaisesRegex(TypeError, "metrics as a dictionary from name to function. Received: .*mse"):
            Evaluator(make_learner(), metrics)

    def test_metrics_with_a_state(self):
        with self.assertRaisesRegex(TypeError, r"Received: Keras metrics, which have a state, for \['mse'\]"):
            Evaluator(make_learner(), {"mse": keras.metrics.MeanSquaredError()})

    def test_metrics_that_return_a_value_for_each_example(self):
        data = registry.make_data(registry.MODELS[0], tasks=_TASKS)
        result = evaluate(make_learner(), [data], 1, metrics={"mse": keras.losses.mean_squared_error})
        self.assertEqual(result.values["mse"].shape, (2, _TASKS, registry.QUERIES))
        for summarise in (lambda: result.summary("mse", 1), lambda: result.diverged("mse")):
            with self.assertRaisesRegex(ValueError, rf"Received: 'mse' of shape \({registry.QUERIES},"):
                summarise()

    def test_a_model_that_is_no_learner(self):
        with self.assertRaisesRegex(TypeError, "Expected a maml_tf.MetaLearner.* Received: <Functional"):
            evaluate(mlp((2,), (3,)), [])

    def test_metrics_by_name(self):
        learner = make_learner()
        data = registry.make_data(registry.MODELS[0], tasks=_TASKS)
        metrics = {"mse": mean_squared_error, "count": lambda y, p: tf.size(y)}
        result = evaluate(learner, [data], 2, metrics=metrics)
        self.assertEqual(set(result.values), {"mse", "count"})
        np.testing.assert_allclose(result.values["mse"], evaluate(learner, [data], 2).values["loss"], rtol=1e-11)
        np.testing.assert_array_equal(result.values["count"], np.full((3, _TASKS), registry.QUERIES))

    def test_learner_stays_as_it_is(self):
        entry = registry.NORMALIZED_MODELS[0]
        learner = make_learner(entry)
        before = [variable.numpy() for variable in learner.variables]
        evaluate(learner, [registry.make_data(entry)], 3)
        for variable, value in zip(learner.variables, before, strict=True):
            np.testing.assert_array_equal(variable, value)

    def test_only_the_adapted_variables_move(self):
        entry = registry.MODELS[0]
        learner = make_learner(entry, adapted=maml_tf.head)
        data = registry.make_data(entry, tasks=_TASKS)
        np.testing.assert_allclose(
            evaluate(learner, [data], 2).values["loss"], task_by_task(learner, data, 2), rtol=1e-11
        )

    def test_dropout_draws_new_masks_at_each_step_and_task(self):
        keras.utils.set_random_seed(1)
        layers = [keras.layers.Dense(16, "relu"), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
        learner = maml_tf.MAML(keras.Sequential([keras.Input((2,)), *layers]), "mse", 0.1)
        x = np.tile(np.random.default_rng(0).standard_normal((1, 4, 2)), (3, 1, 1)).astype(np.float32)
        y = x[..., :1]
        values = evaluate(learner, [((x, y, x), y)], 2).values["loss"]
        self.assertLen(set(values[0]), 1)
        self.assertLen(set(values[1]), 3)
        np.testing.assert_array_equal(values, evaluate(learner, [((x, y, x), y)], 2).values["loss"])

    def test_negative_steps(self):
        with self.assertRaisesRegex(ValueError, "steps=-1"):
            evaluate(make_learner(), [registry.make_data(registry.MODELS[0])], -1)

    def test_no_episodes(self):
        with self.assertRaisesRegex(ValueError, "at least one task. Received: 0"):
            evaluate(make_learner(), [])

    def test_episode_of_another_form(self):
        with self.assertRaisesRegex(ValueError, r"Expected data of the form \(\(support_x"):
            evaluate(make_learner(), [np.ones((2, 3))])


class EvaluatorTest(absltest.TestCase):
    def test_graphs_do_not_grow_with_steps(self):
        evaluator = Evaluator(make_learner())
        data = registry.make_data(registry.MODELS[0])
        evaluator([data], 2)
        self.assertEqual(evaluator([data], 30).values["loss"].shape, (31, registry.TASKS))
        self.assertEqual(evaluator._evaluate.experimental_get_tracing_count(), 1)

    def test_reads_the_weights_at_every_call(self):
        learner = make_learner()
        evaluator, data = Evaluator(learner), registry.make_data(registry.MODELS[0])
        before = evaluator([data], 1).values["loss"]
        for variable in learner.trainable_variables:
            variable.assign(variable * 1.5)
        after = evaluator([data], 1).values["loss"]
        self.assertFalse(np.allclose(before, after))
        np.testing.assert_allclose(after, evaluate(learner, [data], 1).values["loss"], rtol=1e-12)

    def test_learned_step_sizes_are_those_of_each_step(self):
        entry = registry.MODELS[0]
        learner = registry.make_learner(entry, registry.RULES[4], 1)
        for number, variable in enumerate(learner.update_rule.trainable_variables):
            variable.assign(0.1 / (1 + number + np.arange(5)))
        data = registry.make_data(entry, tasks=2)
        np.testing.assert_allclose(
            evaluate(learner, [data], 7).values["loss"], task_by_task(learner, data, 7), rtol=1e-10
        )

    def test_divergence_of_a_learner(self):
        learner = maml_tf.MAML(mlp((1,), (), dtype="float32"), "mse", 1e20)
        x = np.ones((2, 3, 1), np.float32)
        result = evaluate(learner, [((x, 2 * x, x), 2 * x)], 5, divergence=1e6)
        self.assertEqual([result.summary("loss", step).diverged for step in (0, 5)], [0, 2])
        self.assertEqual(result.values["loss"].dtype, np.float64)


class AccuracyTest(parameterized.TestCase):
    @parameterized.parameters("int32", "int64", "uint8", "float32")
    def test_share_of_right_labels(self, dtype):
        logits = tf.constant([[1.0, 2.0], [3.0, 0.0], [0.0, 1.0], [5.0, 1.0]])
        for targets in ([1, 0, 0, 0], [[1], [0], [0], [0]]):
            self.assertEqual(float(accuracy(tf.constant(targets, dtype), logits)), 0.75)

    def test_one_hot_targets(self):
        with self.assertRaisesRegex(ValueError, r"one integer label for each example. Received: targets \(1, 5\)"):
            accuracy(tf.one_hot([3], 5), tf.zeros([1, 5]))


if __name__ == "__main__":
    absltest.main()
