"""Times meta-iterations of supervised and of reinforcement learning, and the sampling of rollouts."""

from __future__ import annotations

import json
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf

import maml_tf
from maml_tf.files import write_atomically
from maml_tf.models import mini_imagenet_conv, mlp, omniglot_conv
from maml_tf.plotting import cost_curves, save
from maml_tf.tasks import Sinusoids
from maml_tf.training import InGraphTraining

# What the flags of the command say.
Values = Mapping[str, Any]
Result = TypeVar("Result")
# Workloads of whole meta-iterations, and the environment of each.
ENVIRONMENTS = {
    "point_navigation_iteration": "point_navigation",
    "half_cheetah_iteration": "half_cheetah_direction",
    "ant_iteration": "ant_direction",
}
_SINUSOID_ITERATIONS_PER_CALL = 100
# Tasks and inner steps of a meta-iteration.
_SIZES = {"sinusoid": (25, 1), "omniglot": (32, 1), "mini_imagenet": (4, 5)}
# TensorFlow turns oneDNN on by itself only on processors with AVX-512. Its convolutions win on large maps everywhere.
_ENVIRONMENT = {"mini_imagenet": {"TF_ENABLE_ONEDNN_OPTS": "1"}}


def run(values: Values) -> str:
    """Measures what the flags say, here or in a process for each workload and order.

    Args:
        values: The flags' values.

    Returns:
        The line of what was measured here; lines of other processes are written as they come.

    Raises:
        ValueError: If the flags contradict each other, or there is no GPU.
    """
    workloads = values["workload"]
    if values["in_this_process"]:
        if len(workloads) > 1:
            raise ValueError(f"Expected one --workload in this process. Received: {workloads}")
        return json.dumps(_measure_here(values, workloads[0]))
    if values["curves"] is not None:
        if not {*workloads} <= {*_SIZES}:
            raise ValueError(f"Expected --workload of {list(_SIZES)} with --curves. Received: {workloads}")
        draw_curves(values, pathlib.Path(values["curves"]))
        return ""
    if values["beside"] is not None:
        raise ValueError(f"Expected --curves with --beside. Received: --beside={values['beside']}")
    for workload in workloads:
        for order in values["order"] if workload in _SIZES else values["order"][:1]:
            sys.stdout.write(in_own_process(values, workload, order))
            sys.stdout.flush()
    return ""


def _measure_here(values: Values, workload: str) -> dict[str, object]:
    if workload.endswith("_sampling"):
        # TensorFlow's own choice of threads: the policy's turn and the engine's alternate.
        return measure_sampling(values, workload)
    tf.config.threading.set_intra_op_parallelism_threads(values["intra_op"])
    tf.config.threading.set_inter_op_parallelism_threads(values["inter_op"])
    if workload in _SIZES:
        return measure(values, workload, values["order"][0] == "first")
    return measure_iteration(values, workload)


def sinusoid_step(tasks: int, inner_steps: int, first_order: bool, **options) -> tuple[Callable[[], object], int]:
    """Tasks of 10 support and 10 query points drawn inside, Adam; 100 iterations a call."""
    learner = maml_tf.MAML(mlp((1,)), "mse", 0.01, inner_steps, first_order, **options)
    learner.compile(keras.optimizers.Adam(1e-3))
    training = InGraphTraining(
        learner,
        lambda index: Sinusoids().draw(0, index, tasks=tasks, shots=10, queries=10).episode.keras_data(),
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


def build(values: Values, workload: str, first_order: bool, **options) -> tuple[Callable[[], object], int]:
    """Returns a function that runs a call, and the number of meta-iterations of a call."""
    tasks, inner_steps = sizes(values, workload)
    if workload == "sinusoid":
        return sinusoid_step(tasks, inner_steps, first_order, **options)
    if workload == "omniglot":
        return image_step(omniglot_conv(5), (28, 28, 1), tasks, 1, inner_steps, 0.4, first_order, **options)
    return image_step(mini_imagenet_conv(5), (84, 84, 3), tasks, 15, inner_steps, 0.05, first_order, **options)


def sizes(values: Values, workload: str) -> tuple[int, int]:
    """Returns the number of tasks and of inner steps."""
    tasks, inner_steps = _SIZES[workload]
    return values["tasks"] or tasks, values["inner_steps"] or inner_steps


def choose_device(values: Values) -> str:
    """Hides GPUs where --device=cpu, and names the device that is used."""
    gpus = tf.config.list_physical_devices("GPU")
    if values["device"] == "gpu" and not gpus:
        raise ValueError("Expected a GPU with --device=gpu. Received: none that TensorFlow sees")
    if gpus and values["device"] != "cpu":
        return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))
    tf.config.set_visible_devices([], "GPU")
    return f"{platform.machine()} CPU, {os.cpu_count()} cores"


