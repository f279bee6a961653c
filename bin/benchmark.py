"""Times meta-iterations of supervised and of reinforcement learning, and the sampling of rollouts: one JSON line each.

Each workload runs in a process of its own, so that its peak memory is its own. Run it on an idle machine.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

# TensorFlow reads it when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf
from absl import app, flags

import maml_tf
from maml_tf.core.over_tasks import TASK_MAPS
from maml_tf.experiments.common import binary
from maml_tf.models import mini_imagenet_conv, mlp, omniglot_conv
from maml_tf.tasks import Sinusoids
from maml_tf.training import InGraphTraining

WORKLOADS = ("sinusoid", "omniglot", "mini_imagenet")
# They need the extra rl.
SAMPLING_WORKLOADS = ("half_cheetah_sampling", "ant_sampling")
# Whole meta-iterations, and the environment of each.
ITERATION_WORKLOADS = {
    "point_navigation_iteration": "point_navigation",
    "half_cheetah_iteration": "half_cheetah_direction",
    "ant_iteration": "ant_direction",
}
_SINUSOID_ITERATIONS_PER_CALL = 100
# TensorFlow turns oneDNN on by itself only on processors with AVX-512. Its convolutions win on large maps everywhere.
_ENVIRONMENT = {"mini_imagenet": {"TF_ENABLE_ONEDNN_OPTS": "1"}}

flags.DEFINE_multi_enum(
    "workload", list(WORKLOADS), [*WORKLOADS, *SAMPLING_WORKLOADS, *ITERATION_WORKLOADS], "Workloads to time."
)
flags.DEFINE_multi_enum("order", ["exact", "first"], ["exact", "first"], "Exact meta-gradients, first-order ones.")
flags.DEFINE_float("seconds", 8.0, "Least time to measure each.")
flags.DEFINE_integer("calls", 200, "Most calls to measure.", lower_bound=5)
flags.DEFINE_integer("rollouts", 800, "Rollouts at once of the sampling workloads.", lower_bound=1)
flags.DEFINE_integer(
    "task_rollouts", None, "Rollouts of a task in an iteration; by default the paper's.", lower_bound=1
)
flags.DEFINE_integer(
    "curvature_stride", 1, "Every how manyth time step counts in an iteration's curvature.", lower_bound=1
)
flags.DEFINE_integer("intra_op", 1, "TensorFlow's threads within an operation; 0 for its default.")
flags.DEFINE_integer("inter_op", 2, "TensorFlow's threads between operations; 0 for its default.")
flags.DEFINE_enum("task_map", "auto", ["auto", *TASK_MAPS], "The way over tasks.")
flags.DEFINE_integer(
    "parallel_tasks", None, "Tasks in memory at once; by default as many as the way likes.", lower_bound=1
)
flags.DEFINE_bool("in_this_process", False, "Whether to measure here instead of in a process for each.")


def sinusoid_step(first_order: bool, **options) -> tuple[Callable[[], object], int]:
    """25 tasks of 10 support and 10 query points drawn inside, 1 inner step, Adam; 100 iterations a call."""
    learner = maml_tf.MAML(mlp((1,)), "mse", 0.01, first_order=first_order, **options)
    learner.compile(keras.optimizers.Adam(1e-3))
    training = InGraphTraining(
        learner,
        lambda index: Sinusoids().draw(0, index, tasks=25, shots=10, queries=10).episode.keras_data(),
        _SINUSOID_ITERATIONS_PER_CALL,
    )
    compiled = tf.function(training.train_step, jit_compile=True, autograph=False)
    first = tf.constant(0, tf.int64)
    return lambda: float(compiled(first)["loss"]), _SINUSOID_ITERATIONS_PER_CALL


def image_step(
    network: keras.Model,
    image_shape: tuple[int, ...],
    tasks: int,
    queries: int,
    inner_steps: int,
    inner_learning_rate: float,
    first_order: bool,
    **options,
) -> tuple[Callable[[], object], int]:
    """5-way 1-shot tasks of random images, Adam; an iteration a call."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    learner = maml_tf.MAML(network, loss, inner_learning_rate, inner_steps, first_order, **options)
    learner.compile(keras.optimizers.Adam(1e-3))
    learner.optimizer.build(learner.trainable_variables)

    def labelled(per_class):
        images = tf.random.uniform([tasks, 5 * per_class, *image_shape])
        return images, tf.tile(tf.repeat(tf.range(5), per_class)[tf.newaxis], [tasks, 1])

    (support_x, support_y), (query_x, query_y) = labelled(1), labelled(queries)
    compiled = tf.function(lambda data: learner.train_step(data), autograph=False)
    return lambda: float(compiled(((support_x, support_y, query_x), query_y))["loss"]), 1


