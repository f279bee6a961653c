"""Trains with every algorithm on one to four replicas, and on one, two and four workers, and compares the weights.

    python -m tests.worker_equality [--iterations=200]

A meta-batch has five tasks, so that shares differ. Each row prints the largest difference of a value from that of one
replica or worker, relative to the largest value of its variable. It fails above 1e-10 in float64 after all iterations
(implicit MAML by default: 1e-6), above 1e-5 in float32 after 20, and above 0 in the order of tasks after all
iterations. Implicit MAML's default solves a system that is nearly singular in some tasks of these data; float32 takes
the larger proximal weight alone.

Takes ten minutes on two cores.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from tests.support import workers
from tests.support.source_tree import PROJECT

_FLOAT32_ITERATIONS = 20
_MOST = {"float64": 1e-10, "float32": 1e-5, "bits": 0.0}
# In float64 one unit in the last place of one weight changes the result of 200 iterations of implicit MAML by 6e-8, and
# by 9e-15 with a proximal weight of 50. In float32, whose unit is 5e8 times as large, the former is no measure.
_STIFF, _PROXIMAL_WEIGHT = "implicit_maml with weight 50", 50.0
_MOST_OF_IMPLICIT_MAML = 1e-6


def make_data(iterations, dtype, share):
    """Tasks of three classes of blobs in four dimensions, two support and four query examples each."""
    import tensorflow as tf

    from maml_tf import distribute

    random = np.random.default_rng(0)
    centres = random.normal(size=[iterations, 5, 3, 1, 4])
    x = (centres + 0.5 * random.normal(size=[iterations, 5, 3, 6, 4])).astype(dtype)
    y = np.broadcast_to(np.arange(3)[:, None], [iterations, 5, 3, 6])
    parts = [
        leaf.reshape(iterations, 5, -1, *leaf.shape[4:]) for half in (slice(2), slice(2, None))
        for leaf in (x[..., half, :], y[..., half])
    ]  # fmt: skip
    begin, end = distribute.bounds(5, share)
    support_x, support_y, query_x, query_y = (leaf[:, begin:end] for leaf in parts)
    return tf.data.Dataset.from_tensor_slices(((support_x, support_y, query_x), query_y))


def train(algorithm, dtype, iterations, in_task_order):
    """Trains under the current strategy; returns the values of the learner's and the optimizer's variables."""
    import keras

    import maml_tf
    from maml_tf import distribute
    from maml_tf.algorithms import ImplicitMAML

    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    keras.utils.set_random_seed(0)
    algorithm = ImplicitMAML(_PROXIMAL_WEIGHT) if algorithm == _STIFF else algorithm
    layers = [
        keras.layers.Dense(16, "tanh"), maml_tf.layers.BatchNormalization(momentum=0.9), keras.layers.Dropout(0.1),
        keras.layers.Dense(3),
    ]  # fmt: skip
    model = keras.Sequential([keras.Input((4,)), *layers])
    learner = maml_tf.MetaLearner(
        model, keras.losses.SparseCategoricalCrossentropy(from_logits=True), algorithm, 0.1, inner_steps=2,
        task_map="mapped", in_task_order=in_task_order,
    )  # fmt: skip
    learner.compile(keras.optimizers.Adam(1e-3, global_clipnorm=1.0), jit_compile=False)
    data = distribute.shared(lambda k, n: make_data(iterations, dtype, (k, n)))
    learner.fit(data, steps_per_epoch=iterations, shuffle=False, verbose=0)
    return [variable.numpy().astype("float64") for variable in [*learner.variables, *learner.optimizer.variables]]


def difference(values, expected):
    """Returns the largest difference of a value, relative to the largest of its variable."""
    pairs = zip(map(np.asarray, values), map(np.asarray, expected), strict=True)
    return max(float(np.max(np.abs(a - b)) / max(np.max(np.abs(b)), 1e-3)) for a, b in pairs)


def kinds(iterations):
    """Returns the arguments of `train` for each comparison: data type, iterations, whether sums are in task order."""
    return {
        "float64": ("float64", iterations, False),
        "float32": ("float32", _FLOAT32_ITERATIONS, False),
        "bits": ("float32", iterations, True),
    }


def replicas(iterations):
    """Compares two to four replicas with one, for every algorithm; returns whether all agree."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in range(1, 5):
            # In a process each: TensorFlow's collectives keep the number of replicas that a device met first.
            file = pathlib.Path(folder, f"{count}.json")
            call = [sys.executable, "-m", "tests.worker_equality", f"--iterations={iterations}"]
            subprocess.run([*call, "--replicas", str(count), str(file)], cwd=PROJECT, check=True)
            found[count] = json.loads(file.read_text())
    sound = True
    for name, alone in found[1].items():
        differences = [difference(found[count][name], alone) for count in found]
        algorithm, _, kind = name.rpartition(", ")
        most = max(_MOST[kind], _MOST_OF_IMPLICIT_MAML if algorithm == "implicit_maml" else 0.0)
        sound &= report(f"replicas 1 to 4, {name}", differences, most)
    return sound


