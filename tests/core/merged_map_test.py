"""Tests of maml_tf.core.merged_map: what of a learner's graph is merged over tasks, and what is said of the rest."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.ops.parallel_for import pfor

import maml_tf
from maml_tf.core.over_tasks import over_tasks
from tests.conformance import registry
from tests.merged_networks import NETWORKS
from tests.support.finite_differences import directional_difference, dot, mean_query_loss, unit_direction
from tests.support.graph_loops import count, loops

_SGD = registry.RULES[0]


def traced(network, **options):
    """Returns the loss and the meta-gradient of 2 steps, and the number of loops in the graph that made them."""
    entry = NETWORKS[network]
    learner = registry.make_learner(entry, _SGD, 2, **options)
    data = tf.nest.map_structure(tf.constant, registry.make_data(entry))
    function = tf.function(learner.meta_gradients, autograph=False).get_concrete_function(data)
    return tf.nest.flatten(function(data)), count(function.graph)


@pytest.mark.parametrize(
    ("network", "first_order", "unroll"),
    [("convolution", False, False), ("groups_and_dropout", True, True)],
)
def test_loops_over_steps_alone_are_left_and_results_are_the_same(network, first_order, unroll):
    options = {"first_order": first_order, "unroll": unroll}
    expected, loops_mapped = traced(network, task_map="mapped", **options)
    merged, loops_merged = traced(network, task_map="vectorized", **options)
    assert loops_merged == loops_mapped - 1  # The loop over tasks.
    assert bool(loops_merged) is not unroll
    for value, other in zip(merged, expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("network", ["strides", "depthwise"])
def test_central_differences(network):
    (loss, *gradients), loops_merged = traced(network, task_map="vectorized")
    assert loops_merged == 0
    entry = NETWORKS[network]
    learner, data = registry.make_learner(entry, _SGD, 2), registry.make_data(entry)
    direction = unit_direction(learner, seed=5)
    np.testing.assert_allclose(float(loss), mean_query_loss(learner, data), rtol=1e-12)
    assert abs(dot(gradients, direction) / directional_difference(learner, data, direction) - 1) < 1e-6


def test_what_goes_task_by_task_is_named_with_its_layer():
    model = keras.Sequential([keras.Input((2,)), keras.layers.GaussianNoise(0.1, name="noisy"), keras.layers.Dense(1)])
    learner = maml_tf.MAML(model, "mse", 0.1, task_map="vectorized")
    x, y = np.ones((2, 3, 2), np.float32), np.ones((2, 3, 1), np.float32)
    with pytest.warns(UserWarning, match=r": StatelessRandomNormalV2 in \S*noisy") as warned:
        tf.function(learner.meta_gradients)(((x, y, x), y))
    assert len(warned) == 1


def convolved(task):
    return tf.nn.conv2d(task[0], task[1], 1, "SAME")


def test_a_programs_own_vectorized_map_stays_as_it_is():
    tasks = tf.ones((2, 1, 4, 4, 1)), tf.ones((2, 3, 3, 1, 1))
    before = dict(pfor._pfor_converter_registry)
    alone = loops(lambda *tasks: tf.vectorized_map(convolved, tasks), *tasks)
    inside = []

    def function(task):
        others = threading.Thread(
            target=lambda: inside.append(loops(lambda *t: tf.vectorized_map(convolved, t), *tasks))
        )
        others.start()
        others.join()
        return convolved(task)

    assert loops(lambda *tasks: over_tasks(function, tasks, task_map="vectorized"), *tasks) == 0
    assert (alone, inside) == (1, [1])
    assert loops(lambda *tasks: tf.vectorized_map(convolved, tasks), *tasks) == 1
    assert pfor._pfor_converter_registry == before
