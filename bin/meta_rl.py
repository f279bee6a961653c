"""Trains and evaluates MAML with TRPO and its baselines in any registered environment.

--register=FILE.py imports a file that registers an environment or a method of your own; see
docs/reinforcement_learning.md. Prints the returns after each number of gradient steps on the test tasks, and writes
results.json, the figures, videos, the policies and TensorBoard's events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from absl import app, flags

from maml_tf.configuration import define_flags, settings
from maml_tf.experiments.common import binary
from maml_tf.experiments.meta_rl.binary import define_meta_rl_flags, run
from maml_tf.experiments.meta_rl.config import MetaRLConfig
from maml_tf.rl.environments import environments

_SETTINGS = define_meta_rl_flags(flags, environments.names())
define_flags(flags, [settings(MetaRLConfig)["environment"]])


def experiment(values: Mapping[str, Any]) -> str:
    """Trains and evaluates."""
    return run(values, values["environment"] or MetaRLConfig.environment, _SETTINGS)


if __name__ == "__main__":
    binary.run(app, flags, experiment)
