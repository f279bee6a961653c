"""Tests of maml_tf.core.faults."""

import numpy as np
import pytest
import tensorflow as tf

from maml_tf.core.faults import (
    EXAMPLES,
    LABEL,
    TASKS,
    EpisodeError,
    FaultRecord,
    NonFiniteLossError,
    error_of,
    fault_of_set,
    first_fault,
    raise_in_graph,
)

NO_FAULTS = tf.zeros([3, 2, 3], tf.float64)
NAN = float("nan")


def label_fault(task, place, label):
    sets = np.zeros([3, 2, 3])
    sets[task, place] = [LABEL, label, 5]
    return tf.constant(sets)


@pytest.mark.parametrize("bad", [NAN, float("inf")])
@pytest.mark.parametrize("jit_compile", [True, False])
def test_the_first_loss_that_is_not_finite_is_named_by_task_and_step(bad, jit_compile):
    find = tf.function(lambda losses: first_fault(NO_FAULTS, losses), jit_compile=jit_compile)

    error = error_of(find(tf.constant([[1.0, 1.0, 1.0], [1.0, 1.0, bad], [1.0, bad, bad]])).numpy(), iteration=5)

    assert isinstance(error, NonFiniteLossError)
    for part in ("in iteration 5", "[1, 2]", "step 2 ", "such a loss: 2"):
        assert part in str(error)
    assert error_of(find(tf.ones([3, 3])).numpy()) is None


@pytest.mark.parametrize(("place", "name"), [(0, "support_y"), (1, "query_y")])
def test_a_label_is_named_with_its_task_and_set(place, name):
    find = tf.function(lambda sets: first_fault(sets))

    error = error_of(find(label_fault(2, place, 7)).numpy())

    assert isinstance(error, EpisodeError)
    for part in (name, "from 0 to 4", "label 7", "task 2"):
        assert part in str(error)


def test_sizes_come_before_labels_and_labels_before_losses():
    tasks = fault_of_set(TASKS, tf.constant(True), tf.constant(4), tf.constant(3))
    nan = tf.fill([3, 2], NAN)
    find = tf.function(lambda sets, losses, size: first_fault(sets, losses, [size]))

    assert "3 and 4 tasks" in str(error_of(find(label_fault(0, 0, 9), nan, tasks).numpy()))
    assert "label 9" in str(error_of(find(label_fault(0, 0, 9), nan, tf.zeros([3], tf.float64)).numpy()))
    assert isinstance(error_of(find(NO_FAULTS, nan, tf.zeros([3], tf.float64)).numpy()), NonFiniteLossError)


def test_no_task_has_no_fault():
    find = tf.function(lambda sets, losses: first_fault(sets, losses))

    assert error_of(find(NO_FAULTS[:0], tf.zeros([0, 2])).numpy()) is None


@pytest.mark.parametrize("jit_compile", [True, False])
def test_a_record_keeps_the_first_fault_until_it_is_read(jit_compile):
    record = FaultRecord()
    note = tf.function(lambda losses: record.note(first_fault(NO_FAULTS, losses)), jit_compile=jit_compile)
    good, bad = tf.ones([3, 2]), tf.constant([[1.0, 1.0], [1.0, NAN], [1.0, 1.0]])

    assert note(good)
    record.require_none()
    assert not note(bad)
    assert not note(tf.fill([3, 2], NAN))
    assert not note(good)
    with pytest.raises(NonFiniteLossError, match=r"\[1, 1\]"):
        record.require_none(iteration=5)
    record.require_none()
    assert note(good)


@pytest.mark.parametrize("kind", [LABEL, TASKS, EXAMPLES])
def test_in_a_graph_a_fault_is_an_assertion_and_eagerly_an_error(kind):
    fault = tf.constant([kind, 1, 0, 7, 5, 0], tf.float64)

    @tf.function
    def checked(fault):
        with tf.control_dependencies(raise_in_graph(fault)):
            return tf.identity(fault)

    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected"):
        checked(fault)
    with pytest.raises(EpisodeError, match="7"):
        raise_in_graph(fault)
    np.testing.assert_array_equal(checked(tf.zeros_like(fault)), np.zeros(6))


def test_the_error_is_of_the_types_that_callers_catch():
    assert isinstance(NonFiniteLossError("x"), ValueError)
    assert isinstance(NonFiniteLossError("x"), tf.errors.InvalidArgumentError)
