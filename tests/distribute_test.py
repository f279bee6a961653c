"""Tests of maml_tf.distribute, and of training by two processes of this machine."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf import distribute
from maml_tf.tasks import Sinusoids
from tests.support import workers
from tests.support.source_tree import PROJECT

STRIPES = PROJECT / "docs" / "contributing" / "files" / "stripes.py"
# One worker alone, and each of two: 25 iterations of 5 tasks, in float64, and 12 in float32 in the order of tasks.
_TRAINING = """
import json, sys
from maml_tf import distribute
strategy = distribute.strategy_from_environment()
import keras, numpy as np, tensorflow as tf
import maml_tf

def data(k, n, dtype):
    elements = []
    for index in range(25):
        random = np.random.default_rng(index)
        x = random.normal(size=[2, 5, 6, 1])
        y = random.uniform(0.1, 5.0, [5, 1, 1]) * np.sin(x)
        elements.append(((x[0], y[0], x[1]), y[1]))
    elements = tf.nest.map_structure(lambda *leaves: np.stack(leaves).astype(dtype), *elements)
    begin, end = distribute.bounds(5, (k, n))
    whole = tf.data.Dataset.from_tensor_slices(elements)
    return whole.map(lambda *tasks: tf.nest.map_structure(lambda leaf: leaf[begin:end], tasks))

def train(dtype, in_task_order, iterations):
    keras.backend.set_floatx(dtype)
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Dense(8, "tanh"), maml_tf.layers.BatchNormalization(momentum=0.9), keras.layers.Dropout(0.2),
        keras.layers.Dense(1),
    ]
    model = keras.Sequential([keras.Input((1,)), *layers])
    learner = maml_tf.MAML(
        model, "mse", maml_tf.LearnedStepSizes(0.01), inner_steps=2, task_map="mapped", in_task_order=in_task_order
    )
    learner.compile(keras.optimizers.Adam(0.01, global_clipnorm=0.5), metrics=["mae"], jit_compile=False)
    tasks = distribute.shared(lambda k, n: data(k, n, dtype))
    history = learner.fit(tasks, steps_per_epoch=iterations, shuffle=False, verbose=0).history
    variables = [*learner.variables, *learner.optimizer.variables]
    return history, [variable.numpy().astype("float64").tolist() for variable in variables]

with strategy.scope():
    found = {"float64": train("float64", False, 25), "float32": train("float32", True, 12)}
    worker = distribute.this_worker()
    arrays = [np.arange(3.0) * -0.0, np.array([[1, 2]], np.int64), np.array(True)]
    received = distribute.from_chief(arrays if worker.is_chief else [])
    found["received"] = [[array.dtype.name, array.tolist(), np.signbit(array).tolist()] for array in received]
    found["agreed"] = distribute.agreed(3 + worker.index)
    try:
        distribute.require_same({"seed": 1, "ways": 5 + worker.index})
    except ValueError as error:
        found["error"] = str(error)
    distribute.require_same({"seed": 1})
