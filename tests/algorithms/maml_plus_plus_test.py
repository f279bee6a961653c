"""MAML++ against a naive program: its outer loss and gradient in each part of a training, in one graph."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import maml_tf
from maml_tf.algorithms import MAMLPlusPlus
from maml_tf.models import mlp
from tests.support.finite_differences import dot, unit_direction

STEPS, MULTI_STEP, FIRST_ORDER = 2, 4, 2


def make_learner(**options):
    keras.utils.set_random_seed(0)
    network = mlp((4,), (5,), 1, activation="tanh", normalization="batch", norm_steps=STEPS, dtype="float64")
    rule = maml_tf.LearnedStepSizes(0.1, granularity="layer_and_step", steps=STEPS)
    generator = np.random.default_rng(1)
    for variable in network.trainable_variables:
        variable.assign(variable + 0.3 * generator.standard_normal(variable.shape))
    learner = maml_tf.MetaLearner(
        network, "mse", MAMLPlusPlus(MULTI_STEP, FIRST_ORDER), rule, STEPS,
        adapted=maml_tf.matching("(kernel|bias)$"), **options,
    )  # fmt: skip
    learner.compile(keras.optimizers.Adam(0.01))
    return learner


def make_data(tasks=2, dtype="float64"):
    generator = np.random.default_rng(2)
    support_x, query_x = (generator.standard_normal((tasks, 6, 4)).astype(dtype) for _ in range(2))
    support_y, query_y = (generator.standard_normal((tasks, 6, 1)).astype(dtype) for _ in range(2))
    return (support_x, support_y, query_x), query_y


def naive_loss(values, data, iteration, inner_gradients=None):
    """Computes the mean outer loss with plain loops.

    With `inner_gradients`, a list, it appends each inner gradient to an empty one; of a full one it takes them, as
    constants.
    """
    kernel, bias, gamma, beta, head, head_bias, *rates = (tf.constant(value) for value in values)
    given = iter(inner_gradients) if inner_gradients else None

    def forward(weights, x, step):
        hidden = x @ weights[0] + weights[1]
        normalized = (hidden - tf.reduce_mean(hidden, 0)) / tf.sqrt(tf.math.reduce_variance(hidden, 0) + 1e-3)
        return tf.tanh(gamma[step] * normalized + beta[step]) @ weights[2] + weights[3]

    (support_x, support_y, query_x), query_y = data
    annealed = min(iteration / MULTI_STEP, 1)
    total = 0.0
    for task in range(len(query_y)):
        weights = [kernel, bias, head, head_bias]
        for step in range(STEPS):
            with tf.GradientTape() as tape:
                tape.watch(weights)
                loss = tf.reduce_mean((forward(weights, support_x[task], step) - support_y[task]) ** 2)
            gradients = tape.gradient(loss, weights)
            if given:
                gradients = next(given)
            elif inner_gradients is not None:
                inner_gradients.append(gradients)
            sizes = [rates[0][step], rates[0][step], rates[1][step], rates[1][step]]
            weights = [w - size * g for w, size, g in zip(weights, sizes, gradients, strict=True)]
            share = (1 - annealed) / STEPS if step < STEPS - 1 else 1 - (1 - annealed) * (STEPS - 1) / STEPS
            total += share * tf.reduce_mean((forward(weights, query_x[task], step + 1) - query_y[task]) ** 2)
    return float(total) / len(query_y)


def difference(values, direction, data, iteration, inner_gradients):
    epsilon = 1e-5
    ahead, behind = (
        naive_loss([v + e * d for v, d in zip(values, direction, strict=True)], data, iteration, inner_gradients)
        for e in (epsilon, -epsilon)
    )
    return (ahead - behind) / (2 * epsilon)


@pytest.mark.parametrize("options", [{"task_map": "mapped"}, {"task_map": "vectorized"}])
def test_every_part_of_a_training_is_exact_in_one_graph(options):
    learner, data = make_learner(**options), make_data()
    values = [variable.numpy() for variable in learner.trainable_variables]
    direction, traces = unit_direction(learner, seed=3), []

    @tf.function(autograph=False)
    def meta_gradients():
        traces.append(1)
        return learner.meta_gradients(data)

    for iteration in (0, 1, 2, 3, 9):
        learner.optimizer.iterations.assign(iteration)
        loss, gradients = meta_gradients()
        constants = []
        expected = naive_loss(values, data, iteration, constants)
        first_order = iteration < FIRST_ORDER
        slope = difference(values, direction, data, iteration, constants if first_order else None)
        np.testing.assert_allclose(loss, expected, rtol=1e-12)
        np.testing.assert_allclose(dot(gradients, direction), slope, rtol=1e-7)
        other = difference(values, direction, data, iteration, None if first_order else constants)
        assert abs(other / slope - 1) > 1e-3
    assert len(traces) == 1


def test_statistics_of_each_step_are_its_own():
    network = mlp((4,), (5,), 1, normalization="batch", norm_steps=2, batch_statistics="training")
    learner = maml_tf.MetaLearner(network, "mse", "maml_first_order", 0.1, inner_steps=2)
    learner.compile(keras.optimizers.SGD(0.0))
    (support_x, support_y, query_x), query_y = x, y = make_data(1, "float32")
    layer = network.get_layer("norm1")

    learner.fit(x, y, verbose=0)

    hidden = [network.get_layer("hidden1")(part[0]).numpy() for part in (support_x, query_x)]
    np.testing.assert_allclose(layer.moving_mean[0], 0.01 * hidden[0].mean(0), rtol=1e-4, atol=1e-7)
    assert np.all(np.abs(layer.moving_mean[1] - layer.moving_mean[0]) > 0)
    assert int(layer.inner_step) == 0
    adapted = learner.adapt(support_x[0], support_y[0], steps=2)
    assert int(adapted.get_layer("norm1").inner_step) == 2
    inputs = adapted.get_layer("hidden1")(query_x[0]).numpy()
    moments = layer.moving_mean[2].numpy(), layer.moving_variance[2].numpy()
    expected = np.maximum((inputs - moments[0]) / np.sqrt(moments[1] + 1e-3), 0)
    expected = expected @ adapted.get_layer("head").kernel.numpy() + adapted.get_layer("head").bias.numpy()
    np.testing.assert_allclose(adapted(query_x[0]), expected, rtol=1e-4, atol=1e-5)
    values = maml_tf.evaluate(learner, [(x, y)], 4).values["loss"]
    np.testing.assert_allclose(values[2, 0], np.mean((expected - query_y[0]) ** 2), rtol=1e-4)


@pytest.mark.parametrize("wrong", [{"multi_step_iterations": -1}, {"first_order_iterations": 0.5}, {"first_order": 1}])
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(ValueError, match=f"Received: {next(iter(wrong))}="):
        MAMLPlusPlus(**wrong)
