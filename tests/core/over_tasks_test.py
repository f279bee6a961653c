"""Tests of maml_tf.core.over_tasks."""

import os

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf.core.adaptation import adapt
from maml_tf.core.over_tasks import TASK_MAPS, meta_gradient, over_tasks
from maml_tf.core.update_rules import SGD

_WAYS = (("mapped", None), ("mapped", 1), ("mapped", 3), ("vectorized", None), ("vectorized", 2), ("unrolled", None))


def product(params, task):
    return params["w"] * task["x"] + params["b"], {"x": task["x"], "number": tf.constant(7)}


class MetaGradientTest(parameterized.TestCase):
    @parameterized.parameters(*_WAYS)
    def test_mean_of_tasks(self, task_map, parallel_tasks):
        params = {"w": tf.constant(2.0), "b": tf.constant(1.0)}
        tasks = {"x": tf.constant([1.0, 2.0, 3.0, 6.0])}
        result = meta_gradient(product, params, tasks, task_map=task_map, parallel_tasks=parallel_tasks)
        self.assertEqual(float(result.loss), 7.0)
        np.testing.assert_array_equal(result.task_losses, [3.0, 5.0, 7.0, 13.0])
        self.assertEqual((float(result.gradients["w"]), float(result.gradients["b"])), (3.0, 1.0))
        np.testing.assert_array_equal(result.auxiliary["x"], tasks["x"])
        np.testing.assert_array_equal(result.auxiliary["number"], [7] * 4)

    @parameterized.product(task_map=TASK_MAPS, first_order=(False, True))
    def test_through_adaptation(self, task_map, first_order):
        """A step on (w - t)^2 is w' = w - 2 alpha (w - t), so that d (w' - t)^2 / d w = 2 (1 - 2 alpha)^2 (w - t).

        To first order one factor 1 - 2 alpha is 1.
        """

        def objective(params, target, step):
            return (params["w"] - target) ** 2

        def outer(params, target):
            adapted = adapt(objective, params, [target], SGD(0.1), first_order=first_order)
            return objective(adapted.params, target, None), ()

        targets = tf.constant([1.0, 5.0], tf.float64)
        result = meta_gradient(outer, {"w": tf.constant(2.0, tf.float64)}, targets, task_map=task_map)
        expected = np.mean(2 * (2.0 - targets)) * (0.8 if first_order else 0.64)
        np.testing.assert_allclose(result.gradients["w"], expected, rtol=1e-14)

    @parameterized.parameters(("mapped", 3, 4, 3), ("vectorized", 2, 2, 1), ("vectorized", 3, 2, 1))
    def test_no_more_tasks_at_once_than_asked_for(self, task_map, parallel_tasks, loops, iterations):
        seen = []

        def function(x):
            seen.append(x.shape.as_list())
            return tf.reduce_sum(x)

        with absltest.mock.patch.object(tf, "while_loop", wraps=tf.while_loop) as while_loop:
            over_tasks(function, tf.ones((4, 2)), task_map=task_map, parallel_tasks=parallel_tasks)
        self.assertEqual(while_loop.call_args.kwargs["parallel_iterations"], iterations)
        self.assertEqual(int(while_loop.call_args.kwargs["maximum_iterations"]), loops)
        self.assertEqual(seen, [[2]])

    @parameterized.parameters(("mapped", None), ("mapped", 2), ("vectorized", 2), ("vectorized", 5))
    def test_gradients_are_added_in_memory_that_does_not_grow_with_the_tasks(self, task_map, parallel_tasks):
        """No tensor of the graph, nor of its loops, holds a gradient of each of the 7 tasks."""

        @tf.function(autograph=False)
        def gradient(w, tasks):
            return meta_gradient(
                lambda w, x: (tf.reduce_sum(w**2) * x, ()), w, tasks, task_map=task_map, parallel_tasks=parallel_tasks
            ).gradients

        tasks = tf.constant([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
        np.testing.assert_allclose(gradient(tf.fill([11], 2.0), tasks), np.full(11, 4 * 4.0))
        graphs = [gradient.get_concrete_function(tf.fill([11], 2.0), tasks).graph]
        for graph in graphs:
            graphs += [function.graph for function in graph._functions.values() if hasattr(function, "graph")]
            for operation in graph.get_operations():
                for tensor in operation.outputs:
                    self.assertNotEqual(tensor.shape[:1].as_list() if tensor.shape.rank == 2 else None, [7])

    @parameterized.parameters((5, 5), (0, os.cpu_count()))
    def test_mapped_tasks_are_as_many_at_once_as_threads(self, threads, expected):
        setting = absltest.mock.patch.object(
            tf.config.threading, "get_inter_op_parallelism_threads", return_value=threads
        )
        with setting, absltest.mock.patch.object(tf, "while_loop", wraps=tf.while_loop) as while_loop:
            over_tasks(tf.identity, tf.ones(2), task_map="mapped")
        self.assertEqual(while_loop.call_args.kwargs["parallel_iterations"], expected)

    @parameterized.parameters(*TASK_MAPS)
    def test_sparse_gradients_become_dense(self, task_map):
        def outer(params, indices):
            return tf.reduce_sum(tf.gather(params, indices)), ()

        table = tf.zeros((4, 2))
        result = meta_gradient(outer, table, tf.constant([[0, 1], [1, 3]]), task_map=task_map)
        np.testing.assert_array_equal(result.gradients[:, 0], [0.5, 1.0, 0.0, 0.5])

    @parameterized.parameters(*TASK_MAPS)
    def test_missing_gradient_is_named(self, task_map):
        params = {"w": tf.constant(1.0), "b": tf.constant(0.0)}
        with self.assertRaisesRegex(ValueError, "the meta-gradient of every.*None for 'b'. Freeze the variable"):
            meta_gradient(lambda p, x: (p["w"] * x, ()), params, tf.constant([1.0, 2.0]), task_map=task_map)

    @parameterized.parameters(*TASK_MAPS)
    def test_missing_second_derivative_is_named(self, task_map):
        def objective(params, x, step):
            return tf.nn.softsign(params["w"] * x)

        def outer(params, x):
            return objective(adapt(objective, params, [x], SGD(0.1)).params, x, None), ()

        def compute():
            return meta_gradient(outer, {"w": tf.constant(1.0)}, tf.constant([1.0, 2.0]), task_map=task_map).loss

        for run in (compute, tf.function(compute)):
            with self.assertRaisesRegex(LookupError, "Expected every operation.*SoftsignGrad.*check_second_order"):
                run()


class OverTasksTest(parameterized.TestCase):
    @parameterized.parameters(*_WAYS)
    def test_nests_and_dtypes(self, task_map, parallel_tasks):
        tasks = ({"x": tf.reshape(tf.range(8.0), (4, 2))}, tf.range(4))

        def function(task):
            inputs, number = task
            return {"sum": tf.reduce_sum(inputs["x"]), "pair": (number + 1, tf.cast(inputs["x"] > 3, tf.bool))}

        for run in (over_tasks, tf.function(over_tasks)):
            result = run(function, tasks, task_map=task_map, parallel_tasks=parallel_tasks)
            np.testing.assert_array_equal(result["sum"], [1.0, 5.0, 9.0, 13.0])
            np.testing.assert_array_equal(result["pair"][0], [1, 2, 3, 4])
            self.assertEqual(result["pair"][0].dtype, tf.int32)
            np.testing.assert_array_equal(result["pair"][1].numpy().sum(), 4)

    @parameterized.parameters("mapped", "vectorized")
    def test_unknown_number_of_tasks(self, task_map):
        @tf.function(input_signature=[tf.TensorSpec([None, 2])])
        def doubled(tasks):
            return over_tasks(lambda task: 2 * task, tasks, task_map=task_map)

        np.testing.assert_array_equal(doubled(tf.ones((3, 2))), 2 * np.ones((3, 2)))

    def test_tasks_that_cannot_be_merged_go_one_after_the_other(self):
        @tf.function  # Outside of one TensorFlow counts the traces of all tests, and warns of many.
        def doubled(tasks):
            return over_tasks(
                lambda row: tf.py_function(lambda values: 2.0 * values, [row], tf.float32), tasks, task_map="vectorized"
            )

        with self.assertNoLogs("tensorflow", "WARNING"):
            with self.assertWarnsRegex(UserWarning, ": EagerPyFunc in EagerPyFunc"):
                np.testing.assert_array_equal(doubled(tf.ones((3, 2))), 2 * np.ones((3, 2)))

    def test_unrolling_needs_the_number_of_tasks(self):
        @tf.function(input_signature=[tf.TensorSpec([None, 2])])
        def doubled(tasks):
            return over_tasks(lambda task: 2 * task, tasks, task_map="unrolled")

        with self.assertRaisesRegex(ValueError, "Expected a static number of tasks with task_map='unrolled'"):
            doubled(tf.ones((3, 2)))

    def test_unknown_way(self):
        with self.assertRaisesRegex(ValueError, "Expected task_map to be one of .*mapped.* Received: 'parallel'"):
            over_tasks(tf.identity, tf.ones(2), task_map="parallel")

    @parameterized.parameters(("mapped", 0), ("vectorized", -1), ("unrolled", 1))
    def test_bad_parallel_tasks(self, task_map, parallel_tasks):
        with self.assertRaisesRegex(ValueError, rf"parallel_tasks.*Received: .*{parallel_tasks}"):
            over_tasks(tf.identity, tf.ones(2), task_map=task_map, parallel_tasks=parallel_tasks)

    @parameterized.parameters(([None, None],), ([4, None],))
    def test_chunks_of_tasks_of_unknown_sizes(self, shape):
        @tf.function(input_signature=[tf.TensorSpec(shape)])
        def doubled(rows):
            return over_tasks(lambda row: 2.0 * row, rows, task_map="vectorized", parallel_tasks=3)

        rows = np.arange(8.0, dtype=np.float32).reshape(4, 2)
        np.testing.assert_array_equal(doubled(rows), 2 * rows)

    @parameterized.product(tasks=(1, 3, 4, 5), known=(True, False), jit_compile=(True, False))
    def test_chunks_of_any_number_of_tasks(self, tasks, known, jit_compile):
        @tf.function(input_signature=[tf.TensorSpec([tasks if known else None, 2])], jit_compile=jit_compile)
        def rotated(rows):
            def one(row):
                return row[::-1], tf.reduce_sum(row)

            return over_tasks(one, rows, task_map="vectorized", parallel_tasks=2)

        rows = np.arange(2.0 * tasks, dtype=np.float32).reshape(tasks, 2)
        swapped, sums = rotated(rows)
        np.testing.assert_array_equal(swapped, rows[:, ::-1])
        np.testing.assert_array_equal(sums, np.sum(rows, axis=1))


if __name__ == "__main__":
    absltest.main()
