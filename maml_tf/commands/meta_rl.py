"""Trains and evaluates MAML with TRPO and its baselines in any registered environment.

--register=FILE.py imports a file that registers an environment or a method of your own; see
docs/guides/your_environment.md. Prints the returns after each number of gradient steps on the test tasks, and writes
results.json, the figures, videos, the policies and TensorBoard's events.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from absl import flags

from maml_tf.commands import command
from maml_tf.configuration import define_flags, settings
from maml_tf.experiments.meta_rl.binary import define_meta_rl_flags, run
from maml_tf.experiments.meta_rl.config import MetaRLConfig
from maml_tf.rl.environments import environments


def main() -> None:
    """Runs the command."""
    define_flags(flags, [settings(MetaRLConfig)["environment"]])
    run_in(lambda values: values["environment"] or MetaRLConfig.environment, environments.names(), __doc__)


def run_in(
    environment: Callable[[Mapping[str, Any]], str], known: Collection[str], about: str, videos: str = "gif"
) -> None:
    """Runs the command of some environments.

    Args:
        environment: A function from the flags' values to the environment's name.
        known: The names that it returns.
        about: What the command does, for --help.
        videos: Default of the flag `videos`.
    """
    chosen = define_meta_rl_flags(flags, known, videos)
    command.run(
        about,
        lambda values: run(values, environment(values), chosen),
        chosen=chosen,
        presets={name: environments[name].preset for name in known},
    )