def train_on_replicas(count, iterations, file):
    """Trains with every algorithm on replicas of this process and writes the values."""
    import tensorflow as tf

    [cpu] = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)
    from maml_tf.algorithms import algorithms

    strategy = tf.distribute.MirroredStrategy([f"CPU:{k}" for k in range(count)])
    found = {}
    for algorithm in (*algorithms, _STIFF):
        for kind, settings in kinds(iterations).items():
            if algorithm == "maml" or kind == "float64" or (kind == "float32" and algorithm != "implicit_maml"):
                with strategy.scope():
                    found[f"{algorithm}, {kind}"] = [value.tolist() for value in train(algorithm, *settings)]
    pathlib.Path(file).write_text(json.dumps(found))


def processes(iterations):
    """Compares two and four workers with one; returns whether all agree."""
    sound = True
    with tempfile.TemporaryDirectory() as folder:
        for kind, settings in kinds(iterations).items():
            alone, found = None, []
            for count in (1, 2, 4):
                files = [pathlib.Path(folder, f"{kind}{count}_{k}.npz") for k in range(count)]
                call = ["-m", "tests.worker_equality", "--worker", json.dumps(settings)]
                codes = workers.wait(workers.start(count, [[*call, str(file)] for file in files], pathlib.Path(folder)))
                if any(codes):
                    raise RuntimeError(pathlib.Path(folder, "err0").read_text()[-2000:])
                values = [list(np.load(file).values()) for file in files]
                alone = alone or values[0]
                found.append(max(difference(one, alone) for one in values))
            sound &= report(f"workers 1, 2, 4, maml, {kind}", found, _MOST[kind])
    return sound


def report(title, found, most):
    """Prints a row; returns whether all differences are small enough."""
    sound = max(found) <= most
    print(f"{title:<44} {'  '.join(f'{value:7.1e}' for value in found)}{'' if sound else '  WRONG'}", flush=True)
    return sound


def worker(settings, file):
    """Trains as one of several workers and writes the values."""
    from maml_tf import distribute

    with distribute.strategy_from_environment().scope():
        values = train("maml", *json.loads(settings))
    np.savez(file, *values)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=200, help="Iterations of each training.")
    parser.add_argument("--part", choices=["replicas", "processes"], help="One part alone.")
    parser.add_argument("--replicas", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(*options.worker)
    if options.replicas:
        count, file = options.replicas
        return train_on_replicas(int(count), options.iterations, file)
    parts = {"replicas": replicas, "processes": processes}
    chosen = [options.part] if options.part else list(parts)
    return int(not all([parts[part](options.iterations) for part in chosen]))


if __name__ == "__main__":
    sys.exit(main())
