"""How a command runs: absl's flags, with a --help of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import app, flags

from maml_tf.configuration import Setting
from maml_tf.experiments.common import binary
from maml_tf.experiments.common.help_text import help_text


def run(
    about: str,
    experiment: Callable[[Mapping[str, Any]], str],
    environment: Callable[[Mapping[str, Any]], Mapping[str, str]] = lambda values: {},
    *,
    chosen: Sequence[Setting] = (),
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    workers: bool = False,
) -> None:
    """Runs a command whose flags are defined; see `maml_tf.experiments.common.binary.run`.

    Args:
        about: What the command does, for --help: the docstring of its module.
        experiment: A function from the flags' values to the text for stdout.
        environment: A function from the flags' values to environment variables that TensorFlow reads at its import.
        chosen: The settings among the flags, which --help groups by their roles.
        presets: From the name of a preset to the fields that it sets, for --help.
        workers: Whether several processes may run it together.
    """

    def text() -> str:
        return help_text(flags, sys.argv[0], about, chosen, presets)

    binary.run(app, flags, experiment, environment, workers=workers, help_text=text)
