"""Fine-tuning of any trained model, with a step size tuned on validation tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from absl import logging

from maml_tf.checks import whole_number
from maml_tf.core.selection import Selection, everything
from maml_tf.evaluation import Evaluator, Metric
from maml_tf.learner import MAML

STEP_SIZES = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05)


def tune_step_size(
    model: keras.Model,
    loss: Any,
    episodes: Sequence[Sequence[Any]],
    steps: int,
    step_sizes: Sequence[float] = STEP_SIZES,
    *,
    adapted: Selection = everything,
    error: Metric | None = None,
) -> list[tuple[float, np.ndarray]]:
    """Chooses the step size with the smallest error on validation tasks, averaged over the steps from 1 to `steps`.

    Args:
        model: A built Keras model.
        loss: The task loss, as for `maml_tf.MAML`.
        episodes: Sets of validation tasks, such as one for each number of shots. Each set is a sequence of
            meta-batches and gets its own step size.
        steps: Number of gradient steps, at least 1.
        step_sizes: Candidates. A candidate with which a task diverges is not chosen. A warning is logged if the best
            one is the smallest or the largest of several.
        adapted: Which variables the steps change, as for `maml_tf.MAML`.
        error: Function `(query_y, outputs) -> scalar` of one task, such as the share of wrongly classified examples;
            the loss by default.

    Returns:
        For each set, the chosen step size and the mean error of every candidate, [step sizes].

    Raises:
        ValueError: If every candidate diverges, or `steps` is below 1.

    Source: Finn, Abbeel and Levine (2017), Section 5.1: "an automatically tuned step size".

    Example:
    >>> import keras
    >>> from maml_tf.baselines import tune_step_size
    >>> from maml_tf.tasks import Sinusoids
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> tasks = Sinusoids().draw(0, 0, tasks=20, shots=5, queries=5)
    >>> [(step_size, losses)] = tune_step_size(model, "mse", [[tasks.episode.keras_data()]], 2, [0.01, 10.0])
    >>> step_size
    0.01
    """
    steps = whole_number("steps", steps, minimum=1)
    metrics = {} if error is None else {"error": error}
    table = np.empty((len(step_sizes), len(episodes)))
    for row, step_size in enumerate(step_sizes):
        learner = MAML(model, loss, step_size, first_order=True, adapted=adapted)
        for column, tasks in enumerate(episodes):
            evaluation = Evaluator(learner, metrics)(tasks, steps)
            (values,) = evaluation.values.values()
            with np.errstate(invalid="ignore", over="ignore"):
                mean = values[1:].mean()
            table[row, column] = mean if np.isfinite(mean) else np.inf
    if not np.isfinite(table).any(axis=0).all():
        raise ValueError(f"Expected a step size with which no validation task diverges. Received: {step_sizes!r}")
    tuned = [(step_sizes[int(np.argmin(errors))], errors) for errors in table.T]
    for step_size, _ in tuned:
        if len(step_sizes) > 1 and step_size in (min(step_sizes), max(step_sizes)):
            logging.warning("the best step size, %g, is at the end of %s: try values beyond it", step_size, step_sizes)
    return tuned
