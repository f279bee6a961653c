"""Exports every published entry and adapts it in a Python that has TensorFlow and not maml_tf.

    python -m venv alone && alone/bin/pip install tensorflow
    python -m tests.tensorflow_alone --python=alone/bin/python

Prints, for each entry, the size of the SavedModel and the largest difference of its outputs from those of the learner
that was exported, after steps on random examples. Fails where one is over 1e-5 of the outputs' scale. Needs the extra
rl.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import tensorflow as tf

from maml_tf import pretrained
from maml_tf.experiments import trained
from maml_tf.export import save
from maml_tf.learner import MetaLearner
from maml_tf.rl.objectives import Experience

STEPS, TOLERANCE = 3, 1e-5
ALONE = """
import importlib.util, json, os, pathlib, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
assert importlib.util.find_spec("maml_tf") is None, "maml_tf is installed here"
sys.modules["keras"] = None
import numpy as np
import tensorflow as tf
for folder in map(pathlib.Path, sys.argv[1:]):
    served = tf.saved_model.load(str(folder)).signatures
    task = {name: tf.constant(value) for name, value in np.load(folder / "task.npz").items()}
    taken = [{name.partition(".")[2]: value for name, value in task.items() if name.startswith(f"{call}.")}
             for call in ("0", "1", "2")]
    for arguments in taken[:2]:
        if arguments:
            served["fit_task"](**arguments)
    outputs = served["infer"](**taken[2])
    difference = max(float(np.max(np.abs(value - task[name]))) for name, value in outputs.items())
    scale = max(float(np.max(np.abs(task[name]))) for name in outputs)
    print(json.dumps([difference, scale]))
print(json.dumps([tf.__version__]))
"""


def task_of(adapting):
    """Makes the arguments of calls `0.` and `1.` of fit_task and `2.` of infer, and the outputs expected."""
    random = np.random.default_rng(0)

    def normal(*shape):
        return random.normal(size=shape).astype(np.float32)

    if isinstance(adapting, MetaLearner):
        _, *shape = adapting.model.input_shape
        ways = adapting.model.output_shape[-1]
        x, query = random.random((ways, *shape), np.float32), normal(7, *shape)
        y = np.arange(ways, dtype=np.int32) if ways > 1 else normal(1, 1)  # Of sinusoids a point.
        support = {"support_x": x, "support_y": y, "steps": np.int32(STEPS)}
        return [support, {}, {"x": query}], {"outputs": adapting.adapt(x, y, STEPS)(query)}
    policy, params, calls = adapting.policy, adapting.policy.parameters(), []
    size, actions = policy.policy.network.input_shape[-1], policy.policy.network.output_shape[-1]
    for step, rows in enumerate((40, 50)):
        observations = normal(rows, size)
        sampling = policy(params, observations)
        drawn = (sampling.mean + tf.exp(sampling.log_std) * normal(rows, actions)).numpy()
        given = {"observations": observations, "actions": drawn, "advantages": normal(rows)}
        share = tf.fill([rows], 1 / rows)
        batch = Experience(*map(tf.constant, given.values()), share, sampling.mean, sampling.log_std)
        params = adapting.step_of_task(params, batch, step).params
        calls.append({**given, "step": np.int32(step)})
    observations = normal(7, size)
    gaussian = policy(params, observations)
    return [*calls, {"observations": observations}], {"mean": gaussian.mean, "log_std": gaussian.log_std}


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="of an environment with TensorFlow alone")
    options = parser.parse_args(arguments)
    names = pretrained.available()
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name in names:
            learner = trained.of_entry(name)
            path = save(learner, pathlib.Path(folder, name))
            calls, expected = task_of(learner)
            given = {f"{number}.{key}": value for number, call in enumerate(calls) for key, value in call.items()}
            np.savez(path / "task.npz", **given, **{key: np.asarray(value) for key, value in expected.items()})
            paths.append(path)
        sizes = [sum(file.stat().st_size for file in path.rglob("*") if file.name != "task.npz") for path in paths]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        finished = subprocess.run(
            [options.python, "-c", ALONE, *paths],
            capture_output=True, text=True, env=environment, cwd=folder, check=False,
        )  # fmt: skip
    if finished.returncode:
        sys.exit(finished.stderr)
    *rows, (version,) = map(json.loads, finished.stdout.splitlines())
    print(f"TensorFlow {version}, without maml_tf and Keras\n\n| entry | SavedModel, MB | difference | of scale |")
    print("|---|---|---|---|")
    for name, size, (difference, scale) in zip(names, sizes, rows, strict=True):
        print(f"| {name} | {size / 1e6:.1f} | {difference:.1e} | {scale:.1e} |")
    return int(not all(difference <= TOLERANCE * max(scale, 1.0) for difference, scale in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
