"""Input that does not fit gives one clear error, or a right number, in every way of using a learner."""

import contextlib
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import maml_tf
from maml_tf.evaluation import accuracy
from maml_tf.models import mlp

CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
WAYS = (
    {"jit_compile": True},
    {"jit_compile": False, "task_map": "vectorized"},
    {"jit_compile": False, "task_map": "mapped"},
)
every_way = pytest.mark.parametrize(
    "way",
    [WAYS[0], pytest.param(WAYS[1], marks=pytest.mark.thorough), WAYS[2]],
    ids=["xla", "vectorized", "mapped"],
)


def make_learner(way, loss=CROSS_ENTROPY, outputs=5, seed=0, **options):
    keras.utils.set_random_seed(seed)
    compiled = {key: value for key, value in way.items() if key != "task_map"}
    learner = maml_tf.MAML(mlp((3,), (4,), outputs), loss, 0.1, task_map=way.get("task_map", "auto"), **options)
    learner.compile(keras.optimizers.Adam(0.01), **compiled)
    return learner


def make_data(tasks=4, examples=5, seed=0):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(2, tasks, examples, 3)).astype(np.float32)
    y = np.tile(np.arange(examples) % 5, (tasks, 1)).astype(np.int64)
    return (x[0], y, x[1]), y.copy()


