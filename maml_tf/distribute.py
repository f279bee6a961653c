"""Training in several processes, on one or many hosts: the process's number, its share of the data, and agreements.

Every process runs the same program under the same strategy. It draws its share of each meta-batch, and the learner's
train step exchanges gradients. Worker 0, the chief, writes the files that are kept.
"""

from __future__ import annotations

import concurrent.futures
import ctypes
import json
import os
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from maml_tf.checks import whole_number

_ENVIRONMENT = "TF_CONFIG"
# glibc's M_TOP_PAD, and the size of the heaps that it gives to threads, which it keeps if padded by as much.
_TOP_PAD, _HEAP_BYTES = -2, 64 << 20
# The compiled collective operations of each strategy.
_collectives: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()


class Worker(NamedTuple):
    """A process of a training.

    Attributes:
        index: Number of this process, from 0.
        count: Number of processes.
    """

    index: int
    count: int

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the files that are kept."""
        return self.index == 0


def strategy_from_environment(environment: Mapping[str, str] | None = None) -> tf.distribute.Strategy:
    """Makes the strategy that the environment variable TF_CONFIG describes.

    TF_CONFIG is TensorFlow's variable, with the same cluster on every host and the host's own index:
    `{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}`. Call this before TensorFlow's
    first operation, and build model, learner and callbacks in the strategy's `scope()`.

    Args:
        environment: Environment variables, by default `os.environ`.

    Returns:
        A `tf.distribute.MultiWorkerMirroredStrategy`; without TF_CONFIG, or with one worker, the current strategy,
        which is TensorFlow's default outside of any scope.

    Raises:
        ValueError: If TF_CONFIG has another form, or other tasks than workers and one chief.

    Example:
    >>> from maml_tf import distribute
    >>> with distribute.strategy_from_environment({}).scope():
    ...     distribute.this_worker()
    Worker(index=0, count=1)
    """
    text = (os.environ if environment is None else environment).get(_ENVIRONMENT, "")
    if not text.strip() or len(_addresses(text)) < 2:
        return tf.distribute.get_strategy()
    _keep_freed_memory()
    return tf.distribute.MultiWorkerMirroredStrategy()


def _keep_freed_memory() -> None:
    """Lets glibc keep the memory that a step has freed for the next one.

    In the threads of TensorFlow's server glibc unmaps whole heaps. Mapping and clearing them again took a quarter of
    the processor time of a worker's Omniglot step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # musl has none.
        mallopt(_TOP_PAD, _HEAP_BYTES)


def this_worker() -> Worker:
    """Returns the number of this process in the current strategy; without a multi-worker strategy, 0 of 1."""
    resolver = tf.distribute.get_strategy().cluster_resolver
    cluster = resolver.cluster_spec().as_dict() if resolver else {}
    chiefs, workers = len(cluster.get("chief", ())), len(cluster.get("worker", ()))
    if chiefs + workers < 2:
        return Worker(0, 1)
    return Worker(resolver.task_id + (chiefs if resolver.task_type == "worker" else 0), chiefs + workers)


def shared(build: Callable[[int, int], tf.data.Dataset]) -> Any:
    """Makes the data of `fit` under the current strategy, of which every replica draws only its share.

    Args:
        build: Function of k and n that returns a data set of the k-th of n shares of each element, such as
            `lambda k, n: pool.episodes(..., share=(k, n))`.

    Returns:
        A data set for `fit`; with one replica `build(0, 1)`.

    Example:
    >>> from maml_tf import distribute
    >>> from maml_tf.tasks import Sinusoids
    >>> data = distribute.shared(lambda k, n: Sinusoids().dataset(0, tasks=4, shots=5, queries=5, share=(k, n)))
    >>> data.element_spec[1].shape
    TensorShape([4, 5, 1])
    """
    strategy = tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return build(0, 1)

    def of_host(context):
        local = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * local
        shares = [build(first + number, replicas) for number in range(local)]
        # The replicas of a host take elements in turn.
        return (
            shares[0]
            if local == 1
            else tf.data.Dataset.choose_from_datasets(shares, tf.data.Dataset.range(local).repeat())
        )

    return strategy.distribute_datasets_from_function(of_host)


def bounds(size: Any, share: tuple[int, int]) -> tuple[Any, Any]:
    """Returns where a share of a meta-batch begins and ends; shares are contiguous and differ by at most one task.

    Args:
        size: Number of tasks in the meta-batch, a number or a tensor.
        share: k and n, for the k-th of n shares, from 0.

    Raises:
        ValueError: If there is no such share.

    Example:
    >>> from maml_tf.distribute import bounds
    >>> [bounds(5, (k, 3)) for k in range(3)]
    [(0, 1), (1, 3), (3, 5)]
    """
    number, count = share
    count = whole_number("share[1]", count, 1)
    number = whole_number("share[0]", number, 0)
    if number >= count:
        raise ValueError(f"Expected share=(k, n) with k below n. Received: share={share!r}")
    return size * number // count, size * (number + 1) // count


def agreed(number: int) -> int:
    """Returns the greatest of the numbers that the workers pass; all workers must call it."""
    if this_worker().count == 1:
        return number
    return int(_gathered(np.array([number])).max())


