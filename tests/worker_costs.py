"""Times one, two and four workers of this machine, counts the bytes they exchange, and models more workers.

    python -m tests.worker_costs --output=docs/results/several_workers.json

Each worker has one core, which four workers share where there are two. The workers share the benchmark's meta-batch: 25
sinusoids, 32 tasks of Omniglot's images, 4 of mini-ImageNet's, all exact. The bytes are the loopback device's.

The model of a step of n workers with b tasks each is

    seconds(n, b) = fixed + b * task + exchanges * 2 (n - 1) * latency + 2 (n - 1) / n * gradient bytes / bandwidth

`fixed` and `task` come from two workers with twice and with once the meta-batch, because a task may take one of several
workers longer than one alone, and `exchanges` from the graph. In a ring each piece of the gradient is passed on
2 (n - 1) times. The assumptions are a data centre's: 50 microseconds a message, 10 Gbit/s a host. The efficiency is the
time of a worker alone, with as many tasks as each of the n has, over that of a step. Run it on an idle machine; it
takes six minutes on two cores.
"""

import argparse
import datetime
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

from tests.support import workers

_WORKLOADS = {"sinusoid": 25, "omniglot": 32, "mini_imagenet": 4}
_COUNTS = (1, 2, 4)
_CLUSTERS = (8, 16, 32, 64, 128, 256)
_LATENCY, _BYTES_A_SECOND = 50e-6, 10e9 / 8
_WARM, _LEAST, _SECONDS = 3, 10, 5.0


def make_learner(workload):
    """Makes a workload's learner, and the shapes of a task's support and query sets with the number of classes."""
    import keras

    import maml_tf
    from maml_tf.models import mini_imagenet_conv, mlp, omniglot_conv

    keras.utils.set_random_seed(0)
    if workload == "sinusoid":
        learner, shapes = maml_tf.MAML(mlp((1,)), "mse", 0.01, task_map="mapped"), ((10, 1), (10, 1), None)
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        omniglot = workload == "omniglot"
        network, steps = (omniglot_conv(5), 1) if omniglot else (mini_imagenet_conv(5), 5)
        learner = maml_tf.MAML(network, loss, 0.05, steps)
        image = (28, 28, 1) if omniglot else (84, 84, 3)
        shapes = (5, *image), (5 if omniglot else 75, *image), 5
    learner.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
    return learner, shapes


def make_data(shapes, tasks, share):
    """Makes a data set that repeats one meta-batch, of which it holds a share."""
    import numpy as np
    import tensorflow as tf

    from maml_tf import distribute

    begin, end = distribute.bounds(tasks, share)
    random = np.random.default_rng(0)
    support, query, classes = shapes

    def labels(shape):
        if classes is None:
            return random.normal(size=[tasks, *shape]).astype(np.float32)
        return np.tile(np.repeat(np.arange(classes), shape[0] // classes), [tasks, 1])

    x, query_x = (random.uniform(size=[tasks, *shape]).astype(np.float32) for shape in (support, query))
    leaves = (x, labels(support), query_x, labels(query))
    x, y, query_x, query_y = (tf.constant(leaf[begin:end]) for leaf in leaves)
    return tf.data.Dataset.from_tensors(((x, y, query_x), query_y)).repeat()


def measure(workload, tasks, file):
    """Trains as one of the workers; writes seconds and bytes of an iteration, and the size of what is exchanged."""
    index = json.loads(os.environ.get("TF_CONFIG", '{"task": {"index": 0}}'))["task"]["index"]
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[index % len(cores)]})
    import tensorflow as tf

    from maml_tf import distribute

    strategy = distribute.strategy_from_environment()
    with strategy.scope():
        learner, shapes = make_learner(workload)
        data = iter(distribute.shared(lambda k, n: make_data(shapes, tasks, (k, n))))

        @tf.function(autograph=False)
        def step(element):
            return strategy.run(learner.train_step, (element,))

        times, moved = [], []
        for _ in range(_WARM):
            step(next(data))
        # All workers take the same number of steps.
        begin = time.perf_counter()
        step(next(data))
        count = distribute.agreed(max(_LEAST, int(_SECONDS / (time.perf_counter() - begin))))
        for _ in range(count):
            element, before, begin = next(data), _loopback_bytes(), time.perf_counter()
            logs = step(element)
            strategy.experimental_local_results(logs["loss"])[0].numpy()
            times.append(time.perf_counter() - begin)
            moved.append(_loopback_bytes() - before)
        graph = step.get_concrete_function(element).graph
        exchanges = sum(
            operation.type.startswith("CollectiveReduce") or operation.type.startswith("CollectiveGather")
            for part in [graph, *_functions_of(graph)] for operation in part.get_operations()
        )  # fmt: skip
        gradient = sum(4 * variable.shape.num_elements() for variable in learner.trainable_variables)
    found = {
        "seconds": statistics.median(times),
        "bytes": statistics.mean(moved),
        "exchanges": exchanges,
        "gradient_bytes": gradient,
    }
    pathlib.Path(file).write_text(json.dumps(found))


