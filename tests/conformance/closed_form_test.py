"""The meta-gradient of a linear model, against the formula derived by hand."""

import keras
import numpy as np
from absl.testing import absltest, parameterized

import maml_tf
from maml_tf.core.over_tasks import TASK_MAPS

_ALPHA = 0.15
_TASKS, _SHOTS, _QUERIES, _FEATURES = 3, 6, 4, 3


def make_learner(weights, steps, first_order, rule=_ALPHA, task_map="unrolled"):
    dense = keras.layers.Dense(1, use_bias=False, dtype="float64")
    model = keras.Sequential([keras.Input((_FEATURES,), dtype="float64"), dense])
    model.set_weights([weights])
    return maml_tf.MAML(model, "mse", rule, inner_steps=steps, first_order=first_order, task_map=task_map)


def make_data():
    generator = np.random.default_rng(3)
    draw = lambda *shape: generator.standard_normal((_TASKS, *shape))  # noqa: E731
    return (draw(_SHOTS, _FEATURES), draw(_SHOTS, 1), draw(_QUERIES, _FEATURES)), draw(_QUERIES, 1)


def closed_form(weights, data, steps, first_order):
    """The mean query loss after adaptation, and its gradient with respect to the weights and to alpha.

    On a task with support inputs X [n, d] and targets y the loss is L(w) = |X w - y|^2 / n. With H = 2 X'X / n and
    g = 2 X'y / n its gradient is H w - g, so that a step is affine: w' = (I - alpha H) w + alpha g. After k steps

        w_k = (I - alpha H)^k w + alpha sum_{j<k} (I - alpha H)^j g,
        d w_k / d w = (I - alpha H)^k.

    The query loss has gradient q(w_k) = 2 X_q'(X_q w_k - y_q) / m, so the exact meta-gradient is
    (I - alpha H)^k q(w_k), H being symmetric, and the first-order one, which takes every step's Jacobian as the
    identity, q(w_k). For the step size, d w_{i+1} / d alpha = (I - alpha H) d w_i / d alpha - (H w_i - g), exactly;
    to first order, - sum_i (H w_i - g).
    """
    (support_x, support_y, query_x), query_y = data
    losses, gradients, alpha_gradients = [], [], []
    for x, y, x_query, y_query in zip(support_x, support_y, query_x, query_y, strict=True):
        hessian, linear = 2 * x.T @ x / len(x), 2 * x.T @ y / len(x)
        contraction = np.eye(_FEATURES) - _ALPHA * hessian
        power = np.linalg.matrix_power(contraction, steps)
        adapted = power @ weights + _ALPHA * sum(np.linalg.matrix_power(contraction, j) @ linear for j in range(steps))
        residual = x_query @ adapted - y_query
        query_gradient = 2 * x_query.T @ residual / len(x_query)
        losses.append(np.mean(residual**2))
        gradients.append(query_gradient if first_order else power @ query_gradient)
        current, by_alpha = weights, np.zeros_like(weights)
        for _ in range(steps):
            inner = hessian @ current - linear
            by_alpha = (by_alpha if first_order else contraction @ by_alpha) - inner
            current = current - _ALPHA * inner
        alpha_gradients.append(np.sum(query_gradient * by_alpha))
    return np.mean(losses), np.mean(gradients, axis=0), np.mean(alpha_gradients)


class ClosedFormTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.weights = np.array([[0.7], [-1.2], [0.4]])
        self.data = make_data()

    @parameterized.product(steps=(1, 3), first_order=(False, True), task_map=TASK_MAPS)
    def test_meta_gradient(self, steps, first_order, task_map):
        learner = make_learner(self.weights, steps, first_order, task_map=task_map)
        loss, (gradient,) = learner.meta_gradients(self.data)
        expected_loss, expected, _ = closed_form(self.weights, self.data, steps, first_order)
        np.testing.assert_allclose(loss, expected_loss, rtol=1e-13)
        np.testing.assert_allclose(gradient, expected, rtol=1e-12)

    @parameterized.product(steps=(1, 3), first_order=(False, True))
    def test_gradient_of_a_learned_step_size(self, steps, first_order):
        rule = maml_tf.LearnedStepSizes(_ALPHA, granularity="layer")
        learner = make_learner(self.weights, steps, first_order, rule)
        _, (gradient, alpha_gradient) = learner.meta_gradients(self.data)
        _, expected, expected_alpha = closed_form(self.weights, self.data, steps, first_order)
        np.testing.assert_allclose(gradient, expected, rtol=1e-12)
        np.testing.assert_allclose(alpha_gradient, expected_alpha, rtol=1e-12)

    def test_orders_differ(self):
        exact = closed_form(self.weights, self.data, 3, False)[1]
        first_order = closed_form(self.weights, self.data, 3, True)[1]
        self.assertGreater(np.linalg.norm(exact - first_order), 0.1 * np.linalg.norm(exact))

    @parameterized.parameters(0, 1, 3)
    def test_adapted_weights(self, steps):
        learner = make_learner(self.weights, 1, False)
        (support_x, support_y, _), _ = self.data
        adapted = learner.adapt(support_x[0], support_y[0], steps=steps)
        x, y = support_x[0], support_y[0]
        best = np.linalg.lstsq(x, y, rcond=None)[0]
        contraction = np.eye(_FEATURES) - 2 * _ALPHA * x.T @ x / _SHOTS
        expected = best + np.linalg.matrix_power(contraction, steps) @ (self.weights - best)
        np.testing.assert_allclose(adapted.get_weights()[0], expected, rtol=1e-12)


if __name__ == "__main__":
    absltest.main()
