"""Trains and evaluates MAML with TRPO, or another method, on Meta-World's ML1 and ML10, which do not tell their goals.

`python3 bin/bootstrap.py meta_world` runs it in an environment of its own, because Meta-World needs MuJoCo 3.3.0.
Prints returns and success rates after each number of gradient steps on test goals that no training has seen, and
writes results.json, the figures, videos, the policies and TensorBoard's events.
"""

from __future__ import annotations

from absl import flags

from maml_tf.commands.meta_rl import run_in
from maml_tf.rl.environments.meta_world import NAMES


def main() -> None:
    """Runs the command."""
    flags.DEFINE_enum("benchmark", NAMES[0], NAMES, "ML1 with one kind of task, or ML10 with ten.")
    run_in(lambda values: values["benchmark"], NAMES, __doc__)
