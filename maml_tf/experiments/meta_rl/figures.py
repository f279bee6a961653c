"""The figures of meta-reinforcement learning: Figures 4 and 5 of the paper."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from maml_tf import plotting
from maml_tf.experiments.meta_rl import config as streams
from maml_tf.experiments.meta_rl.config import MetaRLConfig
from maml_tf.experiments.meta_rl.evaluate import adapted_phases, test_tasks
from maml_tf.plotting import Trajectories, learning_curves, trajectories
from maml_tf.results import Row
from maml_tf.rl.environments import environments
from maml_tf.rl.policy import PurePolicy

_ROLLOUTS_SHOWN = 6
_TASKS_SHOWN = 3


def write_figures(
    config: MetaRLConfig,
    rows: Sequence[Row],
    policies: Mapping[str, tuple[PurePolicy, Sequence[float]]],
    logdir: pathlib.Path,
) -> list[pathlib.Path]:
    """Draws the figures as PNG files and as TensorBoard images.

    Args:
        config: The experiment's configuration.
        rows: The results.
        policies: For each method, its policy and its step sizes.
        logdir: Directory of the files.

    Returns:
        The files: the returns over gradient steps beside the paper's, and in 2D navigation paths before and after
        the first step.
    """
    spec = environments[config.environment]
    figures: dict[str, Any] = {
        "returns": learning_curves(
            rows,
            metric="return",
            log_scale=False,
            shots_label="{shots} rollouts a step",
            published=spec.paper_returns(config.evaluation_rollouts),
        )
    }
    shown = [method for method in ("maml", "pretrained") if method in policies]
    if spec.goals_in_plane and shown:
        figures["trajectories"] = trajectories({method: _paths(method, config, *policies[method]) for method in shown})
    return plotting.write_figures(figures, logdir)


def _paths(method: str, config: MetaRLConfig, policy: PurePolicy, step_sizes: Sequence[float]) -> list[Trajectories]:
    """Lets a policy adapt by one step to some test tasks, goals in different directions."""
    tasks = test_tasks(config)
    order = np.argsort(np.arctan2(tasks[:, 1], tasks[:, 0]))
    chosen = tasks[order[np.linspace(0, len(tasks), min(_TASKS_SHOWN, len(tasks)), endpoint=False, dtype=int)]]
    phases = adapted_phases(method, config, policy, chosen, step_sizes, 1, config.stream(streams.FIGURES))
    shown = []
    for number, goal in enumerate(chosen):
        before, after = (
            [
                phase.rollouts.observations[number, row][phase.rollouts.valid[number, row] > 0]
                for row in range(min(_ROLLOUTS_SHOWN, config.evaluation_rollouts))
            ]
            for phase in phases
        )
        shown.append(Trajectories(goal, before, after))
    return shown