def repeated(values: Values, measure_once: Callable[[], Result], least: int) -> list[Result]:
    """Measures at least so often, and for --seconds or --calls; returns all results."""
    found, start = [], time.perf_counter()
    while len(found) < least or (time.perf_counter() - start < values["seconds"] and len(found) < values["calls"]):
        found.append(measure_once())
    return found


def milliseconds(call: Callable[[], object]) -> float:
    """Times a call."""
    begin = time.perf_counter()
    call()
    return (time.perf_counter() - begin) * 1e3


def measure(values: Values, workload: str, first_order: bool) -> dict[str, object]:
    """Times calls after two warm-up ones; milliseconds a meta-iteration, mebibytes at the peak."""
    device = choose_device(values)
    options = {"task_map": values["task_map"], "parallel_tasks": values["parallel_tasks"]}
    tasks, inner_steps = sizes(values, workload)
    step, iterations = build(values, workload, first_order, **options)
    step()
    step()
    times = [one / iterations for one in repeated(values, lambda: milliseconds(step), least=5)]
    return {
        "peer": "maml_tf",
        "workload": workload,
        "first_order": first_order,
        "device": device,
        "tasks": tasks,
        "inner_steps": inner_steps,
        "median_ms": round(statistics.median(times), 4),
        "min_ms": round(min(times), 4),
        "calls": len(times),
        "peak_mib": peak_mib(),
    }


def measure_sampling(values: Values, workload: str) -> dict[str, object]:
    """Times rollouts with the paper's policy in the loop and, in turn with them, the physics engine alone.

    The policy is called as `collect` calls it; the environment is used through `step_batch`. The engine's loop is
    mj_step and mj_forward in C on as many threads, from the same states with the same actions, without simulations that
    are done: what a step costs depends on what touches the ground, up to 10 % from policy to policy.
    """
    from maml_tf.rl.environments import environments
    from maml_tf.rl.environments.physics import engine_loop
    from maml_tf.rl.policy import PurePolicy, gaussian_mlp_policy
    from maml_tf.rl.sampling import Actor

    keras.utils.set_random_seed(0)  # How long ants stand depends on the policy.
    environment = environments[f"{workload.removesuffix('_sampling')}_velocity"].make(values["rollouts"])
    size, actions_size = environment.observation_spec().shape[0], environment.action_spec().shape[0]
    policy = PurePolicy(gaussian_mlp_policy(size, actions_size))
    act, _ = Actor(policy).shared(policy.parameters(), tasks=1)
    shape = (environment.horizon, environment.batch_size, actions_size)
    noise = np.random.default_rng(0).standard_normal(shape, np.float32)
    actions, running = np.zeros_like(noise), np.zeros(shape[:2], bool)
    engine = engine_loop(environment.simulations.model, environment.batch_size)

    def sample() -> tuple[float, float]:
        observations, done = environment.reset_batch(), np.zeros(environment.batch_size, bool)
        start = environment.simulations.qpos.copy(), environment.simulations.qvel.copy()
        began = time.perf_counter()
        for step, of_step in enumerate(noise):
            running[step], actions[step] = ~done, act(observations) + of_step
            observations, _, done = environment.step_batch(actions[step])
        speed = np.count_nonzero(running) / (time.perf_counter() - began)
        return speed, engine(*start, np.clip(actions, -1.0, 1.0), running)[0]

    sample()
    speeds, of_engine = zip(*repeated(values, sample, least=3), strict=True)
    speed, limit = statistics.median(speeds), statistics.median(of_engine)
    return {
        "peer": "maml_tf",
        "workload": workload,
        "control_steps_per_second": round(speed),
        "best_control_steps_per_second": round(max(speeds)),
        "engine_steps_per_second": round(limit),
        "share_of_engine": round(speed / limit, 3),
        "calls": len(speeds),
        "peak_mib": peak_mib(),
    }


