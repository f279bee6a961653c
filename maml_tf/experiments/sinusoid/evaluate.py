"""The run of the sinusoid experiment: trains methods and tests them (Section 5.1, Appendices B and C.1, Table 2)."""

from __future__ import annotations

import dataclasses

from absl import logging

from maml_tf.evaluation import Evaluator
from maml_tf.experiments.common.workers import open_training
from maml_tf.experiments.sinusoid import config as streams
from maml_tf.experiments.sinusoid.config import DIVERGENCE, SinusoidConfig
from maml_tf.experiments.sinusoid.figures import write_figures
from maml_tf.experiments.sinusoid.train import SINUSOIDS, MetaLearning, build_method
from maml_tf.results import NETWORK, RESULTS, MethodResults, Row, file_digest, format_table
from maml_tf.training import recorded_seconds, save_atomically, writable_directory, write_rows


def run(config: SinusoidConfig, logdir: str, resume: bool = False) -> list[Row]:
    """Trains and tests the methods; writes results.json, figures, networks and TensorBoard's events.

    Args:
        config: The experiment's configuration.
        logdir: Directory for all that is written; created if it does not exist.
        resume: Whether to continue from the checkpoints in it.

    Returns:
        The rows of results.json, with those of other methods that earlier runs left: metric "mse" on K query points and
        "mse_grid" on the dense grid.

    Raises:
        ValueError: If the directory cannot be written, or holds checkpoints or results of another configuration, or
            any checkpoints without `resume`.
    """
    checkpoints = [f"{method}/checkpoints" for method in config.methods]
    with open_training(logdir, checkpoints, resume, config, methods=config.methods) as directory:
        measured = MethodResults(directory / RESULTS, "sinusoid", config, config.methods, resume)
        adaptive = {}
        for name in config.methods:
            logging.info("%s: training", name)
            method, folder = build_method(name, config), writable_directory(directory / name)
            method.train(folder, resume)
            path = save_atomically(folder / NETWORK, method.network.save)
            logging.info("%s: evaluating on %d test tasks", name, config.test_tasks)
            step_sizes = method.step_sizes()
            rows = [row for shots, size in step_sizes.items() for row in measure(method, shots, size)]
            seconds = recorded_seconds(folder)
            measured.add(name, rows, weights_sha256=file_digest(path), training_seconds=seconds)
            write_rows(folder, rows, config.iterations)
            if method.adapts:
                adaptive[name] = (method.network, step_sizes)
        write_figures(config, measured.rows, adaptive, directory)
        return measured.rows


def table(rows: list[Row]) -> str:
    """Formats rows as Table 2: the errors after 1, 5 and 10 steps, before any and after the last."""
    steps = sorted({row.step for row in rows})
    return format_table(rows, steps=[step for step in steps if step in (0, 1, 5, 10, steps[-1])])


def measure(method: MetaLearning, shots: int, step_size: float) -> list[Row]:
    """Measures a method's network on the test tasks.

    Args:
        method: The method.
        shots: Support points of a task.
        step_size: Size of a gradient step.

    Returns:
        The metrics "mse" and "mse_grid" after 0 to `evaluation_steps` steps.
    """
    config = method.config
    evaluator = Evaluator(method.learner(step_size), divergence=DIVERGENCE)
    rows = []
    for metric, grid in (("mse", False), ("mse_grid", True)):
        drawn = SINUSOIDS.draw(
            config.stream(streams.TEST), 0, tasks=config.test_tasks, shots=shots,
            queries=config.grid_points if grid else shots, query_grid=grid,
        )  # fmt: skip
        data = method.test_episode(drawn).keras_data()
        evaluation = evaluator([data], config.evaluation_steps if method.adapts else 0)
        (values,) = evaluation.values.values()
        evaluation = dataclasses.replace(evaluation, values={metric: values})
        rows += [Row.of(method.name, shots, summary, step_size=step_size) for summary in evaluation.summaries()]
    return rows