def generated(element, signature):
    """Returns a dataset of one element whose sizes are known only when it runs.

    Without tf.data's autotuning, whose thread may notice a minute late that an iterator that raised is to end.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return tf.data.Dataset.from_generator(lambda: iter([element]), output_signature=signature).with_options(options)


def uses(learner, data):
    """Every use of a learner that takes labels, by name."""
    inputs, targets = data
    in_a_dataset = tf.data.Dataset.from_tensor_slices(data).batch(len(targets))
    return {
        "fit": lambda: learner.fit(in_a_dataset, shuffle=False, verbose=0),
        "train_on_batch": lambda: learner.train_on_batch(*data),
        "evaluate": lambda: learner.evaluate(*data, verbose=0),
        "test_on_batch": lambda: learner.test_on_batch(*data),
        "maml_tf.evaluate": lambda: maml_tf.evaluate(learner, [data], 2),
        "maml_tf.evaluate_xla": lambda: maml_tf.evaluate(learner, [data], 2, jit_compile=True),
        "predict": lambda: learner.predict(inputs, verbose=0),
        "predict_on_batch": lambda: learner.predict_on_batch(inputs),
        "call": lambda: learner(inputs),
        "meta_gradients": lambda: learner.meta_gradients(data),
        "adapt": lambda: learner.adapt(inputs[0][1], inputs[1][1]),
    }


def with_label(label, of):
    inputs, targets = make_data()
    (support_x, support_y, query_x), query_y = inputs, targets
    labels = support_y if of == "support_y" else query_y
    if label != int(np.nan_to_num(label)) or np.isnan(label):
        labels = labels.astype(np.float32)
    labels[1, 2] = label
    return ((support_x, labels, query_x), query_y) if of == "support_y" else (inputs, labels)


@pytest.mark.parametrize(
    ("way", "label", "of"), [(WAYS[0], 7, "support_y"), (WAYS[2], 5, "query_y")], ids=["xla", "mapped"]
)
def test_a_label_out_of_range_is_named_in_every_use(way, label, of):
    learner, data = make_learner(way), with_label(label, of)
    before = learner.get_weights()

    for name, use in uses(learner, data).items():
        if of == "query_y" and name in ("predict", "predict_on_batch", "call", "adapt"):
            continue  # These see no query labels.
        with pytest.raises(ValueError, match=rf"{of} .*from 0 to 4.*label {label:g} in task") as error:
            use()
        assert "\n" not in str(error.value) or name == "call"  # To a call Keras adds its arguments.
    for variable, value in zip(learner.weights, before, strict=True):
        if "loss" not in variable.path:
            np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize(("label", "of"), [(-1, "support_y"), (1.5, "query_y"), (np.nan, "support_y")])
@pytest.mark.parametrize("way", [*WAYS[:2], {"run_eagerly": True, "task_map": "mapped"}], ids=["xla", "graph", "eager"])
def test_what_is_not_a_whole_number_from_0_on_is_no_label(way, label, of):
    with pytest.raises(ValueError, match=rf"{of} .*from 0 to 4.*label {label:g} in task 1"):
        make_learner(way).train_on_batch(*with_label(label, of))


@pytest.mark.parametrize("ignored", ["ignore_class", "mask"])
def test_labels_that_do_not_count_are_not_checked(ignored):
    x, y = np.array([[[1, 2, 0], [2, 1, 1]]] * 2), np.array([[[0, 1, 1], [1, 0, 0]]] * 2)
    y[0, 0, 2] = -1
    embedding = keras.layers.Embedding(3, 4, mask_zero=ignored == "mask")
    model = keras.Sequential([keras.Input((3,)), embedding, keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(True, ignore_class=-1 if ignored == "ignore_class" else None)
    learner = maml_tf.MAML(model, loss, 0.1)

    value, gradients = learner.meta_gradients(((x, y, x), y))

    assert np.isfinite(value)
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients)


def test_labels_whose_type_cannot_hold_the_number_of_classes():
    (support_x, support_y, query_x), query_y = make_data()
    support_y[:, 1], query_y[:, 2] = 100, 255

    def gradients(dtype):
        data = (support_x, support_y.astype(dtype), query_x), query_y.astype(dtype)
        return make_learner(WAYS[1], outputs=300).meta_gradients(data)

    tf.nest.map_structure(np.testing.assert_array_equal, gradients(np.uint8), gradients(np.int64))
    with pytest.raises(ValueError, match=r"from 0 to 4.*label 100"):
        make_learner(WAYS[1]).test_on_batch((support_x, support_y.astype(np.uint8), query_x), query_y.astype(np.uint8))


def test_accuracy_of_labels_out_of_range():
    logits = tf.one_hot([0, 1, 2], 3)

    with pytest.raises(ValueError, match=r"from 0 to 2.*label 3"):
        accuracy(tf.constant([0, 1, 3]), logits)
    assert np.isnan(tf.function(accuracy)(tf.constant([0, 1, 3]), logits))


def in_elements(data, counts):
    """Returns a dataset whose elements have these numbers of tasks, and sizes known only when it runs."""

    def elements():
        ends = np.cumsum(counts)
        for start, end in zip(ends - counts, ends, strict=True):
            yield tf.nest.map_structure(lambda leaf: leaf[start:end], data)  # noqa: B023

    like = tf.nest.map_structure(lambda leaf: tf.TensorSpec([None, *leaf.shape[1:]], leaf.dtype), data)
    dataset = tf.data.Dataset.from_generator(elements, output_signature=like)
    return dataset.apply(tf.data.experimental.assert_cardinality(len(counts)))


@pytest.mark.parametrize(
    ("way", "model"), [(WAYS[0], "dense"), (WAYS[1], "dense"), (WAYS[2], "batch_norm")], ids=["xla", "merged", "mapped"]
)
def test_elements_without_tasks_change_nothing(way, model):
    data = make_data(tasks=8)

    keras.utils.set_random_seed(0)
    norm = [maml_tf.layers.BatchNormalization(), keras.layers.Dropout(0.2, seed=1)] if model != "dense" else []
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), *norm, keras.layers.Dense(5)])
    learner = maml_tf.MAML(network, CROSS_ENTROPY, 0.1, task_map=way.get("task_map", "auto"))
    options = {key: value for key, value in way.items() if key != "task_map"}
    learner.compile(keras.optimizers.Adam(0.01), metrics=["accuracy"], **options)
    learner.optimizer.build(learner.trainable_variables)
    variables = [*learner.variables, *learner.optimizer.variables]
    start = [np.asarray(variable) for variable in variables]

    def trained(counts):
        for variable, value in zip(variables, start, strict=True):
            variable.assign(value)
        dataset = in_elements(data, counts)
        logs = learner.fit(dataset, shuffle=False, verbose=0).history
        measured = learner.evaluate(dataset, verbose=0, return_dict=True)
        outputs = learner.predict(dataset.map(lambda inputs, targets: (inputs,)), verbose=0)
        return logs, measured, outputs, [np.asarray(v) for v in variables if "loss" not in v.path]

    expected, received = trained([4, 4]), trained([4, 0, 4, 0])

    tf.nest.map_structure(np.testing.assert_array_equal, received, expected)
    assert np.all(np.isfinite(expected[2]))


@pytest.mark.parametrize(
    ("way", "loss"),
    [(WAYS[0], CROSS_ENTROPY), (WAYS[0], "mse"), (WAYS[2], "mse")],
    ids=["xla", "xla_mse", "mapped_mse"],
)
def test_sizes_known_only_in_the_graph_are_compared(way, loss):
    learner = make_learner(way, loss, 1 if loss == "mse" else 5)
    (sx, _, qx), _ = make_data()
    y = np.ones([4, 5, 1], np.float32)
    spec = tuple(tf.TensorSpec([None, None, leaf.shape[-1]], leaf.dtype) for leaf in (sx, y, qx, y))
    before = learner.get_weights()

    for wrong, message in (
        ((sx[:3], y[:3], qx, y), "number of tasks.*(3 and 4|4 and 3) tasks"),
        ((sx, y[:, :1], qx, y), "5 inputs and 1 targets"),
        ((sx, y, qx, y[:, :1]), "5 inputs and 1 targets"),
        ((sx[:, :4], y, qx, y), "4 inputs and 5 targets"),
        ((sx[:, :0], y[:, :0], qx, y), "0 inputs and 0 targets"),
    ):
        dataset = generated(wrong, spec).map(lambda sx, sy, qx, qy: ((sx, sy, qx), qy))
        for use in (functools.partial(learner.fit, shuffle=False), learner.evaluate):
            with pytest.raises(ValueError, match=message) as error:
                use(dataset, verbose=0)
            assert "\n" not in str(error.value)
    for new, old in zip(learner.get_weights(), before, strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize("loss", ["mse", keras.losses.Huber(), keras.losses.binary_crossentropy])
@pytest.mark.parametrize("shape", [[4, 5, 2], [4, 5, 1, 1, 1]])
def test_targets_that_a_loss_would_broadcast_are_refused(loss, shape):
    learner = make_learner(WAYS[1], loss, 1)
    (support_x, _, query_x), _ = make_data()
    y = np.ones(shape, np.float32)

    with pytest.raises(ValueError, match="targets of shape"):
        learner.fit((support_x, y, query_x), y, verbose=0)


def test_targets_of_a_width_known_only_in_the_graph():
    learner = make_learner(WAYS[1], "mse", 1)
    (support_x, _, query_x), _ = make_data()
    y = np.ones([4, 5, 2], np.float32)
    spec = tf.TensorSpec([None, None, None], tf.float32)
    dataset = generated((support_x, y, query_x, y), (tf.TensorSpec([None, None, 3]), spec, spec, spec))
    dataset = dataset.map(lambda sx, sy, qx, qy: ((sx, sy, tf.ensure_shape(qx, [None, None, 3])), qy))

    with pytest.raises(ValueError, match=r"support_y .* 1 .* 2 in task 0"):
        learner.fit(dataset, shuffle=False, verbose=0)


@pytest.mark.parametrize("data", ["inputs", "targets"])
def test_complex_numbers_are_refused(data):
    learner, ((support_x, support_y, query_x), _) = make_learner(WAYS[1], "mse", 5), make_data()
    support = (support_x * 1j, support_y) if data == "inputs" else (support_x, np.ones([4, 5, 5]) * 1j)

    with pytest.raises(ValueError, match="complex"):
        learner.fit((*support, query_x), np.ones([4, 5, 5]), verbose=0)


def test_adapt_refuses_weights_that_are_not_finite_after_the_last_step():
    learner = maml_tf.MAML(mlp((3,), (4,), 1), "mse", 1e38)
    x, y = np.full([5, 3], 1e3, np.float32), np.full([5, 1], 1e3, np.float32)

    with pytest.raises(maml_tf.core.faults.NonFiniteLossError, match="after 1 inner steps"):
        learner.adapt(x, y, steps=1)


@pytest.mark.parametrize("rate", [np.inf, np.nan, -0.1, True, "0.1", [0.1, np.inf]])
def test_step_sizes_that_are_no_finite_numbers_are_refused(rate):
    with pytest.raises((ValueError, TypeError), match="learning_rate"):
        maml_tf.MAML(mlp((3,), (4,), 1), "mse", rate)


@pytest.mark.parametrize("steps", [1.5, True, "2", -1, None])
def test_numbers_of_steps_that_are_no_whole_numbers_are_refused(steps):
    data = make_data()
    learner = make_learner(WAYS[1])
    refused = pytest.raises(ValueError, match="steps=") if steps is not None else contextlib.nullcontext()

    with refused:
        learner.adapt(data[0][0][0], data[0][1][0], steps=steps)
    with refused:
        maml_tf.evaluate(learner, [data], steps)
    with pytest.raises(ValueError, match="inner_steps="):
        maml_tf.MAML(mlp((3,), (4,), 1), "mse", 0.1, steps)


def test_every_numpy_integer_is_a_whole_number():
    data, learner = make_data(), make_learner(WAYS[1])

    assert maml_tf.evaluate(learner, [data], np.int64(2)).values["loss"].shape == (3, 4)
    assert maml_tf.MAML(mlp((3,), (4,), 1), "mse", 0.1, np.int32(2), parallel_tasks=np.int64(2)).inner_steps == 2
    learner.adapt(data[0][0][0], data[0][1][0], steps=np.int64(1))


@pytest.mark.parametrize(
    "options", [{"first_order": "no"}, {"first_order": 1}, {"parallel_tasks": 1.5}, {"parallel_tasks": True}]
)
def test_other_arguments_of_another_kind_are_refused(options):
    [name] = options
    with pytest.raises(ValueError, match=name):
        maml_tf.MAML(mlp((3,), (4,), 1), "mse", 0.1, **options)


@pytest.mark.parametrize("change", ["freeze", "add", "add_without_weights"])
def test_layers_changed_after_a_first_fit_are_refused(change):
    data = make_data()
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(5)])
    learner = maml_tf.MAML(model, CROSS_ENTROPY)
    learner.compile(jit_compile=False)
    evaluator = maml_tf.Evaluator(learner)
    every = {**uses(learner, data), "Evaluator": lambda: evaluator([data])}
    for name in ("fit", "evaluate", "predict", "Evaluator"):
        every[name]()
    if change == "freeze":
        model.layers[0].trainable = False
    else:
        model.add(keras.layers.Dense(5) if change == "add" else keras.layers.ReLU())

    for use in every.values():
        with pytest.raises(ValueError, match="make a new learner"):
            use()


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_statistics_of_the_support_set_are_those_of_the_adapted_weights(steps):
    """Batch normalization with momentum 0 holds the last batch's; a copy that is called by hand is the truth."""
    keras.utils.set_random_seed(0)
    norm = maml_tf.layers.BatchNormalization(momentum=0.0)
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(6), norm, keras.layers.Dense(5)])
    learner = maml_tf.MAML(network, CROSS_ENTROPY, 0.5, inner_steps=max(steps, 1))
    learner.compile("adam", metrics=["accuracy"])
    (support_x, support_y, query_x), query_y = data = make_data()

    truth = []
    for task in range(4):
        adapted = learner.adapt(support_x[task], support_y[task], steps=steps)
        statistics = np.asarray(adapted.layers[1].moving_mean)
        hidden = adapted.layers[0](support_x[task])
        np.testing.assert_allclose(statistics, np.mean(hidden, axis=0), rtol=1e-5, atol=1e-6)
        truth.append(adapted(query_x[task], training=False).numpy())
    losses = [float(CROSS_ENTROPY(y, outputs)) for y, outputs in zip(query_y, truth, strict=True)]

    np.testing.assert_allclose(maml_tf.evaluate(learner, [data], steps).values["loss"][steps], losses, rtol=1e-5)
    if steps:
        np.testing.assert_allclose(learner.predict(data[0], verbose=0), truth, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(learner.evaluate(*data, verbose=0)[0], np.mean(losses), rtol=1e-5)


def test_plain_lists_of_labels_are_targets():
    learner, (inputs, _) = make_learner(WAYS[1]), make_data()

    adapted = learner.adapt(inputs[0][0], [0, 1, 2, 3, 4])

    expected = learner.adapt(inputs[0][0], np.arange(5))
    np.testing.assert_array_equal(adapted.get_weights()[0], expected.get_weights()[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda learner, x, y: learner.adapt([x, x], y), "Expected 1 inputs .* 2 arrays"),
        (lambda learner, x, y: learner.adapt(None, y), "arrays of numbers.*NoneType"),
        (lambda learner, x, y: learner.adapt(x.astype(object), y), "arrays of numbers.*object"),
        (lambda learner, x, y: learner.adapt(x.astype(str), y), "real numbers.*string"),
        (lambda learner, x, y: learner.adapt(x, y.astype(str)), "real numbers.*string"),
        (
            lambda learner, x, y: learner.meta_gradients(((x[None], y[None], x[None]), {"a": y[None]})),
            "one tensor.*'a'",
        ),
        (lambda learner, x, y: learner.compile("adam", jit_compile="yes"), "jit_compile='yes'"),
        (lambda learner, x, y: learner.fit((x, y, x), y, class_weight={0: 1.0}), "class_weight={0: 1.0}"),
        (lambda learner, x, y: maml_tf.Evaluator(learner, divergence="no"), "divergence='no'"),
        (lambda learner, x, y: maml_tf.Evaluator(learner, divergence=np.nan), "divergence=nan"),
        (lambda learner, x, y: accuracy(y, x[:, 0]), "logits"),
        (lambda learner, x, y: accuracy(y.astype(str), x), "real numbers.*string"),
    ],
)
def test_arguments_of_another_kind_are_named_in_one_line(call, message):
    inputs, targets = make_data()
    with pytest.raises(ValueError, match=message) as error:
        call(make_learner(WAYS[1]), inputs[0][0], targets[0])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [None, "a"])
