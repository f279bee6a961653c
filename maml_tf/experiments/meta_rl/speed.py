"""How fast meta-reinforcement learning is: rollouts beside the physics engine's limit, and whole meta-iterations."""

from __future__ import annotations

import statistics
import time

import keras
import numpy as np

from maml_tf.experiments.meta_rl.config import preset
from maml_tf.experiments.meta_rl.methods import build_iteration
from maml_tf.rl.environments import environments
from maml_tf.rl.environments.physics import engine_loop
from maml_tf.rl.methods import build_environment, build_policy
from maml_tf.rl.policy import PurePolicy, gaussian_mlp_policy
from maml_tf.rl.sampling import Actor


def sampling_speed(body: str, *, rollouts: int = 800, seconds: float = 8.0, least: int = 3) -> dict[str, float]:
    """Times rollouts with the paper's policy in the loop and, in turn with them, the engine alone on the same steps.

    The policy is the paper's, called as `collect` calls it; the environment is used through `step_batch`. The engine's
    loop is mj_step and mj_forward in C on as many threads, from the same states with the same actions, without
    simulations that are done: what a step costs depends on what touches the ground, up to 10 % from policy to policy.

    Args:
        body: "half_cheetah" or "ant".
        rollouts: Simulations at once.
        seconds: Least time to measure.
        least: Least number of measurements of each.

    Returns:
        "control_steps_per_second" (median) and "best_control_steps_per_second" with the policy,
        "engine_steps_per_second" (median), "share_of_engine", and "calls", the number of measurements.
    """
    environment = environments[f"{body}_velocity"].make(rollouts)
    size, actions_size = environment.observation_spec().shape[0], environment.action_spec().shape[0]
    policy = PurePolicy(gaussian_mlp_policy(size, actions_size))
    act, _ = Actor(policy).shared(policy.parameters(), tasks=1)
    noise = np.random.default_rng(0).standard_normal((environment.horizon, rollouts, actions_size), np.float32)
    actions, running = np.zeros_like(noise), np.zeros(noise.shape[:2], bool)
    engine = engine_loop(environment.simulations.model, rollouts)

    def sample() -> tuple[float, float]:
        observations, done = environment.reset_batch(), np.zeros(rollouts, bool)
        start = environment.simulations.qpos.copy(), environment.simulations.qvel.copy()
        began = time.perf_counter()
        for step, of_step in enumerate(noise):
            running[step], actions[step] = ~done, act(observations) + of_step
            observations, _, done = environment.step_batch(actions[step])
        speed = np.count_nonzero(running) / (time.perf_counter() - began)
        return speed, engine(*start, np.clip(actions, -1.0, 1.0), running)[0]

    sample()
    speeds, of_engine, start = [], [], time.perf_counter()
    while len(speeds) < least or time.perf_counter() - start < seconds:
        for measured, found in zip((speeds, of_engine), sample(), strict=True):
            measured.append(found)
    speed, limit = statistics.median(speeds), statistics.median(of_engine)
    return {
        "control_steps_per_second": round(speed),
        "best_control_steps_per_second": round(max(speeds)),
        "engine_steps_per_second": round(limit),
        "share_of_engine": round(speed / limit, 3),
        "calls": len(speeds),
    }


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
        environment: One of `maml_tf.rl.environments.environments`.
        rollouts: Of a task for each gradient step, by default the paper's.
        curvature_stride: Use every n-th time step in the products with the Hessian.
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
    simulations = build_environment("maml", config, config.meta_batch_size * config.rollouts)
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
