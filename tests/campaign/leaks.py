"""Memory and descriptors over 10,000 training steps, 3,000 adaptations, and evaluations."""

from __future__ import annotations

import gc
import os
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import maml_tf
from tests.campaign.counts import Counts

# A leak of a copy of the smallest model would be 100 MB in as many adaptations.
MOST_GROWTH = 40e6
DESCRIPTORS = 5


def used() -> tuple[int, int]:
    """Returns resident bytes and the number of open descriptors."""
    gc.collect()
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd"))


def run(options: Any) -> Counts:
    counts = Counts("leaks")
    learner = maml_tf.MAML(maml_tf.models.mlp((3,), (4,), 1), "mse", 0.01)
    learner.compile("adam", jit_compile=False)
    x = np.random.default_rng(options.seed).normal(size=(4, 5, 3)).astype(np.float32)
    y = x[..., :1]
    evaluator = maml_tf.Evaluator(learner)
    for name, times, step in (
        ("train_on_batch", 10_000, lambda: learner.train_on_batch((x, y, x), y)),
        ("adapt", 3_000, lambda: learner.adapt(x[0], y[0])),
        ("predict", 300, lambda: learner.predict((x, y, x), verbose=0)),
        ("Evaluator", 1_000, lambda: evaluator([((x, y, x), y)])),
        ("save and load", 30, lambda: keras.models.clone_model(learner.adapt(x[0], y[0]))),
    ):
        grown(counts, name, times, step)
    return counts


def grown(counts: Counts, name: str, times: int, step: Callable[[], Any]) -> None:
    # What the first tenth takes is kept for good: graphs, pools of memory.
    for _ in range(max(3, times // 10)):
        step()
    before = used()
    for _ in range(times - times // 10):
        step()
    memory, descriptors = (after - start for start, after in zip(before, used(), strict=True))
    text = f"{times} times {name}: {memory / 1e6:+.1f} MB, {descriptors:+d} descriptors"
    print(f"  {text}", flush=True)
    counts.add("right" if memory < MOST_GROWTH and descriptors <= DESCRIPTORS else "silent", text)
