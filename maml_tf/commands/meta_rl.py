"""Trains and evaluates MAML with TRPO and its baselines in any registered environment.

--register=FILE.py imports a file that registers an environment or a method of your own; see
docs/guides/your_environment.md. Prints the returns after each number of gradient steps on the test tasks, and writes
results.json, the figures, videos, the policies and TensorBoard's events.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from maml_tf.commands import command
from maml_tf.configuration import define_flags, settings
from maml_tf.experiments.meta_rl.binary import configuration, define_meta_rl_flags, run
from maml_tf.experiments.meta_rl.config import MetaRLConfig
from maml_tf.rl.environments import environments


def define(flags: Any, arguments: Sequence[str] = ()) -> command.Experiment:
    """Defines the command's flags."""
    define_flags(flags, [settings(MetaRLConfig)["environment"]])
    return define_in(lambda values: values["environment"] or MetaRLConfig.environment, environments.names(), flags)


def define_in(
    environment: Callable[[Mapping[str, Any]], str], known: Collection[str], flags: Any, videos: str = "gif"
) -> command.Experiment:
    """Defines the flags of the command of some environments.

    Args:
        environment: A function from the flags' values to the environment's name.
        known: The names that it returns.
        flags: The module `absl.flags`, or what else has its functions.
        videos: Default of the flag `videos`.
    """
    chosen = define_meta_rl_flags(flags, known, videos)
    return command.Experiment(
        chosen,
        lambda values: configuration(values, environment(values), chosen),
        lambda values: run(values, environment(values), chosen),
        {name: environments[name].preset for name in known},
    )


def main() -> None:
    """Runs the command."""
    command.run_experiment(__doc__, define)
