"""How a command runs: absl's flags, with a --help of its own; and what the commands of experiments have in common."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import app, flags

from maml_tf.configuration import Configuration, Setting
from maml_tf.experiments.common import binary
from maml_tf.experiments.common.help_text import help_text


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What a command does that trains, once its flags are defined.

    Attributes:
        chosen: The settings among the flags.
        configure: A function from the flags' values to the configuration; it needs no TensorFlow.
        run: A function from the flags' values to the text for stdout.
        presets: From the name of a preset to the fields that it sets.
        environment: A function from the flags' values to environment variables that TensorFlow reads at its import.
        workers: Whether several processes may run it together.
        test_apart: Whether the test is a run of its own, with --mode=evaluate.
    """

    chosen: Sequence[Setting]
    configure: Callable[[Mapping[str, Any]], Configuration]
    run: Callable[[Mapping[str, Any]], str]
    presets: Mapping[str, Mapping[str, Any]] | None = None
    environment: Callable[[Mapping[str, Any]], Mapping[str, str]] = lambda values: {}
    workers: bool = False
    test_apart: bool = False


def seeds(values: Mapping[str, Any]) -> tuple[int, ...]:
    """Reads --seeds, each once.

    Raises:
        ValueError: If one is no whole number.
    """
    if wrong := [seed for seed in values["seeds"] if not seed.strip().isdecimal()]:
        raise ValueError(f"Expected whole numbers by commas. Received: --seeds={wrong[0]}")
    return tuple(dict.fromkeys(map(int, values["seeds"])))


def run_experiment(about: str, define: Callable[[Any, Sequence[str]], Experiment]) -> None:
    """Runs the command of an experiment.

    Args:
        about: What the command does, for --help: the docstring of its module.
        define: Defines the flags, with the functions of `absl.flags`, for the command's arguments.
    """
    experiment = define(flags, sys.argv[1:])
    run(
        about,
        experiment.run,
        experiment.environment,
        chosen=experiment.chosen,
        presets=experiment.presets,
        workers=experiment.workers,
    )


def run(
    about: str,
    experiment: Callable[[Mapping[str, Any]], str],
    environment: Callable[[Mapping[str, Any]], Mapping[str, str]] = lambda values: {},
    *,
    chosen: Sequence[Setting] = (),
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    workers: bool = False,
    tensorflow: bool = True,
) -> None:
    """Runs a command whose flags are defined; see `maml_tf.experiments.common.binary.run`.

    Args:
        about: What the command does, for --help: the docstring of its module.
        experiment: A function from the flags' values to the text for stdout.
        environment: A function from the flags' values to environment variables that TensorFlow reads at its import.
        chosen: The settings among the flags, which --help groups by their roles.
        presets: From the name of a preset to the fields that it sets, for --help.
        workers: Whether several processes may run it together.
        tensorflow: Whether to start TensorFlow.
    """

    def text() -> str:
        return help_text(flags, sys.argv[0], about, chosen, presets)

    binary.run(app, flags, experiment, environment, workers=workers, tensorflow=tensorflow, help_text=text)
