"""Learners as SavedModels: equal to the learner, without maml_tf and Keras, and unharmed by what they refuse."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

import maml_tf
from maml_tf.core.keras_interface import seed_variables
from maml_tf.export import save

CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
STEPS = 7

# In a Python in which maml_tf and Keras cannot be imported.
ALONE = """
import json, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
sys.modules.update(maml_tf=None, keras=None)
import numpy as np
import tensorflow as tf
task = {name: tf.constant(value) for name, value in np.load(sys.argv[2]).items()}
served = tf.saved_model.load(sys.argv[1])
adapted = served.adapt(task["support_x"], task["support_y"], task["steps"])
result = [served.predict(adapted["weights"], task["x"])["outputs"]]
served.fit_task(task["support_x"], task["support_y"], task["steps"])
result.append(served.infer(task["x"])["outputs"])
tasks = {"support_x": task["support_x"], "support_y": task["support_y"], "query_x": task["x"]}
tasks = {name: value[tf.newaxis] for name, value in tasks.items()}
result.append(served.signatures["adapt_and_predict"](**tasks)["outputs"][0])
print(json.dumps([value.numpy().tolist() for value in result]))
"""


def regressor():
    layers = [keras.layers.Dense(6, "tanh", name="body"), keras.layers.Dense(1, name="head")]
    return keras.Sequential([keras.Input((2,)), *layers])


def classifier(norm):
    layers = [keras.layers.Dense(6), norm, keras.layers.Dropout(0.2, seed=1)]
    return keras.Sequential([keras.Input((2,)), *layers, keras.layers.Dense(3)])


def per_step():
    random = keras.initializers.RandomUniform(0.5, 2.0, seed=1)
    return maml_tf.layers.PerStepBatchNormalization(steps=9, gamma_initializer=random)


def lora_learner():
    model = maml_tf.lora(regressor(), rank=2, pattern="body")
    return maml_tf.MAML(model, "mse", 0.1, adapted=maml_tf.matching("lora"), unroll=True)


LEARNERS = {
    "everything": lambda: maml_tf.MAML(regressor(), "mse", maml_tf.LearnedStepSizes(0.1), STEPS),
    "head": lambda: maml_tf.MAML(classifier(per_step()), CROSS_ENTROPY, 0.1, STEPS, adapted=maml_tf.head),
    "support_statistics": lambda: maml_tf.MAML(
        classifier(maml_tf.layers.BatchNormalization(momentum=0.0)), CROSS_ENTROPY, 0.1, STEPS
    ),
    "lora": lora_learner,
}


def draw(learner, shots=4, queries=3):
    random = np.random.default_rng(0)
    x = random.normal(size=(shots, 2)).astype(np.float32)
    y = (np.arange(shots) % 3).astype(np.int32) if learner.model.output_shape[-1] == 3 else x[:, :1] ** 2
    return x, y, random.normal(size=(queries, 2)).astype(np.float32)


class SavedModelTest(parameterized.TestCase):
    def path(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return pathlib.Path(folder.name, "exported")

    def served(self, learner, **options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return tf.saved_model.load(str(save(learner, self.path(), **options)))

    @parameterized.parameters("head", "support_statistics", "lora")
    def test_equals_the_learner(self, name):
        learner = LEARNERS[name]()
        served = self.served(learner)
        before = served.get_weights()["weights"]
        for shots in (3, 5):
            x, y, query_x = draw(learner, shots, queries=shots + 1)
            expected = learner.adapt(x, y, STEPS)(query_x)
            adapted = served.adapt(x, y, tf.constant(STEPS))
            same(served.predict(adapted["weights"], query_x)["outputs"], expected)
            same(served.signatures["fit_task"](support_x=tf.constant(x), support_y=tf.constant(y),
                                               steps=tf.constant(STEPS))["losses"], adapted["losses"])  # fmt: skip
            same(served.infer(query_x)["outputs"], expected)
            same(served.get_weights()["weights"], adapted["weights"])
            tasks = x[np.newaxis], y[np.newaxis], query_x[np.newaxis]
            same(served.adapt_and_predict(*tasks)["outputs"], learner.predict(tasks, verbose=0))
        served.reset()
        same(served.get_weights()["weights"], before, atol=0)
        same(served.infer(query_x)["outputs"], learner.model(query_x))
        served.set_weights(adapted["weights"])
        same(served.infer(query_x)["outputs"], expected)
        functions = learner.task_functions
        kept = [*functions.adapted(functions.parameters()).values(), *functions.initial_state().model]
        seeds = [variable.value for variable in seed_variables(learner.model)]
        self.assertLen(before, sum(int(tf.size(value)) for value in kept) - sum(int(tf.size(seed)) for seed in seeds))

    def test_runs_with_tensorflow_alone(self):
        learner = LEARNERS["everything"]()
        x, y, query_x = draw(learner)
        path = save(learner, self.path())
        np.savez(path.parent / "task.npz", support_x=x, support_y=y, x=query_x, steps=np.int32(STEPS))
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        finished = subprocess.run(
            [sys.executable, "-c", ALONE, path, path.parent / "task.npz"],
            capture_output=True, text=True, env=environment, cwd=path.parent, check=False,
        )  # fmt: skip
        self.assertEqual(finished.returncode, 0, finished.stderr)
        expected = learner.adapt(x, y)(query_x)
        for result in json.loads(finished.stdout):
            same(np.array(result, np.float32), expected)

    def test_what_is_refused_changes_nothing(self):
        learner = LEARNERS["head"]()
        served = self.served(learner)
        x, y, query_x = draw(learner)
        fit = served.signatures["fit_task"]
        task = {"support_x": x, "support_y": y, "steps": np.int32(2)}
        fit(**{name: tf.constant(value) for name, value in task.items()})
        before = served.get_weights()["weights"]
        for wrong, said in (
            ({"support_y": y + 1}, "whole-number labels"),
            ({"support_y": y[:3]}, "as many targets as inputs"),
            ({"support_x": x[:0], "support_y": y[:0]}, "as many targets as inputs"),
            ({"support_x": np.concatenate([x, x], axis=1)}, r"\[4,4\] is not compatible with expected shape \[\?,2\]"),
            ({"support_x": x * np.nan}, "finite losses"),
            ({"support_x": x * 1e30, "support_y": y}, "finite losses"),
            ({"steps": np.int32(-1)}, "steps of at least 0"),
        ):
            with self.assertRaisesRegex(tf.errors.InvalidArgumentError, said):
                fit(**{name: tf.constant(value) for name, value in {**task, **wrong}.items()})
        with self.assertRaisesRegex(tf.errors.InvalidArgumentError, "finite weights"):
            served.set_weights(before * np.nan)
        with self.assertRaises(TypeError):
            served.set_weights(before[:-1])
        same(served.get_weights()["weights"], before, atol=0)
        self.assertTrue(np.all(np.isnan(served.predict(before * np.nan, query_x)["outputs"])))
        query_x[1, 0] = np.nan
        self.assertEqual(np.any(np.isnan(served.infer(query_x)["outputs"]), axis=1).tolist(), [False, True, False])

    def test_inputs_and_outputs_of_several_have_names(self):
        inputs = {name: keras.Input((2,), name=name) for name in ("left", "right")}
        joined = keras.ops.concatenate(list(inputs.values()), axis=-1)
        outputs = [keras.layers.Dense(1)(joined), keras.layers.Dense(2)(joined)]
        learner = maml_tf.MAML(keras.Model(inputs, outputs), ["mse", "mse"], 0.1)
        with self.assertRaisesRegex(ValueError, "has seen data"):
            save(learner, self.path())
        x = {name: np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32) for name in inputs}
        y = [x["left"][:, :1], x["right"]]
        specs = tf.nest.map_structure(lambda leaf: tf.TensorSpec([None, *leaf.shape[1:]], leaf.dtype), (x, y, x))
        served = self.served(learner, specs=specs, signatures=["adapt_and_predict", "fit_task", "infer"])
        self.assertCountEqual(served.signatures, ["adapt_and_predict", "fit_task", "infer"])
        task = {"support_x_left": x["left"], "support_x_right": x["right"], "support_y_0": y[0], "support_y_1": y[1]}
        task = {name: tf.constant(value) for name, value in task.items()}
        served.signatures["fit_task"](**task, steps=tf.constant(1))
        found = served.signatures["infer"](x_left=tf.constant(x["left"]), x_right=tf.constant(x["right"]))
        expected = learner.adapt(x, y)(x)
        same([found["outputs_0"], found["outputs_1"]], list(expected))

    def test_what_cannot_be_saved_is_one_error(self):
        learner = LEARNERS["everything"]()
        with self.assertRaisesRegex(ValueError, "Expected signature to be one of .* Received: signature='adept'"):
            save(learner, self.path(), signatures=["adept"])
        with self.assertRaisesRegex(TypeError, "Expected a maml_tf.MetaLearner"):
            save(regressor(), self.path())
        with self.assertRaisesRegex(ValueError, r"Expected support_x of shape \[tasks, examples, 2\]"):
            save(
                learner,
                self.path(),
                specs=(tf.TensorSpec([None, 3]), tf.TensorSpec([None, 1]), tf.TensorSpec([None, 3])),
            )


def same(result, expected, atol=1e-6):
    for one, other in zip(tf.nest.flatten(result), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5 if atol else 0, atol=atol)


if __name__ == "__main__":
    absltest.main()
