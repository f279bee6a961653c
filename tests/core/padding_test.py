"""Tasks of different sizes in one meta-batch: the same as each alone, without padding, in one graph."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import maml_tf
from maml_tf.algorithms import algorithms
from maml_tf.core.padding import Padding
from maml_tf.evaluation import accuracy
from maml_tf.models import mlp

WAYS, SHOTS, QUERIES = 4, 3, 2
# Classes and shots of each task.
SIZES = [(2, 1), (4, 3), (3, 2)]
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def make_learner(algorithm="maml", outputs=WAYS, padding_label=-1, **options):
    keras.utils.set_random_seed(0)
    network = mlp((3,), (5,), WAYS, activation="tanh", normalization="batch", dtype="float64")
    if outputs != WAYS:
        # The same network for fewer classes.
        small = mlp((3,), (5,), outputs, activation="tanh", normalization="batch", dtype="float64")
        *body, kernel, bias = network.get_weights()
        small.set_weights([*body, kernel[:, :outputs], bias[:outputs]])
        network = small
    options = {"task_map": "unrolled", "padding_label": padding_label, **options}
    learner = maml_tf.MetaLearner(network, LOSS, algorithm, 0.3, 2, **options)
    learner.compile(keras.optimizers.SGD(0.1), metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")])
    return learner


def make_tasks():
    """Makes tasks of their own sizes, and the same as a meta-batch that is filled up."""
    generator, tasks = np.random.default_rng(1), []
    whole = [np.full((3, WAYS * SHOTS, 3), 9.0), np.full((3, WAYS * SHOTS), -1), np.full((3, WAYS * QUERIES, 3), 9.0),
             np.full((3, WAYS * QUERIES), -1)]  # fmt: skip
    for number, (ways, shots) in enumerate(SIZES):
        task = []
        for part, count in ((0, shots), (2, QUERIES)):
            labels = generator.permutation(np.tile(np.arange(ways), count))
            examples = generator.standard_normal((len(labels), 3))
            # Anywhere: padding need not come last.
            places = np.sort(generator.choice(whole[part].shape[1], len(labels), replace=False))
            whole[part][number, places], whole[part + 1][number, places] = examples, labels
            task += [examples[None], labels[None]]
        tasks.append(((task[0], task[1], task[2]), task[3]))
    return tasks, ((whole[0], whole[1], whole[2]), whole[3])


@pytest.mark.parametrize("algorithm", ["maml", "proto_maml", "matching"])
def test_the_gradient_is_the_mean_of_the_tasks_alone(algorithm):
    tasks, padded = make_tasks()

    loss, gradients = make_learner(algorithm).meta_gradients(padded)

    losses, expected = [], []
    for task, (ways, _) in zip(tasks, SIZES, strict=True):
        alone, of_task = make_learner(algorithm, outputs=ways, padding_label=None).meta_gradients(task)
        losses.append(alone)
        *body, kernel, bias = (gradient.numpy() for gradient in of_task)
        missing = WAYS - ways
        expected.append([*body, np.pad(kernel, [(0, 0), (0, missing)]), np.pad(bias, (0, missing))])
    np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-10)
    for received, of_tasks in zip(gradients, zip(*expected, strict=True), strict=True):
        np.testing.assert_allclose(received, np.mean(of_tasks, axis=0), rtol=1e-7, atol=1e-11)


@pytest.mark.parametrize("algorithm", ["maml", "matching"])
def test_evaluation_is_of_each_task_alone(algorithm):
    tasks, padded = make_tasks()
    metrics = {"loss": LOSS, "accuracy": accuracy}

    values = maml_tf.Evaluator(make_learner(algorithm, task_map="mapped"), metrics)([padded], 2).values

    for number in (0, 2):
        task, (ways, _) = tasks[number], SIZES[number]
        alone = maml_tf.Evaluator(make_learner(algorithm, outputs=ways, padding_label=None), metrics)([task], 2).values
        for name in metrics:
            np.testing.assert_allclose(values[name][:, number], alone[name][:, 0], rtol=1e-6, err_msg=name)


def test_keras_metrics_and_training_see_no_padding_and_nothing_is_traced_anew():
    tasks, padded = make_tasks()
    learner = make_learner(task_map="mapped")
    measured = learner.evaluate(*padded, batch_size=3, verbose=0, return_dict=True)
    right = total = 0
    for task, (ways, _) in zip(tasks, SIZES, strict=True):
        outputs = make_learner(outputs=ways, padding_label=None)(task[0])
        right, total = right + np.sum(np.argmax(outputs, -1) == task[1]), total + ways * QUERIES
    np.testing.assert_allclose(measured["accuracy"], right / total, rtol=1e-6)

    traces, train_step = [], learner.train_step
    learner.train_step = lambda data: traces.append(1) or train_step(data)
    history = learner.fit(*padded, batch_size=1, epochs=2, shuffle=False, verbose=0).history
    assert len(traces) == 1
    assert np.isfinite(history["loss"]).all() and 0 <= history["accuracy"][0] <= 1


def test_adapting_and_predicting_cut_the_support_set():
    tasks, padded = make_tasks()
    learner = make_learner()
    (*_, query_x), _ = tasks[0]
    outputs = learner.predict((padded[0][0][:1], padded[0][1][:1], query_x), verbose=0)
    adapted = learner.adapt(padded[0][0][0], padded[0][1][0])
    np.testing.assert_allclose(outputs[0][:, :2], adapted(query_x[0])[:, :2], rtol=1e-6)
    assert (outputs[..., 2:] == -1e9).all()


def test_it_is_saved(tmp_path):
    learner = make_learner()
    copy = type(learner).from_config(learner.get_config())
    assert copy.padding.label == -1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding_label": 0}, "Received: padding_label=0"),
        ({"task_map": "vectorized"}, "cannot be merged. Received: task_map='vectorized'"),
    ],
)
def test_what_does_not_suit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_learner(**options)


def test_other_losses_and_xla_are_refused():
    network = mlp((3,), (5,), WAYS)
    for loss in ("mse", keras.losses.SparseCategoricalCrossentropy()):
        with pytest.raises(ValueError, match=r"SparseCategoricalCrossentropy\(from_logits=True\) with padding_label"):
            maml_tf.MAML(network, loss, padding_label=-1)
    learner = maml_tf.MAML(network, LOSS, padding_label=-1)
    with pytest.raises(ValueError, match="jit_compile=False with padding_label"):
        learner.compile("sgd", jit_compile=True)
    with pytest.raises(ValueError, match="jit_compile=False of a learner with padding_label"):
        maml_tf.Evaluator(learner, jit_compile=True)


def test_all_algorithms_take_no_size_for_granted():
    _, padded = make_tasks()
    for algorithm in algorithms:
        _, gradients = make_learner(algorithm).meta_gradients(padded)
        assert all(np.isfinite(gradient).all() for gradient in gradients), algorithm


def test_unsigned_labels_hold_no_padding():
    """As uint8, -1 would be 255, which may be a class."""
    labels = tf.constant([0, 255, 1], tf.uint8)

    assert Padding(-1).counted(labels).numpy().tolist() == [True, True, True]
    assert Padding(-1).counted(tf.constant([0, -1, 1], tf.int8)).numpy().tolist() == [True, False, True]
