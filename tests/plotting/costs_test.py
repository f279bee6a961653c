"""Tests of maml_tf.plotting.costs."""

import pytest

from maml_tf.plotting.costs import cost_curves


def line(varied, number, first_order=False):
    sizes = {"tasks": 4, "inner_steps": 1, varied: number}
    cost = {"median_ms": 2.0 * number, "peak_mib": 100 + number}
    return {"workload": "omniglot", "first_order": first_order, "varied": varied, **sizes, **cost}


def test_a_panel_for_each_cost_and_axis_with_its_lines_in_order():
    lines = [line("tasks", n, first) for first in (False, True) for n in (16, 1)]
    lines += [line("inner_steps", n) for n in (100, 1, 10)]
    figure = cost_curves(lines, title="a device")
    time_tasks, time_steps, memory_tasks, memory_steps = figure.axes
    assert [list(drawn.get_xdata()) for drawn in time_tasks.lines] == [[1, 16], [1, 16]]
    assert list(time_steps.lines[0].get_ydata()) == [2, 20, 200]
    assert list(memory_steps.lines[0].get_ydata()) == [101, 110, 200]
    assert [text.get_text() for text in memory_steps.get_xticklabels()] == ["1", "10", "100"]
    assert (memory_tasks.get_xlabel(), memory_steps.get_xlabel()) == ("tasks", "inner steps")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["omniglot, exact", "omniglot, first order"]


def test_programs_side_by_side_over_what_varies_alone():
    lines = [{**line("inner_steps", n), "peer": peer} for n in (1, 5) for peer in ("ours", "theirs")]
    figure = cost_curves([*lines, {**line("tasks", 4), "peer": "ours"}])
    assert [panel.get_xlabel() for panel in figure.axes] == ["", "inner steps"]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["ours: omniglot, exact", "theirs: omniglot, exact"]


def test_a_line_that_lacks_something():
    with pytest.raises(ValueError, match="Expected a line to have peak_mib, varied"):
        cost_curves([{key: value for key, value in line("tasks", 1).items() if key not in ("varied", "peak_mib")}])


def test_what_varies_is_known():
    with pytest.raises(ValueError, match=r"varied to be one of .*'ways'"):
        cost_curves([{**line("tasks", 1), "varied": "ways"}])


def test_no_lines():
    with pytest.raises(ValueError, match="Expected at least one line"):
        cost_curves([])
