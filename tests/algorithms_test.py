"""Every registered algorithm keeps what the learner and evaluation ask of one; another is added in a few lines."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import maml_tf
from maml_tf.algorithms import Algorithm, algorithms
from maml_tf.models import mlp
from tests.support.small_learner import draw, make_data

WAYS = 3


def make_learner(algorithm, loss="mse", outputs=1, **options):
    keras.utils.set_random_seed(0)
    network = mlp((2,), (5,), outputs, activation="tanh")
    learner = maml_tf.MetaLearner(network, loss, algorithm, 0.1, inner_steps=2, **options)
    learner.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    return learner


def make_classifier(algorithm, **options):
    return make_learner(algorithm, keras.losses.SparseCategoricalCrossentropy(from_logits=True), WAYS, **options)


def make_classes(tasks=3, shots=2):
    """Makes a meta-batch whose classes lie around points of their own."""
    labels = np.tile(np.arange(WAYS), (tasks, shots))
    centers = 2 * draw(tasks, WAYS, 2, seed=4)
    support_x, query_x = (
        np.take_along_axis(centers, labels[..., None], 1) + draw(*labels.shape, 2, seed=seed) for seed in (5, 6)
    )
    return (support_x, labels, query_x), labels


def cross_entropy(labels, logits):
    logits = np.asarray(logits, np.float64)
    likelihoods = logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))
    return -np.mean(np.take_along_axis(likelihoods, labels[..., None], -1), axis=(-1, -2))


@pytest.fixture(params=list(algorithms))
def name(request):
    return request.param


def test_training_lowers_the_outer_loss(name):
    history = make_classifier(name).fit(*make_classes(), batch_size=3, epochs=20, verbose=0).history["loss"]

    assert history[-1] < history[0]


def test_evaluation_agrees_with_adapting_and_predicting(name):
    learner, data = make_classifier(name), make_classes()
    (support_x, support_y, query_x), query_y = data

    losses = maml_tf.evaluate(learner, [data], 3).values["loss"]

    outputs = learner.predict(data[0], verbose=0)
    np.testing.assert_allclose(losses[2], cross_entropy(query_y, outputs), rtol=1e-4)
    np.testing.assert_allclose(learner.evaluate(*data, batch_size=3, verbose=0), np.mean(losses[2]), rtol=1e-4)
    if learner.algorithm.learns_weights:
        adapted = learner.adapt(support_x[1], support_y[1], steps=3)
        np.testing.assert_allclose(losses[3, 1], cross_entropy(query_y[1], adapted(query_x[1])), rtol=1e-4)
    else:
        with pytest.raises(ValueError, match=f"Received: {type(learner.algorithm).__name__}"):
            learner.adapt(support_x[1], support_y[1])


def test_ways_over_tasks_agree(name):
    data = make_classes()
    expected = make_classifier(name, task_map="unrolled").meta_gradients(data)

    for task_map in ("mapped", "vectorized"):
        received = make_classifier(name, task_map=task_map).meta_gradients(data)
        for one, other in zip(tf.nest.flatten(expected), tf.nest.flatten(received), strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6)


def test_saving_keeps_it(name, tmp_path):
    learner, data = make_classifier(name, task_map="unrolled"), make_classes(tasks=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Keras' own, of NumPy.
        learner.save(tmp_path / "learner.keras")

    loaded = keras.saving.load_model(tmp_path / "learner.keras")

    assert type(loaded.algorithm) is type(learner.algorithm)
    assert loaded.algorithm.get_config() == learner.algorithm.get_config()
    for one, other in zip(learner.meta_gradients(data)[1], loaded.meta_gradients(data)[1], strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_a_wrong_support_label_is_told(name):
    (support_x, support_y, query_x), query_y = make_classes()
    wrong = np.where(support_y == 1, WAYS, support_y)

    with pytest.raises(ValueError, match=f"support_y to hold .* Received: label {WAYS}"):
        make_classifier(name, task_map="unrolled").meta_gradients(((support_x, wrong, query_x), query_y))


def test_maml_is_the_learner_with_that_algorithm():
    data = make_data()
    for first_order, name in ((False, "maml"), (True, "maml_first_order")):
        keras.utils.set_random_seed(0)
        expected = maml_tf.MAML(mlp((2,), (5,), activation="tanh"), "mse", 0.1, 2, first_order).meta_gradients(data)
        received = make_learner(name).meta_gradients(data)
        for one, other in zip(tf.nest.flatten(expected), tf.nest.flatten(received), strict=True):
            np.testing.assert_array_equal(one, other)


class TwoLosses(Algorithm):
    """The mean of the query losses after one step and after all: an algorithm of a user's own."""

    def loss(self, functions, theta, task, steps, iteration):
        loss, outcome = super().loss(functions, theta, task, steps, iteration)
        after_one, _ = super().loss(functions, theta, task, 1, iteration)
        return (loss + after_one) / 2, outcome


def test_an_algorithm_of_ones_own_replaces_what_differs():
    data = make_data()
    loss, gradients = make_learner(TwoLosses()).meta_gradients(data)

    learners = [maml_tf.MAML(make_learner("maml").model, "mse", 0.1, steps) for steps in (1, 2)]
    (first, first_gradients), (last, last_gradients) = (learner.meta_gradients(data) for learner in learners)
    np.testing.assert_allclose(loss, (first + last) / 2, rtol=1e-6)
    for received, one, other in zip(gradients, first_gradients, last_gradients, strict=True):
        np.testing.assert_allclose(received, (one + other) / 2, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("algorithm", "error"), [("mamml", ValueError), (7, TypeError), (Algorithm, TypeError)])
def test_what_is_no_algorithm_is_refused(algorithm, error):
    with pytest.raises(error, match=r"Received: .*(mamml|7|Algorithm)"):
        make_learner(algorithm)


def test_reptile_moves_towards_what_the_steps_end_at():
    (support_x, support_y, query_x), query_y = data = make_data()
    learner = make_learner("reptile")
    theta = [variable.numpy() for variable in learner.model.trainable_variables]

    _, gradients = learner.meta_gradients(data)

    moved = []
    for task in range(len(query_y)):
        x, y = np.concatenate([support_x[task], query_x[task]]), np.concatenate([support_y[task], query_y[task]])
        copy = keras.models.clone_model(learner.model)
        copy.set_weights(learner.model.get_weights())
        for _ in range(2):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((copy(x) - y) ** 2)
            steps = tape.gradient(loss, [variable.value for variable in copy.trainable_variables])
            for variable, step in zip(copy.trainable_variables, steps, strict=True):
                variable.assign_sub(0.1 * step)
        moved.append([old - new.numpy() for old, new in zip(theta, copy.trainable_variables, strict=True)])
    for received, expected in zip(gradients, zip(*moved, strict=True), strict=True):
        np.testing.assert_allclose(received, np.mean(expected, axis=0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["reptile", "prototypical", "matching"])
def test_an_algorithm_without_a_gradient_of_step_sizes_says_so(name):
    with pytest.raises(ValueError, match=r"without learned step sizes.*Received: 'learned_step_sizes'"):
        maml_tf.MetaLearner(mlp((2,), (5,)), "mse", name, maml_tf.LearnedStepSizes(0.1))
