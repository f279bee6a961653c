"""Exports learners for LiteRT and adapts them in a Python that has its interpreter and not TensorFlow.

    python -m venv alone && alone/bin/pip install ai-edge-litert
    python -m tests.litert_alone --python=alone/bin/python --data_dir=<Omniglot's folder>

For each model the table has the file's size; the milliseconds of adapting to a task and the memory of a process that
does it, beside those of the SavedModel in TensorFlow, one thread each; the largest difference of a task's outputs from
those of `learner.adapt`, median and largest over tasks; and how far both are from the same steps in float64. The
command fails where the median is over 1e-5 of the outputs' scale and LiteRT's from float64 is over twice TensorFlow's.
--tasks of the test characters are adapted to with the first model, whose accuracies are compared; the others see fewer,
or random examples where there are no images of theirs. Needs the extra rl for the policy.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import keras
import numpy as np
import tensorflow as tf

import maml_tf
from maml_tf import pretrained
from maml_tf.configuration import from_dict
from maml_tf.experiments import trained
from maml_tf.export import save, save_litert
from maml_tf.few_shot.config import LearnerConfig
from maml_tf.few_shot.learner import build_learner
from maml_tf.learner import MetaLearner
from maml_tf.models import mlp
from maml_tf.tasks import Omniglot
from tests.tensorflow_alone import task_of

TOLERANCE = 1e-5
FEW = 30
NAMES = (
    "omniglot_5way_1shot", "omniglot_20way_1shot", "omniglot_5way_1shot_dense", "omniglot_5way_1shot_context",
    "mini_imagenet_5way_1shot", "sinusoid", "point_navigation",
)  # fmt: skip

COLUMNS = (
    "model", "file, KiB", "SavedModel, KiB", "ms a task", "TensorFlow's", "memory, MB", "TensorFlow's", "tasks",
    "outputs up to", "from learner.adapt", "from float64", "TensorFlow's",
)  # fmt: skip

# Adapts to each task of a file and writes the outputs; prints milliseconds a task and the process' largest memory.
ALONE = """
import importlib.util, json, pathlib, sys, time
import numpy as np
path, tasks, outputs = sys.argv[1:4]
if path.endswith(".tflite"):
    for name in ("maml_tf", "tensorflow", "keras"):
        assert importlib.util.find_spec(name) is None, f"{name} is installed here"
    from ai_edge_litert.interpreter import Interpreter
    interpreter = Interpreter(path, num_threads=1)
    adapt, infer, reset = map(interpreter.get_signature_runner, ("adapt", "infer", "reset"))
    used = interpreter._get_ops_details()
    assert not [one for one in used if "flex" in one["op_name"].lower() or "custom" in one["op_name"].lower()]
else:
    import os
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    served = tf.saved_model.load(path).signatures
    def call(name):
        def called(**values):
            values = {key: tf.constant(value) for key, value in values.items()}
            return {key: value.numpy() for key, value in served[name](**values).items()}
        return called
    adapt, infer, reset = map(call, ("fit_task", "infer", "reset"))
tasks, seconds, found = np.load(tasks), [], {}
for number in range(int(tasks["number"])):
    def of(call):
        prefix = f"{number}.{call}."
        return {key[len(prefix):]: tasks[key] for key in tasks.files if key.startswith(prefix)}
    reset()
    begin = time.perf_counter()
    result = adapt(**of("adapt"))
    seconds.append(time.perf_counter() - begin)
    assert result.get("done", True), result
    for key, value in infer(**of("infer")).items():
        found[f"{number}.{key}"] = value