def test_metrics_that_return_no_number_are_named(value):
    with pytest.raises(TypeError, match="metric 'm'"):
        maml_tf.evaluate(make_learner(WAYS[1]), [make_data()], metrics={"m": lambda targets, outputs: value})


def test_a_selection_that_returns_no_list_is_refused():
    with pytest.raises(TypeError, match="3"):
        maml_tf.MAML(mlp((3,), (4,), 1), "mse", adapted=lambda model: 3)


@every_way
def test_nan_that_a_relu_hides_trains_nothing(way):
    """A ReLU makes 0 of NaN: the losses are finite, and the gradient of the first kernel is not."""
    (support_x, support_y, query_x), query_y = make_data()
    support_x[1, 2] = np.nan
    learner = make_learner(way)
    before = learner.get_weights()

    with pytest.raises(maml_tf.core.faults.NonFiniteLossError, match="NaN"):
        learner.train_on_batch((support_x, support_y, query_x), query_y)
    for new, old in zip(learner.get_weights(), before, strict=True):
        np.testing.assert_array_equal(new, old)


@every_way
def test_a_task_whose_adapted_weights_are_nan_counts_as_diverged(way):
    inputs, targets = make_data()
    inputs[0][1, 2] = np.nan
    learner = make_learner(way)

    outputs = learner.predict(inputs, verbose=0)

    np.testing.assert_array_equal(np.isnan(outputs).any(axis=(1, 2)), [False, True, False, False])
    assert np.isnan(learner.evaluate(inputs, targets, verbose=0))
    losses = maml_tf.evaluate(learner, [(inputs, targets)], 1).values["loss"]
    np.testing.assert_array_equal(np.isnan(losses[1]), [False, True, False, False])


