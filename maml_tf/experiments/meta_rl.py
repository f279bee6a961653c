"""Meta-reinforcement learning: Section 5.3, Figures 4 and 5, Tables 4 and 5. Training, evaluation, figures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

from absl import logging

from maml_tf.experiments.logdir import open_logdir
from maml_tf.experiments.meta_rl_config import METHODS, MetaRLConfig
from maml_tf.experiments.meta_rl_evaluation import evaluate, tune_step_size
from maml_tf.experiments.meta_rl_figures import write_figures
from maml_tf.experiments.meta_rl_training import train
from maml_tf.experiments.meta_rl_videos import write_videos
from maml_tf.experiments.method_results import MethodResults
from maml_tf.experiments.results import Row, file_digest
from maml_tf.training import recorded_seconds, save_atomically, writable_directory


def run(
    config: MetaRLConfig,
    methods: Sequence[str],
    logdir: str | os.PathLike[str],
    resume: bool = False,
    videos: Literal["gif", "mp4", "none"] = "none",
) -> list[Row]:
    """Trains and evaluates methods; writes results.json, figures, videos, policies and TensorBoard's events.

    Args:
        config: The experiment's configuration.
        methods: Of `maml_tf.experiments.meta_rl_config.METHODS`, or "all" for all of them.
        logdir: Directory for all that is written, created if need be.
        resume: Whether to go on from the checkpoints in it.
        videos: Format of videos of two tasks before and after a step, or none.

    Returns:
        The rows of results.json: metric "return" after 0 to `evaluation_steps` steps. Those of other methods that
        earlier runs left in it are among them.

    Raises:
        FileNotFoundError: If there is no file of initial weights.
        ValueError: If a method is unknown, "random" is to have initial weights or they do not fit a method's policy,
            the directory cannot be written, or it holds checkpoints or results of another configuration, or
            checkpoints of any without `resume`.
    """
    unknown = [method for method in methods if method not in (*METHODS, "all")]
    if unknown or not methods:
        raise ValueError(f"Expected methods of {METHODS}, or all. Received: {tuple(methods)}")
    if "all" in methods:
        methods = METHODS
    methods = tuple(dict.fromkeys(methods))
    if config.initial_weights and "random" in methods:
        raise ValueError(
            "Expected no initial_weights with the method random. "
            f"Received: initial_weights={config.initial_weights!r}, methods {methods}"
        )
    with open_logdir(logdir, [f"{method}/checkpoints" for method in methods], resume) as directory:
        measured = MethodResults(directory / "results.json", config.environment, config, methods, resume)
        policies = {}
        for method in methods:
            logging.info("%s: training", method)
            policy = train(method, config, writable_directory(directory / method), resume)
            path = save_atomically(directory / method / "policy.keras", policy.policy.save)
            tuned = config.tune_step_size and method in ("pretrained", "random")
            step_sizes = config.step_sizes(tune_step_size(method, config, policy) if tuned else None)
            logging.info("%s: evaluating on %d test tasks, step sizes %s", method, config.test_tasks, step_sizes)
            evaluation = evaluate(method, config, policy, step_sizes)
            rows = [
                Row.of(method, config.evaluation_rollouts, summary, step_sizes=list(step_sizes))
                for summary in evaluation.summaries()
            ]
            seconds = recorded_seconds(directory / method)
            measured.add(method, rows, training_seconds=seconds, weights_sha256=file_digest(path))
            policies[method] = (policy, step_sizes)
        write_figures(config, measured.rows, policies, directory)
        if videos != "none":
            for method, (policy, step_sizes) in policies.items():
                write_videos(method, config, policy, step_sizes, directory / "videos", videos)
        return measured.rows