def measure_iteration(values: Values, workload: str) -> dict[str, object]:
    """Times the first meta-iterations of a training with the paper's settings, but for the one that compiles.

    "sampling_ms" is the median of rollouts, advantages and inner steps, "outer_step_ms" that of the rest.
    """
    from maml_tf.experiments.meta_rl.config import preset
    from maml_tf.experiments.meta_rl.methods import build_iteration
    from maml_tf.rl.methods import build_environment, build_policy
    from maml_tf.rl.policy import PurePolicy

    changes = {"curvature_stride": values["curvature_stride"]}
    rollouts = {} if values["task_rollouts"] is None else {"rollouts": values["task_rollouts"]}
    config = preset(ENVIRONMENTS[workload], **changes, **rollouts)
    keras.utils.set_random_seed(config.seed)
    simulations = build_environment("maml", config, config.meta_batch_size * config.rollouts)
    policy = PurePolicy(build_policy("maml", config, simulations))
    iteration = build_iteration("maml", config, simulations, policy)
    logs: list[dict[str, float]] = []

    def step() -> None:
        params, of_iteration = iteration(policy.parameters(), len(logs))
        policy.assign(params)
        logs.append(of_iteration)

    step()
    times = repeated(values, lambda: milliseconds(step), least=3)

    def median(name: str) -> float:
        return statistics.median(of_iteration[name] for of_iteration in logs[1:])

    return {
        "peer": "maml_tf",
        "workload": workload,
        "first_order": False,
        **changes,
        "median_ms": round(statistics.median(times), 1),
        "min_ms": round(min(times), 1),
        "sampling_ms": round(1e3 * median("seconds_sampling"), 1),
        "outer_step_ms": round(1e3 * median("seconds_update"), 1),
        "control_steps": round(median("control_steps")),
        "calls": len(times),
        "peak_mib": peak_mib(),
    }


def peak_mib() -> int:
    """Returns the most memory that the process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def in_own_process(values: Values, workload: str, order: str, **changes: int) -> str:
    """Measures in a process of its own, and returns the line that it prints."""
    names = (
        "seconds", "calls", "rollouts", "task_rollouts", "curvature_stride", "intra_op", "inter_op", "task_map",
        "parallel_tasks", "tasks", "inner_steps", "device",
    )  # fmt: skip
    options = {name: values[name] for name in names} | {"workload": workload, "order": order} | changes
    command = [sys.executable, "-m", "maml_tf", "benchmark", "--in_this_process"]
    command += [f"--{name}={value}" for name, value in options.items() if value is not None]
    environment = {**_ENVIRONMENT.get(workload, {}), **os.environ}
    return subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout


def draw_curves(values: Values, folder: pathlib.Path) -> None:
    """Measures over tasks and over inner steps, a process a point; prints every line, and writes them and a figure."""
    lines: list[dict[str, Any]] = []
    beside = read_lines(values["beside"]) if values["beside"] else []
    for workload in values["workload"]:
        for order in values["order"]:
            for varied, numbers in (("tasks", values["curve_tasks"]), ("inner_steps", values["curve_steps"])):
                for number in numbers:
                    line = json.loads(in_own_process(values, workload, order, **{varied: number}))
                    lines.append({**line, "varied": varied})
                    sys.stdout.write(json.dumps(lines[-1]) + "\n")
                    sys.stdout.flush()
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "curves.json", json.dumps(lines, indent=1) + "\n")
    save(cost_curves([*lines, *beside], title=lines[0]["device"]), folder / "curves.png")


def read_lines(path: str) -> list[dict[str, Any]]:
    """Reads the JSON lines of another program's measurements.

    Raises:
        ValueError: If the file holds anything else.
    """
    try:
        lines = [json.loads(line) for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise ValueError(f"Expected --beside to name a file of JSON lines. Received: {path!r}: {error}") from error
    if others := [line for line in lines if not isinstance(line, dict)]:
        raise ValueError(f"Expected --beside to name a file of JSON dictionaries. Received: {others[0]!r}")
    cost_curves(lines)  # Now, and not when all has been measured, it says what a line lacks.
    return lines