@every_way
def test_outputs_are_nan_where_an_example_holds_nan(way):
    inputs, targets = make_data()
    inputs[2][1, 2] = np.nan
    learner = make_learner(way)

    wrong = np.isnan(learner.predict(inputs, verbose=0)).any(axis=2)

    assert np.argwhere(wrong).tolist() == [[1, 2]]
    assert np.isnan(learner.evaluate(inputs, targets, verbose=0))
    losses = maml_tf.evaluate(learner, [(inputs, targets)], 1).values["loss"]
    np.testing.assert_array_equal(np.isnan(losses), [[False, True, False, False]] * 2)


@every_way
def test_inputs_of_another_width_known_only_in_the_graph_are_refused(way):
    """Under XLA a matrix product of other widths gives numbers."""
    (support_x, support_y, query_x), query_y = make_data()
    learner = make_learner(way)
    for width in (2, 6):
        wrong = (support_x, support_y, np.resize(query_x, (*query_x.shape[:2], width))), query_y
        inputs = (tf.TensorSpec([None] * 3), tf.TensorSpec([None] * 2, tf.int64), tf.TensorSpec([None] * 3))
        data = generated(wrong, (inputs, tf.TensorSpec([None] * 2, tf.int64)))
        for use in (functools.partial(learner.fit, shuffle=False), learner.evaluate):
            with pytest.raises(maml_tf.core.faults.EpisodeError, match=f" 3 .*Received: .*{width}"):
                use(data, verbose=0)
        with pytest.raises(ValueError, match=rf"3.*Received: .*{width}"):
            learner.predict(data.map(lambda inputs, targets: (inputs,)), verbose=0)


