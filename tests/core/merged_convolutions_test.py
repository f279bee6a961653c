"""Tests of maml_tf.core.merged_convolutions: against TensorFlow's own convolutions, a task after the other."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from maml_tf.core.over_tasks import over_tasks
from tests.support.graph_loops import count

TASKS, BATCH = 3, 2


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def derivatives(convolution):
    """Returns `(images, filters) -> results`: outputs, gradients, and gradients of these, so that every kind occurs."""

    def function(task):
        images, filters = task
        with tf.GradientTape(persistent=True) as outer:
            outer.watch(task)
            with tf.GradientTape() as inner:
                inner.watch(task)
                outputs = convolution(images, filters)
                value = tf.reduce_sum(tf.sin(outputs))
            gradients = inner.gradient(value, task)
            norm = tf.reduce_sum(gradients[0] ** 2) + tf.reduce_sum(tf.sin(gradients[1]))
        return outputs, gradients, outer.gradient(norm, task)

    return function


def by_group(images, filters, groups, **options):
    """A grouped convolution as one convolution a group."""
    pairs = zip(tf.split(images, groups, axis=-1), tf.split(filters, groups, axis=-1), strict=True)
    return tf.concat([tf.nn.conv2d(image, kernel, **options) for image, kernel in pairs], axis=-1)


def channels_first(images, filters, **options):
    images = tf.transpose(images, [0, 3, 1, 2])
    return tf.transpose(tf.nn.conv2d(images, filters, data_format="NCHW", **options), [0, 2, 3, 1])


CASES = {
    "same": (tf.nn.conv2d, {"strides": 1, "padding": "SAME"}, (5, 6, 2), (3, 2, 2, 4)),
    "strides": (tf.nn.conv2d, {"strides": (2, 3), "padding": "SAME"}, (6, 8, 2), (3, 3, 2, 4)),
    "strides_that_leave_a_rest": (tf.nn.conv2d, {"strides": 3, "padding": "VALID"}, (7, 6, 2), (2, 2, 2, 4)),
    "strides_over_the_kernel": (tf.nn.conv2d, {"strides": 3, "padding": "SAME"}, (7, 6, 2), (1, 2, 2, 4)),
    "zeros_as_told": (
        tf.nn.conv2d,
        {"strides": 2, "padding": [[0, 0], [2, 1], [0, 1], [0, 0]]},
        (5, 6, 2),
        (3, 3, 2, 4),
    ),
    "dilations": (
        tf.nn.convolution,
        {"strides": 1, "padding": "SAME", "dilations": (2, 3)},
        (7, 8, 2),
        (3, 2, 2, 4),
    ),
    "three_axes": (tf.nn.conv3d, {"strides": (1, 1, 2, 1, 1), "padding": "SAME"}, (3, 4, 3, 2), (2, 2, 3, 2, 3)),
    "depthwise": (tf.nn.depthwise_conv2d, {"strides": (1, 2, 2, 1), "padding": "SAME"}, (5, 6, 2), (3, 3, 2, 2)),
}
# Of their gradients TensorFlow has no kernel on a CPU: another way to the same convolution.
WITHOUT_KERNEL = {
    "groups": (tf.nn.conv2d, functools.partial(by_group, groups=2), (5, 6, 4), (3, 3, 2, 6), {"strides": 2}),
    "channels_first": (channels_first, tf.nn.conv2d, (5, 6, 2), (3, 3, 2, 4), {"strides": 2}),
    "dilations": (tf.nn.conv2d, tf.nn.convolution, (7, 8, 2), (3, 2, 2, 4), {"dilations": (2, 3)}),
}


def check(function, images, filters, expected_of=None, unknown=False, **options):
    tasks = images, filters
    expected = [(expected_of or function)((tf.constant(x), tf.constant(w))) for x, w in zip(*tasks, strict=True)]
    expected = tf.nest.map_structure(lambda *leaves: np.stack(leaves), *expected)
    specs = [tf.TensorSpec(array.shape, array.dtype) for array in tasks]
    if unknown:
        specs = [tf.TensorSpec([None] * 4 + [2], tf.float64), tf.TensorSpec([None, *filters.shape[1:]], tf.float64)]
    merged = tf.function(functools.partial(over_tasks, function, task_map="vectorized"), autograph=False, **options)
    merged = merged.get_concrete_function(tuple(specs))
    assert count(merged.graph) == 0
    results = merged(*(tf.constant(array) for array in tasks))
    for result, other in zip(tf.nest.flatten(results), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(result, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_every_derivative(case):
    operation, options, image, kernel = CASES[case]
    convolution = functools.partial(operation, **options)
    check(derivatives(convolution), draw(TASKS, BATCH, *image), draw(TASKS, *kernel, seed=1))


@pytest.mark.parametrize("case", WITHOUT_KERNEL)
def test_gradients_without_a_kernel_on_a_cpu(case):
    operation, other, image, kernel, options = WITHOUT_KERNEL[case]
    options = {"strides": 1, "padding": "SAME", **options}
    function, expected_of = (derivatives(functools.partial(each, **options)) for each in (operation, other))
    check(function, draw(TASKS, BATCH, *image), draw(TASKS, *kernel, seed=1), expected_of)


@pytest.mark.parametrize("shared", ["images", "filters"])
@pytest.mark.parametrize("case", ["strides", "depthwise"])
def test_what_all_tasks_share(case, shared):
    operation, options, image, kernel = CASES[case]
    images, filters = draw(TASKS, BATCH, *image), draw(TASKS, *kernel, seed=1)
    one_image, one_kernel = tf.constant(images[0]), tf.constant(filters[0])

    def convolution(x, w):
        return operation(
            one_image * 1.0 if shared == "images" else x, one_kernel if shared == "filters" else w, **options
        )

    def function(task):
        x, w = task
        with tf.GradientTape() as tape:
            tape.watch((one_image, one_kernel, x, w))
            value = tf.reduce_sum(tf.sin(convolution(x, w)))
        return tape.gradient(value, (one_image if shared == "images" else x, one_kernel if shared == "filters" else w))

    check(function, images, filters)


@pytest.mark.parametrize("options", [{"unknown": True}, {"jit_compile": True}], ids=["unknown_sizes", "xla"])
def test_other_traces(options):
    function = derivatives(functools.partial(tf.nn.conv2d, strides=2, padding="SAME"))
    check(function, draw(TASKS, BATCH, 5, 6, 2), draw(TASKS, 3, 2, 2, 4, seed=1), **options)
