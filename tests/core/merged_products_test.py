"""Tests of maml_tf.core.merged_products."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import maml_tf
from maml_tf.core.merged_map import merged_map
from tests.support.graph_loops import operations


def products(graph):
    return [one for one in operations(graph) if one.type.startswith("BatchMatMul")]


@pytest.mark.parametrize(
    ("left", "right", "adjoint_a", "adjoint_b"),
    [
        ((3, 1, 4, 5), (5, 2), False, False),
        ((3, 1, 4, 5), (2, 5), False, True),
        ((3, 2, 5, 4), (5, 2), True, False),
        ((3, 1, 4, 5), (3, 5, 2), False, False),
        ((3, 6, 4, 5), (3, 2, 5), False, True),
        ((3, 1, 4, 5), (3, 6, 5, 2), False, False),
        ((7, 1, 4, 5), (3, 1, 5, 2), False, False),
    ],
)
def test_products_are_right_and_no_operand_is_repeated_by_the_kernel(left, right, adjoint_a, adjoint_b):
    random = np.random.default_rng(0)
    left, right = (random.normal(size=shape) for shape in (left, right))
    # The operands with a leading axis of 3 are the tasks', the others are one for all.
    tasks = [tf.constant(each) for each in (left, right) if len(each) == 3 and each.ndim > 2]

    def multiply(given):
        given = list(given)
        operands = [given.pop(0) if len(each) == 3 and each.ndim > 2 else tf.constant(each) for each in (left, right)]
        return tf.linalg.matmul(*operands, adjoint_a=adjoint_a, adjoint_b=adjoint_b)

    function = tf.function(lambda *given: merged_map(multiply, given), autograph=False).get_concrete_function(*tasks)
    expected = [multiply([each[task] for each in tasks]) for task in range(3)]
    np.testing.assert_allclose(function(*tasks), np.stack(expected), rtol=1e-12, atol=1e-12)
    for product in products(function.graph):
        one, other = product.inputs
        assert one.shape[:-2] == other.shape[:-2], (one.shape, other.shape)


def test_attention_with_one_example_a_task_is_as_mapped():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 6), dtype="float64")
    options = dict(dtype="float64")
    attended = keras.layers.MultiHeadAttention(2, 3, **options)(inputs, inputs)
    outputs = keras.layers.Dense(2, **options)(keras.layers.EinsumDense("abc,cd->abd", (None, 5), **options)(attended))
    model = keras.Model(inputs, outputs)
    random = np.random.default_rng(0)
    x, y = random.normal(size=(3, 1, 4, 6)), random.normal(size=(3, 1, 4, 2))
    found = []
    for task_map in ("mapped", "vectorized"):
        learner = maml_tf.MAML(model, "mse", 0.1, inner_steps=2, task_map=task_map)
        function = tf.function(learner.meta_gradients, autograph=False).get_concrete_function(((x, y, x), y))
        found.append(tf.nest.flatten(function(tf.nest.map_structure(tf.constant, ((x, y, x), y)))))
    for product in products(function.graph):
        one, other = product.inputs
        assert one.shape[:-2] == other.shape[:-2], (product.name, one.shape, other.shape)
    for mapped, merged in zip(*found, strict=True):
        np.testing.assert_allclose(merged, mapped, rtol=1e-10, atol=1e-12)
