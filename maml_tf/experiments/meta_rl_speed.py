"""How fast a whole meta-iteration of MAML with TRPO is: sampling before and after the inner step, the outer step."""

from __future__ import annotations

import statistics
import time

import keras

from maml_tf.experiments.meta_rl_config import make_environment, preset
from maml_tf.experiments.meta_rl_methods import build_iteration, build_policy
from maml_tf.rl.policy import PurePolicy


def iteration_speed(
    environment: str,
    *,
    rollouts: int | None = None,
    curvature_stride: int = 1,
    seconds: float = 8.0,
    least: int = 3,
    most: int = 200,
) -> dict[str, float]:
    """Times the first meta-iterations of a training with the paper's settings, but for the one that compiles.

    Args:
        environment: One of `maml_tf.experiments.meta_rl_config.ENVIRONMENTS`.
        rollouts: Of a task for each gradient step, by default the paper's.
        curvature_stride: Every how manyth time step counts in the Hessian's products.
        seconds: Least time to measure.
        least: Least number of measurements.
        most: Greatest number of measurements.

    Returns:
        Milliseconds: "median_ms", "min_ms", and medians of "sampling_ms", rollouts, advantages and inner steps, and
        "outer_step_ms"; "control_steps" of an iteration (median); "calls", the number of measurements.
    """
    changes = {} if rollouts is None else {"rollouts": rollouts}
    config = preset(environment, curvature_stride=curvature_stride, **changes)
    keras.utils.set_random_seed(config.seed)
    simulations = make_environment(config.environment, config.meta_batch_size * config.rollouts)
    policy = PurePolicy(build_policy("maml", config, simulations))
    iteration = build_iteration("maml", config, simulations, policy)
    params, _ = iteration(policy.parameters(), 0)
    times, logs, start = [], [], time.perf_counter()
    while len(times) < least or (time.perf_counter() - start < seconds and len(times) < most):
        begin = time.perf_counter()
        params, of_iteration = iteration(params, len(times) + 1)
        times.append(1e3 * (time.perf_counter() - begin))
        logs.append(of_iteration)

    def median(name: str) -> float:
        return statistics.median(of_iteration[name] for of_iteration in logs)

    return {
        "median_ms": round(statistics.median(times), 1),
        "min_ms": round(min(times), 1),
        "sampling_ms": round(1e3 * median("seconds_sampling"), 1),
        "outer_step_ms": round(1e3 * median("seconds_update"), 1),
        "control_steps": round(median("control_steps")),
        "calls": len(times),
    }
