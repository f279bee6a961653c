"""Meta-Curvature: its products written out, its gradient against central differences, its start and its files."""

import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import maml_tf
from maml_tf.models import conv_net
from tests.support.finite_differences import directional_difference, dot, mean_query_loss, unit_direction


def make_rule(shapes, seed=0):
    rule = maml_tf.MetaCurvature()
    rule.build({path: tf.zeros(shape, tf.float64) for path, shape in shapes.items()})
    generator = np.random.default_rng(seed)
    for variable in rule.trainable_variables:
        variable.assign(variable + generator.standard_normal(variable.shape))
    return rule, {variable.name: variable.numpy() for variable in rule.trainable_variables}


def test_updates_are_the_mode_products():
    shapes = {"dense/kernel": (3, 2), "conv/kernel": (2, 3, 4, 2), "conv/bias": (2,), "scale/gain": ()}
    rule, learned = make_rule(shapes)
    generator = np.random.default_rng(1)
    gradients = {path: generator.standard_normal(shape) for path, shape in shapes.items()}

    updates = rule.updates({path: tf.constant(value) for path, value in gradients.items()}, None, 0)

    outputs, inputs = learned["dense.kernel.outputs"], learned["dense.kernel.inputs"]
    expected = np.kron(inputs, outputs) @ gradients["dense/kernel"].reshape(-1)
    np.testing.assert_allclose(updates["dense/kernel"], expected.reshape(3, 2), rtol=1e-10)
    outputs, inputs, of_filter = (learned[f"conv.kernel.{kind}"] for kind in ("outputs", "inputs", "filter"))
    expected = np.kron(of_filter, np.kron(inputs, outputs)) @ gradients["conv/kernel"].reshape(-1)
    np.testing.assert_allclose(updates["conv/kernel"], expected.reshape(2, 3, 4, 2), rtol=1e-10)
    np.testing.assert_allclose(updates["conv/bias"], learned["conv.bias.scale"] * gradients["conv/bias"])
    np.testing.assert_allclose(updates["scale/gain"], learned["scale.gain.scale"] * gradients["scale/gain"])


def make_learner(rule):
    keras.utils.set_random_seed(0)
    network = conv_net((6, 6, 2), 3, filters=2, blocks=2, dtype="float64")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return maml_tf.MAML(network, loss, rule, 2, task_map="unrolled")


def make_data():
    generator = np.random.default_rng(1)
    x = generator.standard_normal((2, 2, 4, 6, 6, 2))
    labels = np.array([[0, 1, 2, 1], [2, 0, 1, 1]])
    return (x[0], labels, x[1]), labels[::-1].copy()


def test_the_gradient_is_exact():
    learner = make_learner(maml_tf.Chain([maml_tf.MetaCurvature(), maml_tf.SGD(0.3)]))
    generator = np.random.default_rng(2)
    for variable in learner.trainable_variables:
        variable.assign(variable + 0.1 * generator.standard_normal(variable.shape))
    direction, data = unit_direction(learner, seed=3), make_data()

    loss, gradients = learner.meta_gradients(data)

    np.testing.assert_allclose(loss, mean_query_loss(learner, data), rtol=1e-12)
    slope = directional_difference(learner, data, direction)
    np.testing.assert_allclose(dot(gradients, direction), slope, rtol=1e-6)
    of_the_rule = [0 * part if n < len(learner.model.trainable_variables) else part for n, part in enumerate(direction)]
    slope = directional_difference(learner, data, of_the_rule)
    np.testing.assert_allclose(dot(gradients, of_the_rule), slope, rtol=1e-6)
    assert abs(slope) > 1e-3


# With as many threads as there are cores: tests have one, with which the kernel that was wrong is another.
MERGED = """
import numpy as np
import tensorflow as tf
import maml_tf

generator, rule = np.random.default_rng(0), maml_tf.MetaCurvature()
rule.build({"a/kernel": tf.zeros([40, 40])})
outputs, inputs = (generator.normal(size=(40, 40)).astype("float32") for _ in range(2))
for variable, value in zip(rule.trainable_variables, (outputs, inputs), strict=True):
    variable.assign(value)
gradients = generator.normal(size=(2, 40, 40)).astype("float32")
merged = lambda g: tf.vectorized_map(lambda one: rule.updates({"a/kernel": one}, None, 0)["a/kernel"], g)
received = tf.function(merged, autograph=False)(gradients)
np.testing.assert_allclose(received, inputs @ gradients @ outputs.T, rtol=1e-3, atol=1e-3)
"""


def test_merged_tasks_have_the_values_of_each():
    done = subprocess.run([sys.executable, "-c", MERGED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_it_starts_as_the_rule_after_it():
    data = make_data()
    plain = make_learner(0.3).meta_gradients(data)
    curved = make_learner(maml_tf.Chain([maml_tf.MetaCurvature(), maml_tf.SGD(0.3)])).meta_gradients(data)

    np.testing.assert_allclose(curved[0], plain[0], rtol=1e-12)
    for one, other in zip(curved[1], plain[1], strict=False):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_files_keep_it(tmp_path):
    rule = maml_tf.Chain([maml_tf.MetaCurvature(), maml_tf.LearnedStepSizes(0.3, "layer")])
    learner, data = make_learner(rule), make_data()
    learner.update_rule.trainable_variables[0].assign_add([[0.5, 0.1], [0.0, 0.0]])
    learner.compile("sgd")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Keras' own, of NumPy.
        learner.save(tmp_path / "learner.keras")

    loaded = keras.saving.load_model(tmp_path / "learner.keras")

    for one, other in zip(learner.meta_gradients(data)[1], loaded.meta_gradients(data)[1], strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_a_second_model_needs_its_own():
    rule, _ = make_rule({"dense/kernel": (3, 2)})
    with pytest.raises(ValueError, match=r"MetaCurvature.*dense/kernel/outputs"):
        rule.build({"dense/kernel": tf.zeros((3, 4), tf.float64)})


def test_it_is_built_before_use():
    with pytest.raises(ValueError, match="Received: an unbuilt MetaCurvature"):
        maml_tf.MetaCurvature().updates({"a/kernel": tf.zeros((2, 2))}, None, 0)
