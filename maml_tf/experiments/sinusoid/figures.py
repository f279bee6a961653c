"""The figures of the sinusoid experiment: Figures 2, 3, 6 and 7 of the paper."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from maml_tf import plotting
from maml_tf.experiments.sinusoid import config as streams
from maml_tf.experiments.sinusoid.config import SinusoidConfig
from maml_tf.few_shot.regression import build_learner
from maml_tf.plotting import SinusoidFit, learning_curves, sinusoid_fits
from maml_tf.results import Row
from maml_tf.tasks.sinusoid import Sinusoids

_SHOTS, _STEPS = 5, (0, 1, 10)


def write_figures(
    config: SinusoidConfig,
    rows: Sequence[Row],
    networks: Mapping[str, tuple[keras.Model, Mapping[int, float]]],
    logdir: pathlib.Path,
) -> list[pathlib.Path]:
    """Draws the figures as PNG files and as TensorBoard images.

    Args:
        config: The experiment's configuration.
        rows: The results.
        networks: For each method that adapts, its network and its step size at each number of shots.
        logdir: Where they go.

    Returns:
        The files.
    """
    curves = [row for row in rows if row.metric == "mse"]
    figures: dict[str, Any] = {}
    main = [row for row in curves if row.method in ("maml", "pretrained", "oracle")]
    if main and 10 in config.evaluation_shots:
        figures["figure3_learning_curves_10_shot"] = learning_curves(
            [row for row in main if row.shots == 10], metric="mean squared error"
        )
    figures["figure6_learning_curves"] = learning_curves(curves, metric="mean squared error")
    shown = [method for method in ("maml", "maml_first_order", "pretrained") if method in networks]
    if shown:
        fits = {method: _fits(config, *networks[method], method) for method in shown}
        figures["figure2_fits"] = sinusoid_fits({name: of_method[:2] for name, of_method in fits.items()})
        figures["figure7_more_fits"] = sinusoid_fits({name: of_method[2:] for name, of_method in fits.items()})
    return plotting.write_figures(figures, logdir)


def _fits(
    config: SinusoidConfig, network: keras.Model, step_sizes: Mapping[int, float], method: str = "maml"
) -> list[SinusoidFit]:
    """Fits one task whose points lie in the left half of the range, and four with points anywhere."""
    sinusoids, grid = Sinusoids(), config.grid_points
    step_size = step_sizes.get(_SHOTS, next(iter(step_sizes.values())))
    fits = []
    for number in range(5):
        half = "left" if number == 0 else None
        drawn = sinusoids.draw(
            config.stream(streams.FIGURES), number,
            tasks=1, shots=_SHOTS, queries=grid, query_grid=True, support_half=half,
        )  # fmt: skip
        support_x, support_y, query_x, query_y = (leaf[0] for leaf in drawn.episode)
        learner = build_learner(method, config, network, step_size)
        predictions = {steps: np.asarray(learner.adapt(support_x, support_y, steps)(query_x))[:, 0] for steps in _STEPS}
        columns = (np.asarray(leaf)[:, 0] for leaf in (query_x, query_y, support_x, support_y))
        fits.append(SinusoidFit(*columns, predictions))
    return fits