np.savez(outputs, **found)
later = seconds[1:] or seconds
# Of the process itself: getrusage counts what it was forked from.
[memory] = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(json.dumps([1000 * float(np.median(later)), int(memory) / 1e3]))
"""


class Model:
    """A model to export, with its float64 twin or None, and its tasks: (adapt's arguments, infer's, labels)."""

    def __init__(self, name, data_dir, tasks):
        self.name, self.labels = name, None
        if name == "sinusoid":
            keras.utils.set_random_seed(0)
            self.learner = maml_tf.MAML(mlp((1,)), "mse", 0.01, 10)
            network = mlp((1,), dtype="float64")
            network.set_weights(self.learner.model.get_weights())
            self.exact = maml_tf.MAML(network, "mse", 0.01, 10)
            self.support_examples = 10
            self.tasks = [self._wave(np.random.default_rng(task)) for task in range(tasks)]
            return
        self.learner, self.exact = trained.of_entry(name), None
        if not isinstance(self.learner, MetaLearner):
            self.support_examples = 40
            [arguments, _, x], _ = task_of(self.learner)
            self.tasks = [(arguments, x)] * tasks
            return
        config = pretrained.card(name)["config"]
        self.support_examples = config["ways"] * config["shots"]
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy("float64")
        self.exact = build_learner(from_dict(LearnerConfig, {
            key: value for key, value in config.items() if key in LearnerConfig.__dataclass_fields__
        }))  # fmt: skip
        keras.config.set_dtype_policy(before)
        self.exact.model.set_weights(self.learner.model.get_weights())
        self.exact.inner_steps = self.learner.inner_steps
        if "omniglot" in name:
            pool = Omniglot(data_dir).pool("test")
            sizes = {"ways": config["ways"], "shots": config["shots"], "queries": config["shots"]}
            episodes = pool.episodes(seed=0, meta_batch_size=1, tasks=tasks, **sizes)
            drawn = [tf.nest.map_structure(lambda leaf: np.asarray(leaf)[0], episode) for episode in episodes]
            self.labels = [y for _, y in drawn]
            self.tasks = [self._task(*x) for x, _ in drawn]
        else:
            random, shape = np.random.default_rng(0), (self.support_examples, *self.learner.model.input_shape[1:])
            y = np.repeat(np.arange(config["ways"], dtype=np.int32), config["shots"])
            self.tasks = [
                self._task(random.random(shape, np.float32), y, random.random(shape, np.float32)) for _ in range(tasks)
            ]

    def _wave(self, random):
        x, query = (random.uniform(-5, 5, (number, 1)).astype(np.float32) for number in (10, 50))
        return self._task(x, np.float32(random.uniform(0.1, 5)) * np.sin(x + np.float32(random.uniform(0, 3))), query)

    def _task(self, x, y, query):
        steps = np.int32(self.learner.inner_steps)
        y = y.astype(np.int32) if np.issubdtype(y.dtype, np.integer) else y
        return {"support_x": x, "support_y": y, "steps": steps}, {"x": query}

    def expected(self, learner, dtype=np.float32):
        """Returns the outputs of each task."""
        if not isinstance(learner, MetaLearner):
            [(arguments, x), *_] = self.tasks
            graphs = maml_tf.export.learner_graphs.graphs_of(learner)
            tensors = {key: tf.constant(value) for key, value in arguments.items()}
            adapted = graphs.adapt(graphs.initial(), tensors, tensors.pop("step"))
            mean = graphs.predict(adapted.weights, {key: tf.constant(value) for key, value in x.items()})["mean"]
            return [mean.numpy()] * len(self.tasks)

        def cast(value):
            return value.astype(dtype) if np.issubdtype(value.dtype, np.floating) else value

        outputs = []
        for arguments, query in self.tasks:
            support_x, support_y = cast(arguments["support_x"]), cast(arguments["support_y"])
            outputs.append(learner.adapt(support_x, support_y, int(arguments["steps"]))(cast(query["x"])).numpy())
        return outputs


def run(python, path, tasks, folder):
    """Returns the outputs of a process of its own, its milliseconds a task and its memory in MB."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    outputs = pathlib.Path(folder, "outputs.npz")
    finished = subprocess.run(
        [python, "-c", ALONE, path, tasks, outputs],
        capture_output=True, text=True, env=environment, cwd=folder, check=False,
    )  # fmt: skip
    if finished.returncode:
        sys.exit(finished.stderr)
    with np.load(outputs) as found:
        kind = "outputs" if "0.outputs" in found.files else "mean"
        values = [found[f"{number}.{kind}"] for number in range(len(found.files)) if f"{number}.{kind}" in found.files]
    return values, *json.loads(finished.stdout.splitlines()[-1])


def differences(found, expected):
    """Returns the largest difference of each task."""
    return [float(np.max(np.abs(one - other))) for one, other in zip(found, expected, strict=True)]


def shown(values):
    return f"{np.median(values):.1e}, {np.max(values):.1e}"


def accuracy(outputs, labels):
    return 100 * float(np.mean([np.mean(np.argmax(one, axis=-1) == y) for one, y in zip(outputs, labels, strict=True)]))


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="of an environment with ai-edge-litert alone")
    parser.add_argument("--data_dir", help="Omniglot's")
    parser.add_argument("--tasks", type=int, default=600, help="of the first model")
    parser.add_argument("--weights", default="float32", help="how the files hold them; the check is of float32 alone")
    parser.add_argument("--models", default=",".join(NAMES))
    options = parser.parse_args(arguments)
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    failed = False
    for name in options.models.split(","):
        tasks = options.tasks if name == options.models.split(",")[0] else 5 if "imagenet" in name else FEW
        model = Model(name, options.data_dir, tasks)
        with tempfile.TemporaryDirectory() as folder:
            lite = save_litert(
                model.learner,
                pathlib.Path(folder, "model.tflite"),
                support_examples=model.support_examples,
                weights=options.weights,
            )
            saved = save(model.learner, pathlib.Path(folder, "saved"))
            given = pathlib.Path(folder, "tasks.npz")
            named = {
                f"{number}.{call}.{key}": value
                for number, task in enumerate(model.tasks)
                for call, values in zip(("adapt", "infer"), task, strict=True)
                for key, value in values.items()
            }
            np.savez(given, number=len(model.tasks), **named)
            found, milliseconds, memory = run(options.python, lite, given, folder)
            _, of_tensorflow, memory_of_tensorflow = run(sys.executable, saved, given, folder)
            sizes = lite.stat().st_size, sum(file.stat().st_size for file in saved.rglob("*") if file.is_file())
        expected = model.expected(model.learner)
        apart, scale = differences(found, expected), max(float(np.max(np.abs(one))) for one in expected)
        row = [
            name, f"{sizes[0] / 1024:.0f}", f"{sizes[1] / 1024:.0f}", f"{milliseconds:.2f}", f"{of_tensorflow:.2f}",
            f"{memory:.0f}", f"{memory_of_tensorflow:.0f}", str(tasks), f"{scale:.1f}", shown(apart),
        ]  # fmt: skip
        errors = None
        if model.exact is not None:
            model.tasks = model.tasks[:FEW]
            exact = model.expected(model.exact, np.float64)
            errors = [differences(outputs[: len(exact)], exact) for outputs in (found, expected)]
            row += map(shown, errors)
        print(f"| {' | '.join(row)} |", flush=True)
        if model.labels is not None:
            of_both = accuracy(found, model.labels), accuracy(expected, model.labels)
            print(f"{name}: accuracy {of_both[0]:.2f} % of LiteRT, {of_both[1]:.2f} % of TensorFlow", file=sys.stderr)
            failed |= options.weights == "float32" and of_both[0] != of_both[1]
        if options.weights == "float32":
            near = np.median(apart) <= TOLERANCE * max(scale, 1.0)
            failed |= not near and (errors is None or np.median(errors[0]) > 2 * np.median(errors[1]))
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
