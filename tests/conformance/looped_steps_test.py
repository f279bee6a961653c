"""Inner steps in a loop give what steps one after the other give, in a graph that does not grow with their number.

`finite_differences_test.py` holds the unrolled steps to central differences.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import maml_tf
from maml_tf import layers
from tests.conformance import registry
from tests.conformance.finite_differences_test import directional_difference, dot, mean_query_loss, unit_direction

STEPS = 3
_MLP = registry.MODELS[0]
_THOROUGH_MODELS = ("mini_imagenet_conv", "omniglot_dense", "batch_statistics_always")
_FIRST_ORDER_RULES = ("learned_per_weight", "adam")


def _case(model, rule, first_order):
    often = model.name not in _THOROUGH_MODELS and (not first_order or rule.name in _FIRST_ORDER_RULES)
    return pytest.param(model, rule, first_order, marks=[] if often else pytest.mark.thorough)


_CASES = [
    *(_case(model, registry.RULES[0], False) for model in registry.MODELS),
    *(_case(_MLP, rule, first_order) for rule in registry.RULES[1:] for first_order in (False, True)),
]
WAYS = {
    "mapped": {"task_map": "mapped"},
    "vectorized": {"task_map": "vectorized"},
    "xla": {"task_map": "vectorized", "jit_compile": True},
}


def assert_same(got, expected, tolerance=1e-10):
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def both(make, data, way="mapped", **options):
    """Returns the loss, and all variables after an update by the meta-gradient, of looped and of unrolled steps."""
    found = []
    options = {**WAYS[way], **options}
    jit_compile = options.pop("jit_compile", False)
    for unroll in (False, True):
        learner = make(unroll=unroll, **options)
        learner.compile(keras.optimizers.SGD(1.0), jit_compile=jit_compile)
        loss = learner.train_on_batch(*data)
        found.append([loss, *learner.model.variables, *learner.update_rule.variables])
    return found


@pytest.mark.parametrize(
    ("model", "rule", "first_order"), _CASES, ids=lambda entry: getattr(entry, "name", f"first_order={entry}")
)
def test_every_model_and_rule(model, rule, first_order):
    def make(**options):
        return registry.make_learner(model, rule, STEPS, first_order=first_order, **options)

    assert_same(*both(make, registry.make_data(model, tasks=1 if len(model.input_shape) == 3 else 2)))


@pytest.mark.parametrize(
    ("rule", "way"), [("learned_per_layer_and_step", "vectorized"), ("adam", "xla"), ("momentum", "mapped")]
)
def test_every_way(rule, way):
    [rule] = [entry for entry in registry.RULES if entry.name == rule]

    def build():
        hidden = [layers.BatchNormalization(dtype="float64"), keras.layers.Dropout(0.3, seed=1, dtype="float64")]
        return keras.Sequential([keras.Input((3,), dtype="float64"), *hidden, keras.layers.Dense(1, dtype="float64")])

    model = registry.ModelEntry("with_dropout", build, (3,), None)

    def make(**options):
        return registry.make_learner(model, rule, STEPS, **options)

    assert_same(*both(make, registry.make_data(model), way))


@pytest.mark.parametrize("rule", registry.RULES[::3], ids=lambda entry: entry.name)
def test_central_differences_of_many_steps(rule):
    learner = registry.make_learner(_MLP, rule, 8, task_map="mapped")  # By default a loop.
    data = registry.make_data(_MLP)
    loss, gradients = learner.meta_gradients(data)
    direction = unit_direction(learner, seed=5)
    np.testing.assert_allclose(float(loss), mean_query_loss(learner, data), rtol=1e-12)
    assert abs(dot(gradients, direction) / directional_difference(learner, data, direction) - 1) < 1e-6


def _sequence_model():
    """Two inputs, a mask, dropout, batch statistics and a loss of the model's own; sizes of one layer do not adapt."""
    sequence, number = keras.Input((3,), dtype="int32"), keras.Input((2,), dtype="float64")
    hidden = keras.layers.Embedding(4, 3, mask_zero=True, dtype="float64")(sequence)
    hidden = keras.layers.GRU(3, dtype="float64")(hidden)
    hidden = keras.layers.Concatenate(dtype="float64")([hidden, number])
    hidden = keras.layers.Dense(4, "tanh", activity_regularizer="l2", kernel_regularizer="l2", dtype="float64")(hidden)
    hidden = layers.BatchNormalization(dtype="float64")(hidden)
    hidden = keras.layers.Dropout(0.3, seed=1, dtype="float64")(hidden)
    return keras.Model([sequence, number], keras.layers.Dense(1, dtype="float64", name="out")(hidden))