json.dump(found, open(sys.argv[1], "w"))
"""


class StrategyTest(parameterized.TestCase):
    def test_one_worker_needs_no_strategy(self):
        alone = json.dumps({"cluster": {"worker": ["localhost:1"]}, "task": {"type": "worker", "index": 0}})
        for environment in ({}, {"TF_CONFIG": alone}):
            strategy = distribute.strategy_from_environment(environment)
            self.assertEqual(strategy.num_replicas_in_sync, 1)
            with strategy.scope():
                self.assertEqual(distribute.this_worker(), (0, 1))

    @parameterized.parameters(
        "nonsense",
        "[]",
        '{"cluster": {"worker": ["a:1", "b:1"]}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
        '{"cluster": {"worker": ["a:1", "b:1"], "ps": ["c:1"]}, "task": {"type": "worker", "index": 0}}',
    )
    def test_what_is_no_cluster_is_refused(self, text):
        with self.assertRaisesRegex(ValueError, "Expected TF_CONFIG as"):
            distribute.strategy_from_environment({"TF_CONFIG": text})


class ShareTest(parameterized.TestCase):
    @parameterized.parameters((8, 2), (5, 3), (2, 4))
    def test_shares_are_the_whole_in_order(self, tasks, count):
        whole = Sinusoids().dataset(1, tasks=tasks, shots=3, queries=2, first=4)
        shares = [
            Sinusoids().dataset(1, tasks=tasks, shots=3, queries=2, first=4, share=(k, count)) for k in range(count)
        ]
        for element, *parts in zip(whole.take(2), *(share.take(2) for share in shares), strict=True):
            together = tf.nest.map_structure(lambda *leaves: tf.concat(leaves, axis=0), *parts)
            tf.nest.map_structure(np.testing.assert_array_equal, element, together)

    def test_a_share_that_is_not_there_is_refused(self):
        with self.assertRaisesRegex(ValueError, "k below n"):
            Sinusoids().dataset(1, tasks=4, shots=3, queries=2, share=(2, 2))


class TwoWorkersTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = pathlib.Path(absltest.get_default_test_tmpdir(), "two_workers")
        folder.mkdir(parents=True, exist_ok=True)
        names = ["alone", "chief", "other"]
        files = [folder / f"{name}.json" for name in names]
        for count, written in ((1, files[:1]), (2, files[1:])):
            codes = workers.wait(workers.start(count, [["-c", _TRAINING, str(file)] for file in written], folder))
            if any(codes):
                raise RuntimeError("\n".join((folder / f"err{k}").read_text()[-2000:] for k in range(count)))
        cls.found = {name: json.loads(file.read_text()) for name, file in zip(names, files, strict=True)}

    def test_two_train_as_one_does(self):
        (alone, weights), (chief, _) = (self.found[name]["float64"] for name in ("alone", "chief"))
        for name in ("loss", "mae"):
            np.testing.assert_allclose(chief[name], alone[name], rtol=1e-10)
        for name in ("chief", "other"):
            for one, other in zip(weights, self.found[name]["float64"][1], strict=True):
                np.testing.assert_allclose(other, one, rtol=1e-10, atol=1e-12)

    def test_in_the_order_of_tasks_they_have_the_same_bits(self):
        weights = self.found["alone"]["float32"][1]
        for name in ("chief", "other"):
            self.assertEqual(self.found[name]["float32"][1], weights)

    def test_arrays_of_the_chief_arrive_bit_for_bit(self):
        for name in ("chief", "other"):
            self.assertEqual(self.found[name]["received"], self.found["alone"]["received"])

    def test_they_agree_on_the_greatest_number(self):
        self.assertEqual([self.found[name]["agreed"] for name in ("alone", "chief", "other")], [3, 4, 4])

    def test_a_worker_with_another_setting_is_named_on_both(self):
        self.assertNotIn("error", self.found["alone"])
        for name in ("chief", "other"):
            self.assertIn("ways=6 on worker 1 and 5 on worker 0", self.found[name]["error"])


class BinariesTest(absltest.TestCase):
    def test_two_workers_write_what_one_does(self):
        self.assert_equal_records(
            "few_shot", "training.json", "validation", f"--register={STRIPES}", "--dataset=stripes"
        )

    @pytest.mark.thorough
    def test_two_workers_write_what_one_does_on_sinusoids(self):
        settings = ("--iterations=4", "--validate_every=2", "--evaluation_shots=5", "--test_tasks=4")
        self.assert_equal_records("sinusoid", "results.json", "rows", *settings)

    def assert_equal_records(self, name, file, key, *arguments):
        folder = pathlib.Path(self.create_tempdir().full_path)
        found = []
        for count in (1, 2):
            logdir = folder / str(count)
            call = [str(PROJECT / "bin" / f"{name}.py"), f"--logdir={logdir}", "--in_task_order", *arguments]
            codes = workers.wait(workers.start(count, [call] * count, folder))
            self.assertEqual(codes, [0] * count, (folder / "err0").read_text()[-2000:])
            [written] = logdir.rglob(file)
            found.append(json.loads(written.read_text())[key])
        self.assertNotEmpty(found[0])
        self.assertEqual(found[1], found[0])


if __name__ == "__main__":
    absltest.main()