def require_same(description: Mapping[str, Any]) -> None:
    """Raises on every worker unless all workers pass the same description; all workers must call it.

    Args:
        description: Settings that the training depends on, by name, with values that JSON can represent.

    Raises:
        ValueError: If a worker's description differs from the chief's; the message names the worker and the setting.
    """
    if this_worker().count == 1:
        return
    mine = json.dumps(dict(description), sort_keys=True, default=str).encode()
    rows = _gathered(np.frombuffer(mine.ljust(agreed(len(mine))), np.uint8).astype(np.int64))
    chief, *others = (json.loads(bytes(row.astype(np.uint8))) for row in rows)
    for number, other in enumerate(others, start=1):
        for name in sorted({*chief, *other}):
            if chief.get(name) != other.get(name):
                raise ValueError(
                    "Expected the same settings and versions on all workers. "
                    f"Received: {name}={other.get(name)!r} on worker {number} and {chief.get(name)!r} on worker 0"
                )


def require_one_worker(what: str) -> None:
    """Raises if several workers train.

    Args:
        what: What can only be trained in one process, for the message.

    Raises:
        ValueError: If there are several workers.
    """
    if (count := this_worker().count) > 1:
        raise ValueError(
            f"Expected one process, without {_ENVIRONMENT}, to train {what}: Keras' fit supports only one host. "
            f"Received: {count} workers"
        )


def from_chief(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns the chief's arrays, bit for bit; all workers must call it.

    Args:
        arrays: On the chief, the arrays to send; on the other workers anything.
    """
    worker = this_worker()
    arrays = [np.asarray(array) for array in arrays]
    if worker.count == 1:
        return arrays
    forms = [[array.dtype.name, list(array.shape)] for array in arrays]
    forms = json.loads(_bytes_of_chief(json.dumps(forms).encode() if worker.is_chief else b""))
    data = _bytes_of_chief(b"".join(array.tobytes() for array in arrays) if worker.is_chief else b"")
    received, begin = [], 0
    for dtype, shape in forms:
        count = int(np.prod(shape))
        received.append(np.frombuffer(data, tf.as_dtype(dtype).as_numpy_dtype, count, begin).reshape(shape))
        begin += received[-1].nbytes
    return received


def outside_of_strategy(function: Callable[[], Any]) -> Any:
    """Calls a function outside of the strategy's scope, in which all workers have to make a variable together.

    Args:
        function: A function that only one worker calls.

    Returns:
        The function's result.
    """
    if not tf.distribute.has_strategy():
        return function()
    # A scope applies only to its thread.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(function).result()


def _addresses(text: str) -> list[str]:
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        if {*cluster} <= {"chief", "worker"} and len(cluster.get("chief", ())) <= 1:
            addresses = [*cluster.get("chief", ()), *cluster["worker"]]
            cluster[task["type"]][int(task["index"])]
            return addresses
    except (ValueError, TypeError, LookupError):
        pass
    raise ValueError(
        f'Expected {_ENVIRONMENT} as {{"cluster": {{"worker": ["host:port", ...]}}, "task": {{"type": "worker", '
        f'"index": 0}}}}, with the index of one of the cluster\'s workers. Received: {text}'
    )


def _bytes_of_chief(data: bytes) -> bytes:
    length = agreed(len(data))
    # Integers, because a sum with zeros does not change their bits.
    words = np.frombuffer(data.ljust(-(-length // 4) * 4, b"\0"), np.int32)
    return _on_replicas(words).tobytes()[:length]


def _gathered(values: np.ndarray) -> np.ndarray:
    """Returns the values [n] of all workers, [workers, n]."""
    rows = _on_replicas(values, gathers=True)
    return rows[:: len(rows) // this_worker().count]


def _on_replicas(values: np.ndarray, gathers: bool = False) -> np.ndarray:
    """Adds up, or gathers as rows, values [n] of all replicas; a host's first replica passes them, the others zeros."""
    strategy = tf.distribute.get_strategy()
    functions = _collectives.setdefault(strategy, {})
    key = gathers, values.dtype
    if key not in functions:
        functions[key] = _collective(strategy, gathers, values.dtype)
    return strategy.experimental_local_results(functions[key](tf.constant(values)))[0].numpy()


def _collective(strategy: tf.distribute.Strategy, gathers: bool, dtype: np.dtype) -> Callable[[tf.Tensor], Any]:
    local = strategy.num_replicas_in_sync // this_worker().count

    def of_replica(values):
        context = tf.distribute.get_replica_context()
        is_first = tf.equal(context.replica_id_in_sync_group % local, 0)
        values = tf.where(is_first, values, tf.zeros_like(values))
        if gathers:
            return context.all_gather(values[tf.newaxis], axis=0)
        return context.all_reduce(tf.distribute.ReduceOp.SUM, values)

    # Compiled once for all lengths, because a collective takes a tenth of a second without a graph.
    return tf.function(
        lambda values: strategy.run(of_replica, (values,)),
        input_signature=[tf.TensorSpec([None], dtype)],
        autograph=False,
    )
