"""The run of meta-reinforcement learning: trains policies and tests them (Section 5.3, Figures 4 and 5)."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from absl import logging

from maml_tf import pretrained
from maml_tf.configuration import from_dict
from maml_tf.core.task_values import Evaluation
from maml_tf.experiments.meta_rl import config as streams
from maml_tf.experiments.meta_rl.config import MetaRLConfig
from maml_tf.experiments.meta_rl.figures import write_figures, write_videos
from maml_tf.experiments.meta_rl.methods import adapted, evaluation_sampler, mean_return, settled, test_tasks
from maml_tf.experiments.meta_rl.train import train
from maml_tf.files import open_logdir
from maml_tf.methods import names
from maml_tf.results import POLICY, RESULTS, MethodResults, Row, file_digest
from maml_tf.rl.environments import environments
from maml_tf.rl.methods import composition, load_policy
from maml_tf.rl.policy import GaussianPolicy, PurePolicy
from maml_tf.rl.rollouts import mean_returns, success_rates
from maml_tf.training import read_json, recorded_seconds, save_atomically, writable_directory, write_rows

# First step sizes that the baselines choose from.
CANDIDATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


@dataclasses.dataclass(frozen=True)
class TrainedPolicy:
    """A policy that was trained: its method, its configuration and its weights.

    Attributes:
        method: A name of `maml_tf.methods`.
        config: The training's configuration.
        weights: File of its weights before adaptation: what `save` or `save_weights` wrote.

    Example:
    >>> from maml_tf.experiments.meta_rl.evaluate import TrainedPolicy
    >>> trained = TrainedPolicy.of_entry("point_navigation")
    >>> trained.method, trained.config.environment, trained.load().count_params()
    ('maml', 'point_navigation', 10604)
    """

    method: str
    config: MetaRLConfig
    weights: pathlib.Path

    @classmethod
    def of_training(cls, logdir: str | os.PathLike[str], method: str) -> TrainedPolicy:
        """Finds the policy that a training kept; `load` finds out whether its file is there.

        Args:
            logdir: Directory of a training that was evaluated, with results.json.
            method: Method whose policy is meant.

        Raises:
            FileNotFoundError: If there is no evaluated training.
            ValueError: If its results are not those of meta-reinforcement learning.
        """
        logdir = pathlib.Path(logdir).expanduser()
        results = logdir / RESULTS
        if not results.is_file():
            raise FileNotFoundError(f"Expected a training that was evaluated. Received: no {str(results)!r}")
        content = read_json(results)
        if "environment" not in content.get("config", {}):
            raise ValueError(f"Expected results of meta-reinforcement learning. Received: others in {str(results)!r}")
        return cls(method, from_dict(MetaRLConfig, content["config"]).in_this_process(), logdir / method / POLICY)

    @classmethod
    def of_entry(cls, name: str, folder: str | os.PathLike[str] | None = None) -> TrainedPolicy:
        """Finds a policy of `maml_tf.pretrained`.

        Args:
            name: One of `pretrained.available()`.
            folder: Folder of the entries, by default the package's.

        Raises:
            ValueError: If there is no such entry, or it learned from images.
        """
        content = pretrained.card(name, folder)
        if (domain := pretrained.domain_of(content["config"])) != "meta_rl":
            what = "of images: maml-tf evaluate" if domain == "classification" else "of sinusoids"
            raise ValueError(f"Expected an entry of reinforcement learning. Received: {name!r}, {what}")
        config = from_dict(MetaRLConfig, content["config"])
        return cls(content["training"]["method"], config, pretrained.weights_path(name, folder))

    def load(self) -> GaussianPolicy:
        """Builds the policy and reads its weights before adaptation; see `load_policy`."""
        return load_policy(self.method, self.config, self.weights)


def evaluate(method: str, config: MetaRLConfig, policy: PurePolicy, step_sizes: Sequence[float]) -> Evaluation:
    """Measures a policy on the test tasks, those that the paper's authors used.

    Args:
        method: A name of `maml_tf.methods`; an oracle, which is told the task, takes no step.
        config: The experiment's configuration.
        policy: The initial policy.
        step_sizes: Size of each gradient step; the last one serves all later steps.

    Returns:
        Metric "return", the mean over a task's rollouts, and "success_rate" where the environment says what succeeds.
    """
    tasks = test_tasks(config)
    steps = config.evaluation_steps if composition(method, config).adapts else 0
    phases, _ = adapted(method, config, policy, tasks, step_sizes, steps, config.stream(streams.TEST))
    values = {"return": np.stack([mean_returns(phase.rollouts) for phase in phases])}
    if phases[0].rollouts.success is not None:
        values["success_rate"] = np.stack([success_rates(phase.rollouts) for phase in phases])
    return Evaluation(values)


def gain(evaluation: Evaluation, metric: str, step: int) -> dict[str, float]:
    """Compares a metric of each task after some steps with that of the same task before any: extra values of a row.

    Args:
        evaluation: The tasks' values.
        metric: Name of the metric.
        step: Number of gradient steps.

    Returns:
        "gain", the mean difference over the tasks, and "gain_ci95", half of its 95 % interval. Nothing before any step.

    Example:
    >>> import numpy as np
    >>> from maml_tf.core.task_values import Evaluation
    >>> from maml_tf.experiments.meta_rl.evaluate import gain
    >>> gain(Evaluation({"return": np.array([[1.0, 20.0], [3.0, 22.0]])}), "return", 1)
    {'gain': 2.0, 'gain_ci95': 0.0}
    """
    if not step:
        return {}
    values = evaluation.values[metric]
    difference = Evaluation({metric: (values[step] - values[0])[np.newaxis]}).summary(metric, 0)
    return {"gain": difference.mean, "gain_ci95": difference.ci95}


def tune_step_size(method: str, config: MetaRLConfig, policy: PurePolicy) -> float:
    """Chooses a policy's first step size: that with the best mean return over the gradient steps on tuning tasks.

    The best after the last step alone may come there by way of very bad policies. A step size with which the policy
    diverges is not chosen. One that the configuration gives is not tuned.

    Args:
        method: A name of `maml_tf.methods`.
        config: The experiment's configuration.
        policy: The initial policy.

    Returns:
        The configuration's `evaluation_learning_rate`, or where it has none one of `CANDIDATES`.

    Raises:
        ValueError: If the policy diverges with all of them.
    """
    if config.evaluation_learning_rate is not None:
        return config.evaluation_learning_rate
    seed, steps = config.stream(streams.TUNING), config.evaluation_steps
    # One schedule of all candidates', so that one compiled step serves them.
    schedule = [config.step_sizes(candidate)[min(step, 1)] for candidate in CANDIDATES for step in range(steps)]
    sampler = evaluation_sampler(method, config, policy, config.tuning_tasks, schedule)
    tasks = sampler.environment.sample_tasks(config.tuning_tasks, (seed, config.tuning_tasks))
    params = policy.parameters()
    returns = [mean_return(sampler, params, tasks, steps, seed, number * steps) for number in range(len(CANDIDATES))]
    logging.info(
        "%s: mean returns with the step sizes %s: %s", method, CANDIDATES, [round(value, 2) for value in returns]
    )
    if not np.any(np.isfinite(returns)):
        raise ValueError(
            f"Expected a step size of {CANDIDATES} with which the {method} policy does not diverge. Received: none"
        )
    return CANDIDATES[int(np.nanargmax(returns))]


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
        The rows of results.json: the metrics of `evaluate` after 0 to `evaluation_steps` steps. Those of other methods
        that earlier runs left in it are among them.

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
            step_sizes = _measure(
                TrainedPolicy(method, its_config, path), policy, measured, directory / method, training_seconds=seconds
            )
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
        The rows of results.json: the metrics of `evaluate` after 0 to `evaluation_steps` steps. Those of other methods
        that evaluations with the same configuration left in it are among them.

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
    step_sizes = _measure(trained, policy, measured, directory)
    _draw(config, measured.rows, {trained.method: (policy, step_sizes)}, directory, videos)
    return measured.rows


def _measure(
    trained: TrainedPolicy, policy: PurePolicy, measured: MethodResults, run: pathlib.Path, **values: Any
) -> tuple[float, float]:
    """Adds a policy's returns on the test tasks to the results and to a run of TensorBoard's.

    Returns:
        The step sizes that the policy took.
    """
    method, config = trained.method, settled(trained.method, trained.config)
    tuned = config.tune_step_size and composition(method, config).tunes_step_size
    step_sizes = config.step_sizes(tune_step_size(method, config, policy) if tuned else None)
    logging.info("%s: evaluating on %d test tasks, step sizes %s", method, config.test_tasks, step_sizes)
    evaluation = evaluate(method, config, policy, step_sizes)
    rows = [
        Row.of(
            method, config.evaluation_rollouts, summary, step_sizes=list(step_sizes),
            **gain(evaluation, summary.metric, summary.step),
        )
        for summary in evaluation.summaries()
    ]  # fmt: skip
    if details := environments[config.environment].details:
        values["environment"] = dict(details)
    measured.add(method, rows, weights_sha256=file_digest(trained.weights), **values)
    write_rows(run, rows, config.iterations)
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
