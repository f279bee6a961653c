"""The meta-gradients of residual networks against central differences."""

import keras
import numpy as np
import pytest

import maml_tf
from maml_tf.models import resnet12, wide_resnet
from tests.support.finite_differences import directional_difference, dot, mean_query_loss, unit_direction


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (resnet12, {"input_shape": (16, 16, 1), "filters": 1}),
        (wide_resnet, {"input_shape": (8, 8, 1), "depth": 10, "widening": 2, "filters": 1}),
    ],
    ids=["resnet12", "wide_resnet"],
)
def test_the_meta_gradient_is_exact(build, options):
    keras.utils.set_random_seed(0)
    network = build(2, drop_rate=0.1, dtype="float64", **options)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    learner = maml_tf.MAML(network, loss, 0.1, 1, task_map="unrolled")
    generator = np.random.default_rng(1)
    for variable in learner.trainable_variables:
        variable.assign(variable + 0.1 * generator.standard_normal(variable.shape))
    images = generator.standard_normal((2, 1, 4, *options["input_shape"]))
    data = (images[0], np.array([[0, 1, 1, 0]]), images[1]), np.array([[1, 0, 1, 0]])
    direction = unit_direction(learner, seed=2)

    loss, gradients = learner.meta_gradients(data)

    np.testing.assert_allclose(loss, mean_query_loss(learner, data), rtol=1e-10)
    slope = directional_difference(learner, data, direction)
    np.testing.assert_allclose(dot(gradients, direction), slope, rtol=1e-6)