def build(workload: str, first_order: bool, **options) -> tuple[Callable[[], object], int]:
    """Returns a function that runs a call, and the number of meta-iterations of a call."""
    if workload == "sinusoid":
        return sinusoid_step(first_order, **options)
    if workload == "omniglot":
        return image_step(omniglot_conv(5), (28, 28, 1), 32, 1, 1, 0.4, first_order, **options)
    return image_step(mini_imagenet_conv(5), (84, 84, 3), 4, 15, 5, 0.05, first_order, **options)


def measure(workload: str, first_order: bool) -> dict[str, object]:
    """Times calls after two warm-up ones; milliseconds a meta-iteration, mebibytes at the peak."""
    options = {"task_map": flags.FLAGS.task_map, "parallel_tasks": flags.FLAGS.parallel_tasks}
    step, iterations = build(workload, first_order, **options)
    step()
    step()
    times, start = [], time.perf_counter()
    while len(times) < 5 or (time.perf_counter() - start < flags.FLAGS.seconds and len(times) < flags.FLAGS.calls):
        begin = time.perf_counter()
        step()
        times.append((time.perf_counter() - begin) * 1e3 / iterations)
    return {
        "peer": "maml_tf",
        "workload": workload,
        "first_order": first_order,
        "median_ms": round(statistics.median(times), 4),
        "min_ms": round(min(times), 4),
        "calls": len(times),
        "peak_mib": peak_mib(),
    }


def measure_sampling(workload: str) -> dict[str, object]:
    """Times rollouts with the policy in the loop, and the physics engine alone."""
    from maml_tf.experiments.meta_rl.speed import sampling_speed

    values = flags.FLAGS
    # How long ants stand depends on the policy.
    keras.utils.set_random_seed(0)
    speeds = sampling_speed(workload.removesuffix("_sampling"), rollouts=values.rollouts, seconds=values.seconds)
    return {"peer": "maml_tf", "workload": workload, **speeds, "peak_mib": peak_mib()}


def measure_iteration(workload: str) -> dict[str, object]:
    """Times whole meta-iterations of MAML with TRPO, and their parts."""
    from maml_tf.experiments.meta_rl.speed import iteration_speed

    values = flags.FLAGS
    speeds = iteration_speed(
        ITERATION_WORKLOADS[workload],
        rollouts=values.task_rollouts,
        curvature_stride=values.curvature_stride,
        seconds=values.seconds,
        most=values.calls,
    )
    stride = {"curvature_stride": values.curvature_stride}
    return {"peer": "maml_tf", "workload": workload, "first_order": False, **stride, **speeds, "peak_mib": peak_mib()}


def peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main(argv: list[str]) -> None:
    """Prints a line for each workload and order."""
    values = flags.FLAGS
    if len(argv) > 1:
        raise app.UsageError(f"Expected flags alone. Received: {argv[1:]}")
    if values.in_this_process and len(values.workload) > 1:
        raise app.UsageError(f"Expected one --workload in this process. Received: {values.workload}")
    if values.in_this_process and values.workload[0] in SAMPLING_WORKLOADS:
        # TensorFlow's own choice of threads: the policy's turn and the engine's alternate.
        sys.stdout.write(json.dumps(measure_sampling(values.workload[0])) + "\n")
        return
    if values.in_this_process:
        tf.config.threading.set_intra_op_parallelism_threads(values.intra_op)
        tf.config.threading.set_inter_op_parallelism_threads(values.inter_op)
        if values.workload[0] in ITERATION_WORKLOADS:
            measured = measure_iteration(values.workload[0])
        else:
            measured = measure(values.workload[0], values.order[0] == "first")
        sys.stdout.write(json.dumps(measured) + "\n")
        return
    shared = [
        f"--{name}={getattr(values, name)}"
        for name in (
            "seconds",
            "calls",
            "rollouts",
            "task_rollouts",
            "curvature_stride",
            "intra_op",
            "inter_op",
            "task_map",
            "parallel_tasks",
        )
        if getattr(values, name) is not None
    ]
    for workload in values.workload:
        for order in values.order if workload in WORKLOADS else values.order[:1]:
            command = [
                sys.executable,
                argv[0],
                "--in_this_process",
                f"--workload={workload}",
                f"--order={order}",
            ]
            environment = {**_ENVIRONMENT.get(workload, {}), **os.environ}
            subprocess.run([*command, *shared], check=True, env=environment)


if __name__ == "__main__":
    app.run(main, flags_parser=binary.flags_parser(app, flags))
