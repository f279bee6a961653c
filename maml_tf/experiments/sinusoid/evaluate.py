"""The sinusoid regression experiment: Section 5.1, Appendices B and C.1, Figures 2, 3, 6 and 7, Table 2."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import keras
from absl import logging

from maml_tf import results
from maml_tf.baselines import tune_step_size
from maml_tf.evaluation import evaluate
from maml_tf.experiments.logdir import open_logdir
from maml_tf.experiments.sinusoid import config as streams
from maml_tf.experiments.sinusoid.config import DIVERGENCE, SinusoidConfig
from maml_tf.experiments.sinusoid.figures import write_figures
from maml_tf.experiments.sinusoid.train import BASELINES, build_learner, train, validation_episodes
from maml_tf.results import RESULTS, MethodResults, Row
from maml_tf.tasks.sinusoid import Sinusoids, with_task_input
from maml_tf.training import recorded_seconds, save_atomically, writable_directory


def run(config: SinusoidConfig, logdir: str, resume: bool = False) -> list[Row]:
    """Trains and evaluates the methods; writes results.json, figures, weights and TensorBoard's events.

    Args:
        config: The experiment's configuration.
        logdir: Directory for all that is written, created if need be.
        resume: Whether to go on from the checkpoints in it.

    Returns:
        The rows of results.json: metrics "mse" (on K query points) and "mse_grid" (on the dense grid). Those of other
        methods that earlier runs left in it are among them.

    Raises:
        ValueError: If the directory cannot be written, or holds checkpoints or results of another configuration, or
            checkpoints of any without `resume`.
    """
    checkpoints = [f"{method}/checkpoints" for method in config.methods]
    with open_logdir(logdir, checkpoints, resume) as directory:
        measured = MethodResults(directory / RESULTS, "sinusoid", config, config.methods, resume)
        adaptive = {}
        for method in config.methods:
            logging.info("%s: training", method)
            network = train(method, config, writable_directory(directory / method), resume)
            save_atomically(directory / method / "network.keras", network.save)
            logging.info("%s: evaluating on %d test tasks", method, config.test_tasks)
            step_sizes = _step_sizes(method, config, network)
            rows = _evaluate(method, config, network, step_sizes)
            measured.add(method, rows, training_seconds=recorded_seconds(directory / method))
            if method != "oracle":
                adaptive[method] = (network, step_sizes)
        write_figures(config, measured.rows, adaptive, directory)
        return measured.rows


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
    if method not in BASELINES:
        return {shots: config.inner_learning_rate for shots in config.evaluation_shots}
    if method == "oracle":  # It is told the task and has nothing to adapt to.
        return {shots: 0.0 for shots in config.evaluation_shots}
    episodes = [validation_episodes(config, shots) for shots in config.evaluation_shots]
    tuned = tune_step_size(network, "mse", episodes, config.evaluation_steps)
    return {shots: size for shots, (size, _) in zip(config.evaluation_shots, tuned, strict=True)}


def _evaluate(method: str, config: SinusoidConfig, network: keras.Model, step_sizes: Mapping[int, float]) -> list[Row]:
    oracle = method == "oracle"
    rows = []
    for shots, step_size in step_sizes.items():
        learner = build_learner(method, config, network, step_size)
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
            rows += [Row.of(method, shots, summary, step_size=step_size) for summary in evaluation.summaries()]
    return rows
