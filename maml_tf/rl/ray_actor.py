"""What a Ray actor does with its share of the tasks; see `maml_tf.rl.ray_sampling`."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from maml_tf.distribute import bounds
from maml_tf.registry import import_file
from maml_tf.rl.rollouts import Rollouts
from maml_tf.rl.sampling import ProcessCollector


def collect_share(
    registered: Sequence[str],
    make: bytes,
    given: tuple[dict[str, np.ndarray], Any],
    share: tuple[int, int],
    each: int,
    seed: tuple[int, ...],
    own: bool,
    budget: bool,
) -> tuple[Rollouts, int]:
    """Collects a share's rollouts, in an actor.

    Args:
        registered: Files to import first.
        make: What makes a collector, pickled.
        given: The parameters and all tasks.
        share: k and n, for the k-th of n shares.
        each: Simulations of a task.
        seed: See `maml_tf.rl.sampling.Collector`.
        own: See there.
        budget: How the caller counts rollouts that end early.

    Returns:
        The rollouts, and how many simulations diverged.

    Raises:
        ValueError: If the collector counts otherwise than the caller.
    """
    _prepare(tuple(registered))
    params, tasks = given
    begin, end = bounds(len(tasks), share)
    collector = _collector(make, (end - begin) * each)
    if collector.budget != budget:
        raise ValueError(
            f"Expected make to give collectors with budget={budget}, as RayCollector has. Received: {collector.budget}"
        )
    diverged = collector.environment.diverged
    rollouts = collector.of_share(params, tasks, share, seed, own=own)
    return rollouts, collector.environment.diverged - diverged


@functools.cache
def _prepare(registered: tuple[str, ...]) -> None:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for path in registered:
        import_file(path)


@functools.lru_cache(8)
def _collector(make: bytes, simulations: int) -> ProcessCollector:
    return pickle.loads(make)(simulations)
