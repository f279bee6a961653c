"""How fast rollouts are collected, beside how fast the physics engine could at most."""

from __future__ import annotations

import statistics
import time

import numpy as np

from maml_tf.rl.environments.ant import Ant
from maml_tf.rl.environments.half_cheetah import HalfCheetah
from maml_tf.rl.environments.physics import engine_loop
from maml_tf.rl.policy import PurePolicy, gaussian_mlp_policy
from maml_tf.rl.sampling import Actor

BODIES = {"half_cheetah": HalfCheetah, "ant": Ant}
# Few enough for a processor's caches.
_ENGINE_SIMULATIONS = 32


def sampling_speed(body: str, *, rollouts: int = 800, seconds: float = 8.0, least: int = 3) -> dict[str, float]:
    """Times rollouts with the paper's policy in the loop and, in turn with them, the engine alone.

    The policy is the paper's, called as `collect` calls it; the environment is used through `step_batch`. The engine's
    loop is mj_step and mj_forward over few simulations, in C on as many threads.

    Args:
        body: "half_cheetah" or "ant".
        rollouts: Simulations at once.
        seconds: Least time to measure.
        least: Least number of measurements of each.

    Returns:
        "control_steps_per_second" (median) and "best_control_steps_per_second" with the policy,
        "engine_steps_per_second" (median), "share_of_engine", and "calls", the number of measurements.
    """
    environment = BODIES[body](rollouts)
    size, actions = environment.observation_spec().shape[0], environment.action_spec().shape[0]
    policy = PurePolicy(gaussian_mlp_policy(size, actions))
    act, _ = Actor(policy).shared(policy.parameters(), tasks=1)
    noise = np.random.default_rng(0).standard_normal((environment.horizon, rollouts, actions), np.float32)
    count = min(_ENGINE_SIMULATIONS, rollouts)
    engine = engine_loop(environment.simulations.model, count, environment.initial_qpos)
    # Long enough that what else the machine does falls on both alike.
    repeats = max(1, rollouts // count // 4)

    def sample() -> float:
        observations, steps = environment.reset_batch(), 0
        done = np.zeros(rollouts, bool)
        start = time.perf_counter()
        for of_step in noise:
            steps += rollouts - np.count_nonzero(done)
            observations, _, done = environment.step_batch(act(observations) + of_step)
        return steps / (time.perf_counter() - start)

    sample()
    speeds, of_engine, start = [], [], time.perf_counter()
    while len(speeds) < least or time.perf_counter() - start < seconds:
        speeds.append(sample())
        of_engine.append(statistics.harmonic_mean([engine(noise) for _ in range(repeats)]))
    speed, limit = statistics.median(speeds), statistics.median(of_engine)
    return {
        "control_steps_per_second": round(speed),
        "best_control_steps_per_second": round(max(speeds)),
        "engine_steps_per_second": round(limit),
        "share_of_engine": round(speed / limit, 3),
        "calls": len(speeds),
    }
