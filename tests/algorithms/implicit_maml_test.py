"""Implicit MAML: its gradient at the inner minimum in closed form, unrolled, and against central differences."""

import keras
import numpy as np
import pytest

import maml_tf
from maml_tf.algorithms import Algorithm, ImplicitMAML
from maml_tf.models import mlp
from tests.support.finite_differences import directional_difference, dot, mean_query_loss, unit_direction

EXACT = ImplicitMAML(proximal_weight=2.0, conjugate_gradient_steps=60)


class Unrolled(ImplicitMAML):
    """The same inner problem, and the meta-gradient through all of its steps."""

    gradient = Algorithm.gradient


def make_learner(algorithm=EXACT, steps=150, rule=0.2, **options):
    keras.utils.set_random_seed(0)
    network = mlp((3,), (4,), 1, activation="tanh", normalization="batch", dtype="float64")
    return maml_tf.MetaLearner(network, "mse", algorithm, rule, steps, **options)


def make_data():
    generator = np.random.default_rng(1)
    x, y = generator.standard_normal((2, 2, 6, 3)), generator.standard_normal((2, 2, 6, 1))
    return (x[0], y[0], x[1]), y[1]


def test_the_gradient_of_a_linear_model_is_that_of_ridge_regression():
    keras.utils.set_random_seed(0)
    layer = keras.layers.Dense(1, use_bias=False, dtype="float64")
    model = keras.Sequential([keras.Input((3,), dtype="float64"), layer])
    learner = maml_tf.MetaLearner(model, "mse", EXACT, 0.2, inner_steps=150)
    theta = layer.kernel.numpy()

    loss, [gradient] = learner.meta_gradients(make_data())

    (support_x, support_y, query_x), query_y = make_data()
    expected, losses = [], []
    for x, y, q, t in zip(support_x, support_y, query_x, query_y, strict=True):
        # The mean of (x phi - y)^2 and |phi - theta|^2 is least where (2/n x'x + 2) phi = 2/n x'y + 2 theta.
        system = 2 / len(x) * x.T @ x + 2 * np.eye(3)
        phi = np.linalg.solve(system, 2 / len(x) * x.T @ y + 2 * theta)
        losses.append(np.mean((q @ phi - t) ** 2))
        expected.append(2 * np.linalg.solve(system, 2 / len(q) * q.T @ (q @ phi - t)))
    np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-10)
    np.testing.assert_allclose(gradient, np.mean(expected, axis=0), rtol=1e-8)


@pytest.mark.parametrize("adapted", [maml_tf.everything, maml_tf.head])
def test_the_gradient_is_exact_at_the_inner_minimum(adapted):
    learner, data = make_learner(adapted=adapted), make_data()
    direction = unit_direction(learner, seed=2)

    loss, gradients = learner.meta_gradients(data)

    np.testing.assert_allclose(loss, mean_query_loss(learner, data), rtol=1e-12)
    slope = directional_difference(learner, data, direction)
    np.testing.assert_allclose(dot(gradients, direction), slope, rtol=1e-6)
    _, unrolled = make_learner(Unrolled(2.0), adapted=adapted).meta_gradients(data)
    for received, expected in zip(gradients, unrolled, strict=True):
        np.testing.assert_allclose(received, expected, rtol=1e-6, atol=1e-9)


def test_any_rule_reaches_the_minimum():
    rule = maml_tf.Chain([maml_tf.Momentum(0.5), maml_tf.SGD(0.1)])
    (_, with_momentum), (_, plain) = (make_learner(rule=each).meta_gradients(make_data()) for each in (rule, 0.2))
    for one, other in zip(with_momentum, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


def test_a_large_weight_leaves_the_first_order_gradient():
    _, far = make_learner(ImplicitMAML(1e6), steps=1, rule=1e-7).meta_gradients(make_data())
    _, first_order = make_learner("maml_first_order", steps=1, rule=1e-7).meta_gradients(make_data())
    for one, other in zip(far, first_order, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-7)


def test_dense_models_train_under_xla():
    learner = maml_tf.MetaLearner(mlp((3,), ()), "mse", "implicit_maml", 0.1, task_map="vectorized")
    learner.compile(keras.optimizers.Adam(0.01), jit_compile=True)
    history = learner.fit(*make_data(), batch_size=2, epochs=9, verbose=0).history["loss"]
    assert history[-1] < history[0]


@pytest.mark.parametrize("wrong", [{"proximal_weight": 0.0}, {"proximal_weight": "2"}, {"conjugate_gradient_steps": 0}])
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(ValueError, match=f"Received: {next(iter(wrong))}="):
        ImplicitMAML(**wrong)


def test_an_operation_without_a_second_derivative_is_named():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, "softsign")])
    with pytest.warns(UserWarning, match="second"):
        learner = maml_tf.MetaLearner(model, "mse", "implicit_maml", 0.1, 1, task_map="unrolled")
    with pytest.raises(LookupError, match=r"Expected every operation to have the derivatives.*SoftsignGrad"):
        learner.meta_gradients(make_data())
