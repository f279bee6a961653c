"""Eight threads that use one learner at once, and get what one thread alone gets."""

from __future__ import annotations

import concurrent.futures
from typing import Any

import keras
import numpy as np

import maml_tf
from tests.campaign.counts import Counts, received

THREADS = 8


def run(options: Any) -> Counts:
    counts, draw = Counts("threads"), np.random.default_rng(options.seed)
    for loss, outputs in (("mse", 2), (keras.losses.SparseCategoricalCrossentropy(from_logits=True), 3)):
        keras.utils.set_random_seed(options.seed)
        learner = maml_tf.MAML(maml_tf.models.mlp((3,), (4,), outputs), loss, 0.1, 2)
        learner.compile("adam", jit_compile=False)
        x = draw.normal(size=(THREADS, 4, 5, 3)).astype(np.float32)
        y = x[..., :2] if loss == "mse" else draw.integers(0, 3, (THREADS, 4, 5))
        uses = {
            "adapt": lambda i: learner.adapt(x[i, 0], y[i, 0]).get_weights(),  # noqa: B023
            "predict": lambda i: learner.predict((x[i], y[i], x[i]), verbose=0),  # noqa: B023
            "test_on_batch": lambda i: learner.test_on_batch((x[i], y[i], x[i]), y[i]),  # noqa: B023
            "evaluate": lambda i: learner.evaluate((x[i], y[i], x[i]), y[i], verbose=0),  # noqa: B023
            "maml_tf.evaluate": lambda i: maml_tf.evaluate(learner, [((x[i], y[i], x[i]), y[i])]).values["loss"],  # noqa: B023
            "trained": lambda i: learner.adapt(x[i, 0], y[i, 0]).predict(x[i, 1], verbose=0),  # noqa: B023
        }
        before = learner.get_weights()
        jobs = [(name, i) for name in uses for i in range(THREADS)]
        alone = [uses[name](i) for name, i in jobs]
        order = draw.permutation(len(jobs))
        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            together = list(pool.map(lambda place: received(lambda: uses[jobs[place][0]](jobs[place][1])), order))  # noqa: B023
        for place, (result, error) in zip(order, together, strict=True):
            call = f"{jobs[place][0]} in {THREADS} threads"
            if error is not None:
                counts.add("stack", call, error)
            else:
                pairs = zip(flat(result), flat(alone[place]), strict=True)
                same = all(np.array_equal(one, other) for one, other in pairs)
                counts.add("right" if same else "bits", call, "another result than alone")
        same = learner.compiled and all(map(np.array_equal, before, learner.get_weights()))
        counts.add("right" if same else "silent", "the learner stays as it is", "it changed")
    return counts


def flat(result: Any) -> list[np.ndarray]:
    return [np.asarray(part) for part in result] if isinstance(result, list) else [np.asarray(result)]
