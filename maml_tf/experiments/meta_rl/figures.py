"""The figures of meta-reinforcement learning, Figures 4 and 5 of the paper, and videos before and after adaptation."""

from __future__ import annotations

import functools
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf
from absl import logging

from maml_tf import plotting
from maml_tf.experiments.meta_rl import config as streams
from maml_tf.experiments.meta_rl.config import MetaRLConfig
from maml_tf.experiments.meta_rl.methods import adapted, test_tasks
from maml_tf.plotting import Trajectories, learning_curves, trajectories
from maml_tf.results import Row
from maml_tf.rl.environments import DrawableEnvironment, TaskDistribution, TaskEnvironment, environments
from maml_tf.rl.methods import build_environment, composition
from maml_tf.rl.policy import PurePolicy
from maml_tf.rl.video import film, write_video
from maml_tf.training import writable_directory

_FRAMES_PER_SECOND = 25
# Steps of navigation have no duration.
_NAVIGATION_STEPS_PER_FRAME, _NAVIGATION_FRAMES_PER_SECOND = 4, 8
_GAP = 4
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
        The files: the returns over gradient steps beside the paper's, success rates where the environment says what
        succeeds, and in 2D navigation paths before and after the first step.
    """
    spec = environments[config.environment]
    drawn = functools.partial(learning_curves, log_scale=False, shots_label="{shots} rollouts a step")
    of_metric = {metric: [row for row in rows if row.metric == metric] for metric in ("return", "success_rate")}
    published = spec.paper_returns(config.evaluation_rollouts)
    figures: dict[str, Any] = {"returns": drawn(of_metric["return"], metric="return", published=published)}
    if of_metric["success_rate"]:
        figures["success_rates"] = drawn(of_metric["success_rate"], metric="success rate", percent=True)
    shown = [method for method in ("maml", "pretrained") if method in policies]
    if spec.goals_in_plane and shown:
        figures["trajectories"] = trajectories({method: _paths(method, config, *policies[method]) for method in shown})
    return plotting.write_figures(figures, logdir)


def _paths(method: str, config: MetaRLConfig, policy: PurePolicy, step_sizes: Sequence[float]) -> list[Trajectories]:
    """Lets a policy adapt by one step to some test tasks, goals in different directions."""
    tasks = test_tasks(config)
    order = np.argsort(np.arctan2(tasks[:, 1], tasks[:, 0]))
    chosen = tasks[order[np.linspace(0, len(tasks), min(_TASKS_SHOWN, len(tasks)), endpoint=False, dtype=int)]]
    phases, _ = adapted(method, config, policy, chosen, step_sizes, 1, config.stream(streams.FIGURES))
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


def write_videos(
    method: str,
    config: MetaRLConfig,
    policy: PurePolicy,
    step_sizes: Sequence[float],
    directory: str | os.PathLike[str],
    ending: Literal["gif", "mp4"] = "gif",
) -> list[pathlib.Path]:
    """Films a method's policy in two test tasks, before its first gradient step (left) and after it (right).

    The policy takes the mean of its actions, without noise. The tasks are those with the least and the greatest
    first number: the slowest and the fastest, backwards and forwards. Nothing is written where the environment is no
    `DrawableEnvironment`, or the machine cannot draw, of which a warning says what to install.

    Args:
        method: A name of `maml_tf.methods`.
        config: The experiment's configuration.
        policy: The initial policy.
        step_sizes: Size of each gradient step.
        directory: Directory of the files.
        ending: "gif" or "mp4".

    Returns:
        The files.
    """
    environment = build_environment(method, config, 1)
    if not isinstance(environment, DrawableEnvironment):
        logging.info("%s: no video: %s is no DrawableEnvironment", method, config.environment)
        return []
    tasks, names = _outermost(environment.distribution, test_tasks(config))
    initial = policy.parameters()
    phases = [[initial] * len(tasks)]
    if composition(method, config).adapts:
        _, [params] = adapted(method, config, policy, tasks, step_sizes, 1, config.stream(streams.FIGURES))
        phases.append([{name: value[number] for name, value in params.items()} for number in range(len(tasks))])
    every, speed = _pace(environment)
    mean = tf.function(lambda params, observations: policy(params, observations).mean, autograph=False)
    files = []
    for number, (task, name) in enumerate(zip(tasks, names, strict=True)):
        environment.set_tasks([task])
        try:
            films = []
            for of_phase in phases:
                environment.seed(config.stream(streams.FIGURES))
                films.append(film(environment, _acting(mean, of_phase[number]), every=every))
        except RuntimeError as error:
            logging.warning("%s: no video: %s", method, error)
            return []
        path = writable_directory(directory) / f"{method}_task_{name}.{ending}"
        files.append(write_video(path, side_by_side(films), speed))
    return files


def side_by_side(films: Sequence[np.ndarray]) -> np.ndarray:
    """Joins films; one that ends early stands still at its last picture.

    Args:
        films: uint8 [frames, height, width, 3] each, of the same height.

    Returns:
        uint8 [most frames, height, all widths and gaps, 3].
    """
    length = max(map(len, films))
    columns = []
    for pictures in films:
        rest = np.repeat(pictures[-1:], length - len(pictures), axis=0)
        gap = np.full([length, pictures.shape[1], _GAP, 3], 255, np.uint8)
        columns += [gap, np.concatenate([pictures, rest])]
    return np.concatenate(columns[1:], axis=2)


def _outermost(distribution: TaskDistribution, tasks: Sequence[Any]) -> tuple[list[Any], list[str]]:
    """Returns the tasks with the least and the greatest first number, and their names; the first and last objects."""
    features = distribution.features(tasks)
    order = np.argsort(features[:, 0], kind="stable") if distribution.size else np.arange(len(tasks))
    chosen = [int(order[0]), int(order[-1])]
    names = ["_".join(f"{value:.2f}" for value in features[number]) or str(number) for number in chosen]
    return [tasks[number] for number in chosen], names


def _pace(environment: TaskEnvironment) -> tuple[int, float]:
    """Returns the steps of a picture, and pictures a second: in real time where there is one."""
    dt = getattr(environment, "dt", None)
    if dt is None:
        return _NAVIGATION_STEPS_PER_FRAME, _NAVIGATION_FRAMES_PER_SECOND
    every = max(1, round(1 / (_FRAMES_PER_SECOND * dt)))
    return every, 1 / (every * dt)


def _acting(mean: Callable[..., tf.Tensor], params: dict[str, tf.Tensor]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda observations: mean(params, observations).numpy()
