"""Methods beside each other, by what they reached from several seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from maml_tf.methods import label
from maml_tf.plotting import style


def method_comparison(accuracies: Mapping[str, Sequence[float]]) -> Figure:
    """Draws a line for each method: a mark for each seed, and a bar at their mean.

    Args:
        accuracies: From the name of a method to the accuracy from each seed, in [0, 1]; the first is drawn on top.

    Raises:
        ValueError: If there is no method, or one without a number.
    """
    if not accuracies or not all(len(values) for values in accuracies.values()):
        raise ValueError(f"Expected at least one method, and a number for each. Received: {dict(accuracies)}")
    styles = style.line_styles(list(accuracies))
    with style.styled():
        figure = style.new_figure(6.4, 0.28 * len(accuracies) + 1.0)
        axes = figure.subplots()
        for place, (name, values) in enumerate(accuracies.items()):
            drawn, percent = styles[name], 100 * np.asarray(values, float)
            places = np.full(len(percent), place)
            axes.plot(percent, places, linestyle="none", marker=drawn.marker, color=drawn.color, markersize=6)
            axes.plot([np.mean(percent)] * 2, [place - 0.3, place + 0.3], color=drawn.color, linewidth=1.5)
        axes.set_yticks(range(len(accuracies)), [label(name) for name in accuracies])
        axes.set_ylim(len(accuracies) - 0.4, -0.6)
        axes.set_xlabel("accuracy, %")
    return figure
