"""Curves of validation accuracy over a training, one for each number of inner steps."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from maml_tf.plotting import style


def training_curves(iterations: Sequence[int], accuracies: Sequence[Sequence[float]]) -> Figure:
    """Draws the validation accuracy over the iterations, before adaptation and after each inner step.

    Args:
        iterations: When it was measured, [validations].
        accuracies: Accuracies between 0 and 1, [validations, steps + 1].

    Returns:
        The figure.

    Raises:
        ValueError: If there are no validations, or the shapes do not fit.
    """
    values = np.asarray(accuracies, np.float64)
    if values.ndim != 2 or not len(values) or len(values) != len(iterations):
        raise ValueError(
            "Expected accuracies [validations, steps + 1] of at least one validation. "
            f"Received: shape {values.shape} for {len(iterations)} iterations"
        )
    with style.styled():
        figure = style.new_figure(5.0, 3.4)
        panel = figure.subplots()
        last = values.shape[1] - 1
        colors = matplotlib.colormaps["viridis"](np.linspace(0.85, 0.0, last + 1))
        for step, curve in enumerate(values.T):
            label = "before adaptation" if step == 0 else f"after {step} step{'s' * (step != 1)}"
            line = ":" if step == 0 else "-"
            marker = "o" if len(values) == 1 else None
            panel.plot(iterations, 100 * curve, color=colors[step], linestyle=line, marker=marker, label=label)
        panel.set_xlabel("iterations")
        panel.set_ylabel("validation accuracy, %")
        figure.legend(loc="outside right upper")
    return figure
