"""The meta-gradient of tasks shared out among replicas is that of all tasks; `fit` under a strategy is `fit`."""

import json
import subprocess
import sys

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest

import maml_tf
from tests.support.small_learner import make_data
from tests.support.source_tree import PROJECT

# In a process of its own: a device can be divided only before TensorFlow's first operation.
_ON_TWO_REPLICAS = """
import json, sys
import keras
import numpy as np
import tensorflow as tf

[cpu] = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

import maml_tf
from maml_tf.models import mlp
from tests.support.small_learner import make_data

data = make_data(tasks=4)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def build():
    keras.utils.set_random_seed(0)
    learner = maml_tf.MAML(mlp((2,), (5,), activation="tanh"), "mse", maml_tf.LearnedStepSizes(0.1), inner_steps=2)
    learner.compile(keras.optimizers.SGD(0.1))
    return learner


def gradients_on_replicas(learner):
    def shares(leaf):
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(np.split(leaf, 2)[context.replica_id_in_sync_group])
        )

    @tf.function
    def run(*leaves):
        results = strategy.run(lambda *leaves: learner.meta_gradients(tf.nest.pack_sequence_as(data, leaves)), leaves)
        return tf.nest.map_structure(lambda result: strategy.reduce("MEAN", result, axis=None), results)

    return run(*(shares(leaf) for leaf in tf.nest.flatten(data)))


single = build()
with strategy.scope():
    shared = build()
found = {}
for name, learner, results in (
    ("single", single, single.meta_gradients(data)),
    ("shared", shared, gradients_on_replicas(shared)),
):
    loss, gradients = results
    history = learner.fit(*data, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]
    found[name] = {
        "gradients": [np.asarray(value).tolist() for value in [loss, *gradients]],
        "losses": history,
        "weights": [weight.tolist() for weight in learner.get_weights()],
        "jit_compile": learner.jit_compile,
    }


def build_with_state():
    keras.utils.set_random_seed(0)
    norm = maml_tf.layers.BatchNormalization(momentum=0.5)
    layers = keras.layers.Dense(5, use_bias=False), norm, keras.layers.Dropout(0.5, seed=1), keras.layers.Dense(1)
    model = keras.Sequential([keras.Input((2,)), *layers])
    learner = maml_tf.MAML(model, "mse", 0.1)
    # Clipped: the mean over all tasks must be, not each replica's part of it.
    learner.compile(keras.optimizers.Adam(0.1, global_clipnorm=0.3), jit_compile=False, metrics=["mae"])
    return learner


# Shares of 2 and 1 tasks, of 1 and none, and of none at all.
data = make_data(tasks=8)
starts, counts = tf.constant([0, 3, 4, 7, 7]), tf.constant([3, 1, 3, 0, 1])
uneven = tf.data.Dataset.from_tensor_slices((starts, counts)).map(
    lambda start, count: tf.nest.map_structure(lambda leaf: tf.constant(leaf)[start : start + count], data)
)
single = build_with_state()
with strategy.scope():
    shared = build_with_state()
for name, learner in (("single", single), ("shared", shared)):
    history = learner.fit(uneven, epochs=2, shuffle=False, verbose=0).history
    outputs = learner.predict(uneven.map(lambda inputs, targets: (inputs,)), verbose=0)
    values = [variable.numpy() for variable in learner.optimizer.variables]
    found[name]["uneven"] = {
        "history": [history["loss"], history["mae"]],
        "evaluate": learner.evaluate(uneven, verbose=0),
        "predict": outputs.tolist(),
        "weights": [weight.tolist() for weight in learner.get_weights()],
        "optimizer": [value.tolist() for value in values],
    }
    wrong = make_data(tasks=4)
    wrong[0][1][3, 0] = np.nan
    before = [v.numpy() for v in [*learner.model.variables, *learner.optimizer.variables]]
    try:
        learner.fit(*wrong, batch_size=4, shuffle=False, verbose=0)
    except ValueError as error:
        found[name]["error"] = str(error)
    after = [v.numpy() for v in [*learner.model.variables, *learner.optimizer.variables]]
    found[name]["kept"] = all(np.array_equal(a, b) for a, b in zip(before, after))
sys.stdout.write(json.dumps(found))
"""


class OneReplicaTest(absltest.TestCase):
    def test_a_strategy_of_one_device_trains_as_none_does(self):
        weights = []
        for strategy in (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0"])):
            keras.utils.set_random_seed(0)
            with strategy.scope():
                model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "tanh"), keras.layers.Dense(1)])
                learner = maml_tf.MAML(model, "mse", 0.1)
                learner.compile(keras.optimizers.Adam(0.1, global_clipnorm=0.3), jit_compile=False)
                learner.fit(*make_data(tasks=4), batch_size=2, shuffle=False, verbose=0)
            weights.append(learner.get_weights())
        for one, other in zip(*weights, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)


class MirroredStrategyTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        finished = subprocess.run(
            [sys.executable, "-c", _ON_TWO_REPLICAS], cwd=PROJECT, capture_output=True, text=True, check=False
        )
        if finished.returncode:
            raise RuntimeError(finished.stderr)
        cls.found = json.loads(finished.stdout)

    def assert_same(self, key):
        for single, shared in zip(self.found["single"][key], self.found["shared"][key], strict=True):
            np.testing.assert_allclose(shared, single, rtol=1e-5, atol=1e-7)

    def test_the_meta_gradient_is_callable_on_each_replica(self):
        self.assert_same("gradients")

    def test_fit_trains_as_on_one_replica(self):
        self.assert_same("losses")
        self.assert_same("weights")

    def test_uneven_shares_and_empty_ones_give_what_one_replica_gives(self):
        single, shared = (self.found[name]["uneven"] for name in ("single", "shared"))
        for key in ("history", "evaluate", "predict", "weights", "optimizer"):
            for one, other in zip(single[key], shared[key], strict=True):
                np.testing.assert_allclose(other, one, rtol=2e-4, atol=1e-6, err_msg=key)
        # Of five elements one is without tasks, which the optimizer does not count.
        self.assertEqual(single["optimizer"][0], 8)

    def test_a_fault_on_one_replica_is_an_error_and_changes_nothing_on_either(self):
        for name in ("single", "shared"):
            self.assertIn("Expected finite losses", self.found[name]["error"])
            self.assertIn("[3, 0]", self.found[name]["error"])
            self.assertTrue(self.found[name]["kept"], name)

    def test_xla_is_left_to_one_replica(self):
        """It cannot reach the variables of another replica."""
        self.assertTrue(self.found["single"]["jit_compile"])
        self.assertFalse(self.found["shared"]["jit_compile"])


if __name__ == "__main__":
    absltest.main()