def _functions_of(graph):
    return [function.graph for function in graph._functions.values() if hasattr(function, "graph")]


def _loopback_bytes():
    for line in pathlib.Path("/proc/net/dev").read_text().splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "lo":
            return int(numbers.split()[0])
    return 0


def run(workload, tasks, count, folder):
    """Runs workers; returns what the first measured."""
    files = [folder / f"{k}.json" for k in range(count)]
    call = ["-m", "tests.worker_costs", "--measure", workload, str(tasks)]
    codes = workers.wait(workers.start(count, [[*call, str(file)] for file in files], folder))
    if any(codes):
        raise RuntimeError((folder / "err0").read_text()[-2000:])
    return json.loads(files[0].read_text())


def modelled(fixed, task, found, tasks, count):
    """Returns the seconds of a step of `count` workers with `tasks` tasks each."""
    exchange = found["exchanges"] * 2 * (count - 1) * _LATENCY
    exchange += 2 * (count - 1) / count * found["gradient_bytes"] / _BYTES_A_SECOND
    return fixed + tasks * task + exchange


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", help="File for the numbers, JSON.")
    parser.add_argument("--workload", action="append", choices=list(_WORKLOADS), help="One workload alone.")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        workload, tasks, file = options.measure
        return measure(workload, int(tasks), file)
    measured, models = [], []
    with tempfile.TemporaryDirectory() as folder:
        for workload in options.workload or _WORKLOADS:
            tasks = _WORKLOADS[workload]
            twice = run(workload, 2 * tasks, 2, pathlib.Path(folder))["seconds"]
            rows = {count: run(workload, tasks, count, pathlib.Path(folder)) for count in _COUNTS}
            alone = rows[1]["seconds"]
            # Of an odd number of tasks the first worker has one more.
            task = (twice - rows[2]["seconds"]) / (tasks - -(-tasks // 2))
            fixed = max(0.0, twice - tasks * task)
            for count, row in rows.items():
                efficiency = alone / (count * row["seconds"])
                moved = row["bytes"] / count / 1e3
                measured.append(
                    [workload, count, 1e3 * row["seconds"], tasks / row["seconds"], efficiency, moved, row["exchanges"]]
                )
                print(measured[-1], flush=True)
            clusters = [modelled(fixed, task, rows[2], tasks, count) for count in _CLUSTERS]
            models.append([workload, tasks, 1e3 * fixed, 1e3 * task, *(alone / seconds for seconds in clusters)])
            print(models[-1], flush=True)
    if options.output:
        pathlib.Path(options.output).write_text(json.dumps(_tables(measured, models), indent=1) + "\n")
    return 0


def _tables(measured, models):
    """Returns the results in the form of docs/results."""

    def number(title, digits):
        return {"title": title, "digits": digits}

    efficiencies = [number(f"{count} workers", 2) for count in _CLUSTERS]
    return {
        "experiment": "What several workers cost",
        "protocol": f"One core each, of {os.cpu_count()} that this machine has; bytes on the loopback device.",
        "date": datetime.date.today().isoformat(),
        "command": "python -m tests.worker_costs --output=docs/results/several_workers.json",
        "tables": {
            "measured": {
                "columns": [
                    "workload", "workers", number("ms an iteration", 1), number("tasks a second", 1),
                    number("efficiency", 2), number("kB a worker", 1), "exchanges",
                ],
                "rows": measured,
            },
            "modelled": {
                "columns": [
                    "workload", "tasks a worker", number("fixed, ms", 1), number("a task, ms", 2), *efficiencies,
                ],
                "rows": models,
            },
        },
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
