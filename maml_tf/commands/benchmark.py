"""Times meta-iterations and the sampling of rollouts: one JSON line each.

    maml-tf benchmark --workload=sinusoid --order=exact

Each workload runs in a process of its own, so that its peak memory is its own. Run it on an idle machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from absl import flags

from maml_tf.commands import command

WORKLOADS = ("sinusoid", "omniglot", "mini_imagenet")
# They need the extra rl.
OTHERS = (
    "half_cheetah_sampling", "ant_sampling", "point_navigation_iteration", "half_cheetah_iteration", "ant_iteration",
)  # fmt: skip
_TASK_MAPS = ("auto", "mapped", "vectorized", "unrolled")


def experiment(values: Mapping[str, Any]) -> str:
    """Measures."""
    from maml_tf.experiments import benchmark

    return benchmark.run(values)


def main() -> None:
    """Runs the command."""
    flags.DEFINE_multi_enum("workload", list(WORKLOADS), [*WORKLOADS, *OTHERS], "Workloads to time.")
    flags.DEFINE_multi_enum("order", ["exact", "first"], ["exact", "first"], "Exact meta-gradients, first-order ones.")
    flags.DEFINE_float("seconds", 8.0, "Least time to measure each.")
    flags.DEFINE_integer("calls", 200, "Most calls to measure.", lower_bound=5)
    flags.DEFINE_integer("rollouts", 800, "Rollouts at once of the sampling workloads.", lower_bound=1)
    flags.DEFINE_integer(
        "task_rollouts", None, "Rollouts of a task in an iteration; by default the paper's.", lower_bound=1
    )
    flags.DEFINE_integer("curvature_stride", 1, "Use every n-th time step in an iteration's curvature.", lower_bound=1)
    flags.DEFINE_integer("intra_op", 1, "TensorFlow's threads within an operation; 0 for its default.")
    flags.DEFINE_integer("inter_op", 2, "TensorFlow's threads between operations; 0 for its default.")
    flags.DEFINE_enum("task_map", "auto", _TASK_MAPS, "The way over tasks.")
    flags.DEFINE_integer(
        "parallel_tasks", None, "Tasks in memory at once; by default as many as the way likes.", lower_bound=1
    )
    flags.DEFINE_integer("tasks", None, "Tasks of a meta-batch; by default as in docs/speed.md.", lower_bound=1)
    flags.DEFINE_integer("inner_steps", None, "Inner steps; by default as in docs/speed.md.", lower_bound=1)
    flags.DEFINE_enum(
        "device", "auto", ["auto", "cpu", "gpu"], "Where to run; auto is a GPU where TensorFlow sees one."
    )
    flags.DEFINE_string(
        "curves", None, "Folder of curves.json and curves.png: time and memory over --curve_tasks and --curve_steps."
    )
    flags.DEFINE_multi_integer("curve_tasks", [1, 4, 16, 64], "Numbers of tasks of --curves.", lower_bound=1)
    flags.DEFINE_multi_integer("curve_steps", [1, 10, 100], "Numbers of inner steps of --curves.", lower_bound=1)
    flags.DEFINE_string(
        "beside", None, "File of JSON lines as --curves prints them, of another program, to draw in the same figure."
    )
    flags.DEFINE_bool("in_this_process", False, "Whether to measure here instead of in a process for each.")
    command.run(__doc__, experiment)