def test_a_wrong_call_leaves_the_learner_as_it_was():
    """Keras' compiled functions generalise over the shapes that they meet; other ranks never reach them."""
    (support_x, support_y, query_x), query_y = make_data()
    learner = make_learner(WAYS[0])
    for wrong in (support_x[0, :, 0], support_x[..., None, None], support_x.astype(str), support_x[..., :2]):
        for call in (
            lambda x: learner.train_on_batch((x, support_y, query_x), query_y),
            lambda x: learner.fit((x, support_y, query_x), query_y, verbose=0),
            lambda x: learner.test_on_batch((x, support_y, query_x), query_y),
            lambda x: learner.predict((x, support_y, query_x), verbose=0),
            lambda x: learner.adapt(x[0], support_y[0]),
        ):
            with pytest.raises(ValueError, match=r"Expected .* Received: "):
                call(wrong)

    assert np.isfinite(learner.train_on_batch((support_x, support_y, query_x), query_y))
    assert np.isfinite(learner.train_on_batch((support_x[:3], support_y[:3], query_x[:3]), query_y[:3]))


@every_way
def test_targets_of_another_shape_are_told_without_a_stack(way):
    inputs, targets = make_data()
    with pytest.raises(ValueError, match=r"^Expected targets of shape .* Received: targets of shape \[\d+, 5\]$"):
        make_learner(way).train_on_batch((inputs[0], np.eye(5)[inputs[1]], inputs[2]), targets)


def test_adapt_takes_any_number_of_examples_after_targets_of_another_shape():
    (support_x, support_y, _), _ = make_data()
    learner = make_learner(WAYS[0])
    for wrong in (np.eye(5)[support_y[0]], support_y[0][:, None, None], support_y[0]):
        with contextlib.suppress(ValueError):
            learner.adapt(support_x[0], wrong)
    for examples in (5, 3, 1):
        learner.adapt(support_x[0, :examples], support_y[0, :examples])
