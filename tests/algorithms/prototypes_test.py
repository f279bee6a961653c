"""Algorithms on features: against naive NumPy programs, and their gradients against central differences."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import maml_tf
import maml_tf.export
from maml_tf.models import mlp
from tests.support.finite_differences import directional_difference, dot, mean_query_loss, unit_direction

WAYS, LOSS = 3, keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def make_learner(algorithm, steps=2, *, batch_statistics="always", **options):
    keras.utils.set_random_seed(0)
    network = mlp(
        (4,), (5,), WAYS, activation="tanh", normalization="batch", batch_statistics=batch_statistics, dtype="float64"
    )
    learner = maml_tf.MetaLearner(network, LOSS, algorithm, 0.1, steps, **options)
    learner.compile(keras.optimizers.Adam(0.01))
    return learner


def make_data(labels=(0, 1, 2, 0, 1)):
    generator = np.random.default_rng(1)
    support_x, query_x = generator.standard_normal((2, 2, len(labels), 4))
    support_y = np.array([labels, labels[::-1]])
    return (support_x, support_y, query_x), np.array([labels, labels])


def features_of(learner, x):
    """The features of the network, written out: a linear layer, batch normalization and tanh."""
    kernel, bias, beta = (variable.numpy() for variable in learner.model.trainable_variables[:3])
    hidden = x @ kernel + bias
    return np.tanh((hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-3) + beta)


def log_softmax(logits):
    return logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))


@pytest.mark.parametrize("algorithm", ["proto_maml", "prototypical", "matching"])
def test_the_gradient_is_exact(algorithm):
    learner, data = make_learner(algorithm), make_data()
    direction = unit_direction(learner, seed=5)

    loss, gradients = learner.meta_gradients(data)

    np.testing.assert_allclose(loss, mean_query_loss(learner, data), rtol=1e-12)
    slope = directional_difference(learner, data, direction)
    np.testing.assert_allclose(dot(gradients, direction), slope, rtol=1e-6)
    for gradient in gradients[-2:]:  # Of the output layer, in whose place the prototypes stand.
        np.testing.assert_array_equal(gradient, np.zeros(gradient.shape))


def test_prototypes_are_the_nearest_ones():
    learner = make_learner("prototypical")
    inputs, _ = make_data()
    outputs = learner(inputs)

    for support_x, support_y, query_x, logits in zip(*inputs, outputs, strict=True):
        support, query = features_of(learner, support_x), features_of(learner, query_x)
        prototypes = np.stack([support[support_y == k].mean(0) for k in range(WAYS)])
        distances = np.sum((query[:, None] - prototypes) ** 2, axis=-1)
        np.testing.assert_allclose(log_softmax(logits), log_softmax(-distances), rtol=1e-10)


def test_proto_maml_adapts_from_the_prototypes():
    learner = make_learner("proto_maml", 1, adapted=maml_tf.head)
    (support_x, support_y, _), _ = make_data()

    adapted = learner.adapt(support_x[0], support_y[0])

    support = features_of(learner, support_x[0])
    prototypes = np.stack([support[support_y[0] == k].mean(0) for k in range(WAYS)])
    kernel, bias = 2 * prototypes.T, -np.sum(prototypes**2, axis=1)
    slopes = (np.exp(log_softmax(support @ kernel + bias)) - np.eye(WAYS)[support_y[0]]) / len(support)
    head = adapted.get_layer("head")
    np.testing.assert_allclose(head.kernel, kernel - 0.1 * support.T @ slopes, rtol=1e-10)
    np.testing.assert_allclose(head.bias, bias - 0.1 * slopes.sum(0), rtol=1e-10)


def test_matching_networks_weight_labels_by_cosines():
    learner = make_learner("matching")
    inputs, _ = make_data()
    outputs = learner(inputs)

    for support_x, support_y, query_x, logits in zip(*inputs, outputs, strict=True):
        support, query = features_of(learner, support_x), features_of(learner, query_x)
        norms = np.linalg.norm(query, axis=1)[:, None] * np.linalg.norm(support, axis=1)
        attention = np.exp(query @ support.T / norms)
        expected = (attention / attention.sum(1, keepdims=True)) @ np.eye(WAYS)[support_y]
        np.testing.assert_allclose(np.exp(log_softmax(logits)), expected, rtol=1e-10)


@pytest.mark.parametrize("algorithm", ["proto_maml", "prototypical", "matching"])
def test_a_class_without_examples_is_never_predicted(algorithm):
    learner = make_learner(algorithm)
    data = (*make_data((0, 1, 0, 1))[0],), make_data((0, 1, 0, 1))[1]

    _, gradients = learner.meta_gradients(data)

    assert np.exp(log_softmax(learner.predict(data[0], verbose=0)))[..., 2].max() < 1e-6
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients)


@pytest.mark.parametrize("algorithm", ["prototypical", "matching"])
def test_the_support_sets_statistics_serve_the_query(algorithm):
    learner, ((support_x, support_y, query_x), _) = make_learner(algorithm, batch_statistics="support"), make_data()
    one_by_one = [learner.predict((support_x, support_y, query_x[:, [n]]), verbose=0) for n in range(2)]

    together = learner.predict((support_x, support_y, query_x), verbose=0)

    np.testing.assert_allclose(np.concatenate(one_by_one, axis=1), together[:, :2], rtol=1e-10)


@pytest.mark.parametrize(
    ("layers", "received"),
    [
        ([keras.layers.Dense(3, "softmax", name="last")], "ends in Dense"),
        ([keras.layers.Dense(3, use_bias=False)], "ends in Dense"),
        ([keras.layers.Dense(3), keras.layers.Activation("softmax")], "ends in Activation"),
        ([keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])], "ends in Sequential"),
    ],
)
def test_a_model_that_does_not_end_in_a_linear_layer_is_refused(layers, received):
    with pytest.raises(ValueError, match=rf"Dense layer with a bias.*Received: .*{received}"):
        maml_tf.MetaLearner(keras.Sequential([keras.Input((4,)), *layers]), LOSS, "prototypical")


def test_what_does_not_suit_is_refused():
    with pytest.raises(ValueError, match="Received: adapted without"):
        make_learner("proto_maml", adapted=maml_tf.matching("hidden"))
    learner, (inputs, _) = make_learner("prototypical"), make_data()
    one_hot = tf.one_hot(inputs[1], WAYS).numpy()
    with pytest.raises(ValueError, match=r"Expected one integer label for each support example.*5, 3"):
        learner.predict((inputs[0], one_hot, inputs[2]), verbose=0)


def test_what_is_no_weights_is_not_exported(tmp_path):
    with pytest.raises(ValueError, match="Received: Matching"):
        maml_tf.export.save(make_learner("matching"), tmp_path / "model")
