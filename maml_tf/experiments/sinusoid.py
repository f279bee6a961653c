"""The sinusoid regression experiment: Section 5.1, Appendices B and C.1, Figures 2, 3, 6 and 7, Table 2."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping

import keras
from absl import logging

from maml_tf.baselines import tune_step_size
from maml_tf.evaluation import evaluate
from maml_tf.experiments import results
from maml_tf.experiments import sinusoid_config as streams
from maml_tf.experiments.logdir import open_logdir
from maml_tf.experiments.results import Row
from maml_tf.experiments.sinusoid_config import DIVERGENCE, SinusoidConfig
from maml_tf.experiments.sinusoid_figures import write_figures
from maml_tf.experiments.sinusoid_methods import train, validation_episodes
from maml_tf.meta_learner import MAML
from maml_tf.tasks.sinusoid import Sinusoids, with_task_input
from maml_tf.training import recorded_seconds, save_atomically, writable_directory


def run(config: SinusoidConfig, logdir: str, resume: bool = False) -> list[Row]:
    """Trains and evaluates the methods; writes results.json, figures, weights and TensorBoard's events.

    Args:
        config: The experiment's configuration.
        logdir: Directory for all that is written, created if need be.
        resume: Whether to go on from the checkpoints in it.

    Returns:
        The rows of results.json: metrics "mse" (on K query points) and "mse_grid" (on the dense grid).

    Raises:
        ValueError: If the directory cannot be written, or holds checkpoints of another configuration, or any
            without `resume`.
    """
    began = time.monotonic()
    directory = open_logdir(logdir, [f"{method}/checkpoints" for method in config.methods], resume)
    rows: list[Row] = []
    adaptive = {}
    for method in config.methods:
        logging.info("%s: training", method)
        network = train(method, config, writable_directory(directory / method), resume)
        save_atomically(directory / method / "network.keras", network.save)
        logging.info("%s: evaluating on %d test tasks", method, config.test_tasks)
        if method == "oracle":
            rows += _evaluate(method, config, network, {shots: 0.0 for shots in config.evaluation_shots})
            continue
        step_sizes = _step_sizes(method, config, network)
        adaptive[method] = (network, step_sizes)
        rows += _evaluate(method, config, network, step_sizes)
    results.write_results(
        directory / "results.json",
        experiment="sinusoid",
        config=config,
        rows=rows,
        seconds=time.monotonic() - began,
        training_seconds={method: recorded_seconds(directory / method) for method in config.methods},
    )
    write_figures(config, rows, adaptive, directory)
    return rows


def table(rows: list[Row]) -> str:
    """Formats the rows as Table 2 does: the errors after 1, 5 and 10 steps, and before any and after the last.

    Args:
        rows: What `run` returned.

    Returns:
        Lines of text.
    """
    steps = sorted({row.step for row in rows})
    return results.format_table(rows, steps=[step for step in steps if step in (0, 1, 5, 10, steps[-1])])


def _step_sizes(method: str, config: SinusoidConfig, network: keras.Model) -> dict[int, float]:
    if method in ("maml", "maml_first_order"):
        return {shots: config.inner_learning_rate for shots in config.evaluation_shots}
    episodes = [validation_episodes(config, shots) for shots in config.evaluation_shots]
    tuned = tune_step_size(network, "mse", episodes, config.evaluation_steps)
    return {shots: size for shots, (size, _) in zip(config.evaluation_shots, tuned, strict=True)}


def _evaluate(method: str, config: SinusoidConfig, network: keras.Model, step_sizes: Mapping[int, float]) -> list[Row]:
    oracle = method == "oracle"
    rows = []
    for shots, step_size in step_sizes.items():
        learner = MAML(network, "mse", step_size, first_order=True)
        for metric, grid in (("mse", False), ("mse_grid", True)):
            drawn = Sinusoids().draw(
                config.stream(streams.TEST), 0, tasks=config.test_tasks, shots=shots,
                queries=config.grid_points if grid else shots, query_grid=grid,
            )  # fmt: skip
            episode = with_task_input(drawn) if oracle else drawn.episode
            evaluation = evaluate(
                learner,
                [episode.keras_data()],
                0 if oracle else config.evaluation_steps,
                divergence=DIVERGENCE,
            )
            (values,) = evaluation.values.values()
            evaluation = dataclasses.replace(evaluation, values={metric: values})
            # The oracle is told the task: it has nothing to adapt to.
            rows += [Row.of(method, shots, summary, step_size=step_size) for summary in evaluation.summaries()]
    return rows
