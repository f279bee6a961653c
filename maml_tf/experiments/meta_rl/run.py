"""Meta-reinforcement learning: Section 5.3, Figures 4 and 5, Tables 4 and 5. Training, evaluation, figures."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from absl import logging

from maml_tf.experiments.common.logdir import open_logdir
from maml_tf.experiments.meta_rl.config import MetaRLConfig
from maml_tf.experiments.meta_rl.evaluate import TrainedPolicy, evaluate, tune_step_size
from maml_tf.experiments.meta_rl.figures import write_figures
from maml_tf.experiments.meta_rl.methods import settled
from maml_tf.experiments.meta_rl.train import train
from maml_tf.experiments.meta_rl.videos import write_videos
from maml_tf.methods import names
from maml_tf.results import POLICY, RESULTS, MethodResults, Row, file_digest
from maml_tf.rl.methods import composition
from maml_tf.rl.policy import PurePolicy
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
        methods: Of `maml_tf.methods.names("meta_rl")`, or "all" for all of them.
        logdir: Directory for all that is written, created if need be.
        resume: Whether to go on from the checkpoints in it.
        videos: Format of videos of two tasks before and after a step, or none.

    Returns:
        The rows of results.json: metric "return" after 0 to `evaluation_steps` steps. Those of other methods that
        earlier runs left in it are among them.

    Raises:
        FileNotFoundError: If there is no file of initial weights.
        ValueError: If a method is unknown, random weights are to be initial weights or these do not fit a policy,
            the directory cannot be written, or it holds checkpoints or results of another configuration, or
            checkpoints of any without `resume`.
    """
    known = names("meta_rl")
    if not methods or not {*methods} <= {*known, "all"}:
        raise ValueError(f"Expected methods of {known}, or all. Received: {tuple(methods)}")
    configs = {method: settled(method, config) for method in (known if "all" in methods else methods)}
    if config.initial_weights:
        random = [method for method, its_config in configs.items() if not composition(method, its_config).trained]
        if random:
            raise ValueError(
                f"Expected no initial_weights with the method {random[0]}. "
                f"Received: initial_weights={config.initial_weights!r}, methods {tuple(configs)}"
            )
        if not resume:
            # Now, not when the turn of a method comes whose policy they do not fit.
            for method, its_config in configs.items():
                TrainedPolicy(method, its_config, pathlib.Path(config.initial_weights)).load()
    with open_logdir(logdir, [f"{method}/checkpoints" for method in configs], resume) as directory:
        measured = MethodResults(directory / RESULTS, config.environment, config, tuple(configs), resume)
        policies = {}
        for method, its_config in configs.items():
            logging.info("%s: training", method)
            policy = train(method, its_config, writable_directory(directory / method), resume)
            path = save_atomically(directory / method / POLICY, policy.policy.save)
            seconds = recorded_seconds(directory / method)
            step_sizes = _measure(TrainedPolicy(method, its_config, path), policy, measured, training_seconds=seconds)
            policies[method] = (policy, step_sizes)
        _draw(config, measured.rows, policies, directory, videos)
        return measured.rows


def evaluate_again(
    trained: TrainedPolicy, output: str | os.PathLike[str], videos: Literal["gif", "mp4", "none"] = "none"
) -> list[Row]:
    """Measures a trained policy on the test tasks as `run` does; writes results.json, figures and videos.

    Args:
        trained: The policy. With another configuration than its training's in what an evaluation may change,
            it is measured otherwise.
        output: Directory for all that is written, created if need be; not that of a training.
        videos: Format of videos of two tasks before and after a step, or none.

    Returns:
        The rows of results.json: metric "return" after 0 to `evaluation_steps` steps. Those of other methods that
        evaluations with the same configuration left in it are among them.

    Raises:
        FileNotFoundError: If there is no file of the policy's weights.
        ValueError: If they are not those of its policy, or the directory cannot be written, is a training's, or holds
            results of other methods with another configuration.
    """
    policy = PurePolicy(trained.load())
    directory = writable_directory(output)
    if any(directory.glob(f"*/{POLICY}")):
        raise ValueError(f"Expected an output directory that is not a training's. Received: {str(output)!r}")
    config = trained.config
    measured = MethodResults(directory / RESULTS, config.environment, config, [trained.method], resume=True)
    step_sizes = _measure(trained, policy, measured)
    _draw(config, measured.rows, {trained.method: (policy, step_sizes)}, directory, videos)
    return measured.rows


def _measure(trained: TrainedPolicy, policy: PurePolicy, measured: MethodResults, **values: Any) -> tuple[float, float]:
    """Adds a policy's returns on the test tasks to the results, and returns the step sizes that it took."""
    method, config = trained.method, settled(trained.method, trained.config)
    tuned = config.tune_step_size and composition(method, config).tunes_step_size
    step_sizes = config.step_sizes(tune_step_size(method, config, policy) if tuned else None)
    logging.info("%s: evaluating on %d test tasks, step sizes %s", method, config.test_tasks, step_sizes)
    rows = [
        Row.of(method, config.evaluation_rollouts, summary, step_sizes=list(step_sizes))
        for summary in evaluate(method, config, policy, step_sizes).summaries()
    ]
    measured.add(method, rows, weights_sha256=file_digest(trained.weights), **values)
    return step_sizes


def _draw(
    config: MetaRLConfig,
    rows: Sequence[Row],
    policies: Mapping[str, tuple[PurePolicy, Sequence[float]]],
    directory: pathlib.Path,
    videos: Literal["gif", "mp4", "none"],
) -> None:
    write_figures(config, rows, policies, directory)
    if videos != "none":
        for method, (policy, step_sizes) in policies.items():
            write_videos(method, config, policy, step_sizes, directory / "videos", videos)
