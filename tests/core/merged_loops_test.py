"""Tests of maml_tf.core.merged_loops: loops of all tasks against those of each task alone."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from maml_tf.core.over_tasks import over_tasks
from tests.support.graph_loops import count, loops

TASKS, TIME, UNITS = 3, 4, 2
merged = functools.partial(over_tasks, task_map="vectorized")


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def states(inputs, kernel, shared):
    """The states of a recurrent network, [time, units]; the loop holds arrays, a counter and what all tasks share."""
    rows = tf.TensorArray(tf.float64, TIME).unstack(inputs)

    def step(time, state, kept):
        state = tf.tanh(rows.read(time) + tf.linalg.matvec(kernel, state) * shared[time])
        return time + 1, state, kept.write(time, state)

    start = tf.constant(0), tf.zeros(UNITS, tf.float64), tf.TensorArray(tf.float64, TIME, element_shape=[UNITS])
    return tf.while_loop(lambda time, *_: time < TIME, step, start, maximum_iterations=TIME)[2].stack()


def derivatives(task, shared):
    """Two derivatives: the second is of loops that keep lists of lists."""
    with tf.GradientTape() as outer:
        outer.watch(task)
        with tf.GradientTape() as inner:
            inner.watch(task)
            results = states(*task, shared)
            loss = tf.reduce_sum(results**2)
        gradients = inner.gradient(loss, task)
        norm = sum(tf.reduce_sum(tf.sin(gradient)) for gradient in gradients)
    return results, gradients, outer.gradient(norm, task)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_second_derivatives_of_a_loop_over_time(jit_compile):
    tasks = tf.constant(draw(TASKS, TIME, UNITS)), tf.constant(draw(TASKS, UNITS, UNITS, seed=1))
    shared = tf.constant(draw(TIME, seed=2))

    def function(*task):
        return derivatives(task, shared)

    together = tf.function(lambda *tasks: merged(lambda task: function(*task), tasks), jit_compile=jit_compile)
    together = together.get_concrete_function(*tasks)
    alone = tf.function(function, autograph=False).get_concrete_function(*(leaf[0] for leaf in tasks))
    assert count(together.graph) == count(alone.graph) > 1
    results = tf.nest.flatten(together(*tasks))
    for number in range(TASKS):
        expected = tf.nest.flatten(alone(*(leaf[number] for leaf in tasks)))
        for result, other in zip(results, expected, strict=True):
            np.testing.assert_allclose(result[number], other, rtol=1e-12, atol=1e-12)


def test_what_becomes_a_tasks_own_in_a_later_iteration():
    def function(value):
        def step(number, first, second, third):
            return number + 1, second, third, value

        return tf.while_loop(lambda number, *_: number < 2, step, (0, *[tf.zeros([], tf.float64)] * 3))[1:]

    values = draw(TASKS)
    first, second, third = tf.function(merged, autograph=False)(function, values)
    np.testing.assert_array_equal(first, np.zeros(TASKS))
    np.testing.assert_array_equal(second, values)
    np.testing.assert_array_equal(third, values)


def iterated(count):
    return tf.while_loop(lambda number, _: number < count, lambda number, x: (number + 1, 2.0 * x), (0, tf.ones([])))[1]


def test_tasks_may_take_different_numbers_of_iterations():
    counts = tf.constant([3, 0, 5])
    np.testing.assert_array_equal(tf.function(merged, autograph=False)(iterated, counts), [8.0, 1.0, 32.0])


def test_no_derivative_of_different_numbers_of_iterations():
    def slope(task):
        count, x = task
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.while_loop(lambda number, _: number < count, lambda number, y: (number + 1, y * x), (0, x))[1]
        return tape.gradient(y, x)

    with pytest.raises(ValueError, match=r"'vectorized'.*Received: .*while.*'mapped'"):
        loops(functools.partial(merged, slope), (tf.constant([3, 0, 5]), tf.ones([3])))