def test_masks_dropout_statistics_and_several_inputs():
    draw = np.random.default_rng(0)

    def examples():
        return (draw.integers(0, 4, (2, 4, 3)), draw.normal(size=(2, 4, 2))), draw.normal(size=(2, 4, 1))

    (support_x, support_y), (query_x, query_y) = examples(), examples()

    def make(**options):
        keras.utils.set_random_seed(0)
        adapted = maml_tf.matching("gru|dense|out|batch")
        return maml_tf.MAML(_sequence_model(), "mse", maml_tf.LearnedStepSizes(0.1), STEPS, adapted=adapted, **options)

    assert_same(*both(make, ((support_x, support_y, query_x), query_y)))


def quadratic(params, batch, step):
    return tf.reduce_sum((params["w"] - batch) ** 4)


@pytest.mark.parametrize("steps", [3, tf.constant(3, tf.int64)], ids=["integer", "tensor"])
def test_losses_and_parameters_of_every_step_are_differentiable(steps):
    found = []
    for unroll, number in ((False, steps), (True, 3)):
        w = tf.constant([0.5, 0.2], tf.float64)
        target = tf.constant(2.0, tf.float64)
        with tf.GradientTape() as tape:
            tape.watch([w, target])
            result = maml_tf.adapt(quadratic, {"w": w}, target, maml_tf.SGD(0.01), steps=number, unroll=unroll)
            value = tf.reduce_sum(result.losses) + tf.reduce_sum(result.path[1]["w"] ** 3 + result.params["w"] ** 2)
        found.append([value, *tape.gradient(value, [w, target]), *(result.path[k]["w"] for k in range(4))])
    assert_same(*found)


def test_a_graph_does_not_grow_with_the_steps():
    def nodes(steps):
        @tf.function(autograph=False)
        def gradient(w):
            with tf.GradientTape() as tape:
                tape.watch(w)
                loss = tf.reduce_sum(maml_tf.adapt(quadratic, {"w": w}, 1.0, maml_tf.SGD(0.1), steps=steps).params["w"])
            return tape.gradient(loss, w)

        graph = gradient.get_concrete_function(tf.TensorSpec([2])).graph.as_graph_def()
        return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)

    assert nodes(6) == nodes(60)
    assert nodes(4) > nodes(2)  # A few are unrolled.


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
def test_variables_that_the_objective_reads_have_gradients(graph):
    scale, other = tf.Variable(0.5, name="scale"), tf.Variable(0.5, name="other")
    found = []
    for unroll in (False, True):

        def gradients(unroll=unroll):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(scale)
                result = maml_tf.adapt(
                    lambda params, batch, step: (params - scale) ** 2 * other,
                    tf.constant(1.0),
                    None,
                    maml_tf.SGD(0.1),
                    steps=3,
                    unroll=unroll,
                )
            return tape.gradient(result.params, [scale])

        found.append(tf.function(gradients, autograph=False)() if graph else gradients())
    assert_same(*found, tolerance=1e-6)


@pytest.mark.parametrize(
    "arguments",
    [
        {"steps": tf.constant(2), "unroll": True},
        {"unroll": False},
        {"steps": -1},
        {"steps": 1.5},
    ],
    ids=str,
)
def test_arguments_that_do_not_fit(arguments):
    with pytest.raises((ValueError, TypeError), match=r"Expected .*steps"):
        maml_tf.adapt(quadratic, {"w": tf.constant([0.0])}, [1.0], maml_tf.SGD(0.1), **arguments)


def test_evaluation_carries_the_rules_state():
    rule = next(entry for entry in registry.RULES if entry.name == "momentum")
    learner = registry.make_learner(_MLP, rule, STEPS)
    (support_x, support_y, query_x), query_y = data = registry.make_data(_MLP)

    measured = maml_tf.evaluate(learner, [data]).values["loss"][-1]

    for task, loss in enumerate(measured):
        adapted = learner.adapt(support_x[task], support_y[task])
        np.testing.assert_allclose(np.mean((adapted(query_x[task]) - query_y[task]) ** 2), loss, rtol=1e-10)
