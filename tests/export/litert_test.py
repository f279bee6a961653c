"""Learners as .tflite files: equal to the learner in TensorFlow's interpreter, and unharmed by what they refuse."""

import pathlib
import tempfile
import warnings
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

import maml_tf
from maml_tf.export import builtin_operations, save_litert

CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
LAYERS = keras.layers


def images(*layers, **arguments):
    model = keras.Sequential([keras.Input((7, 6, 2)), *layers, LAYERS.Flatten(), LAYERS.Dense(3, name="head")])
    return maml_tf.MAML(model, CROSS_ENTROPY, arguments.pop("rate", 0.3), **arguments)


LEARNERS = {
    "convolutions": lambda: images(
        LAYERS.Conv2D(4, 3, 2, padding="same", name="one"),
        maml_tf.layers.BatchNormalization(momentum=0.0),
        LAYERS.ReLU(),
        LAYERS.MaxPooling2D(2, padding="valid"),
        rate=maml_tf.LearnedStepSizes(0.3, "weight"),
    ),
    "selection": lambda: images(
        LAYERS.Dense(4, "tanh", dtype="float64"), rate=maml_tf.Adam(0.1), adapted=maml_tf.head
    ),
    # The converter makes other operations of products of two variables.
    "low_rank": lambda: maml_tf.MAML(
        maml_tf.lora(images(LAYERS.Flatten(), LAYERS.Dense(4, "relu", name="body")).model, 2, "body"),
        CROSS_ENTROPY, 0.3, adapted=maml_tf.matching("lora"),
    ),
}  # fmt: skip


def draw(support=6, queries=4, seed=0):
    random = np.random.default_rng(seed)
    x, query = (random.normal(size=(number, 7, 6, 2)).astype(np.float32) for number in (support, queries))
    return x, np.arange(support, dtype=np.int32) % 3, query


class LiteRTTest(parameterized.TestCase):
    def path(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return pathlib.Path(folder.name, "exported", "model.tflite")

    def signatures(self, path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            interpreter = tf.lite.Interpreter(str(path))
        return {name: interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()}

    @parameterized.parameters(*LEARNERS)
    def test_equals_the_learner(self, name):
        learner = LEARNERS[name]()
        lite = self.signatures(save_litert(learner, self.path(), support_examples=6))
        self.assertCountEqual(lite, ["adapt", "infer", "reset", "get_weights", "set_weights"])
        before = lite["get_weights"]()["weights"]
        for steps, queries in ((4, 5), (1, 2), (0, 3)):
            x, y, query = draw(queries=queries, seed=steps)
            expected = learner.adapt(x, y, steps)
            done, losses = lite["adapt"](support_x=x, support_y=y, steps=np.int32(steps)).values()
            self.assertTrue(done)
            self.assertLen(losses, max(steps, 1))
            of_first = CROSS_ENTROPY(y, learner.model(x, training=True)) if steps else np.nan
            same(losses[0], of_first)
            same(lite["infer"](x=query)["outputs"], expected(query))
        lite["adapt"](support_x=x, support_y=y, steps=np.int32(3))
        adapted, outputs = lite["get_weights"]()["weights"], lite["infer"](x=query)["outputs"]
        self.assertTrue(lite["reset"]()["done"])
        same(lite["get_weights"]()["weights"], before, atol=0)
        self.assertTrue(lite["set_weights"](weights=adapted)["done"])
        same(lite["infer"](x=query)["outputs"], outputs, atol=0)

    def test_what_is_refused_changes_nothing(self):
        learner = LEARNERS["convolutions"]()
        lite = self.signatures(save_litert(learner, self.path(), support_examples=6))
        x, y, query = draw()
        task = {"support_x": x, "support_y": y, "steps": np.int32(2)}
        self.assertTrue(lite["adapt"](**task)["done"])
        before = lite["get_weights"]()["weights"]
        nan = np.where(np.arange(6)[:, None, None, None] == 2, np.float32("nan"), x)
        for wrong in (
            {"support_y": y + 1},
            {"support_y": y - 1},
            {"support_x": nan},
            {"support_x": x.reshape(6, 6, 7, 2)},
            {"steps": np.int32(-1)},
            {"steps": np.int32(101)},
        ):
            self.assertFalse(lite["adapt"](**{**task, **wrong})["done"], wrong)
        self.assertFalse(lite["set_weights"](weights=before * np.float32("nan"))["done"])
        for signature, wrong in (
            ("adapt", {**task, "support_x": x[:5]}),
            ("adapt", {**task, "support_x": x[:5], "support_y": y[:5]}),
            ("infer", {"x": query[:, :5]}),
            ("set_weights", {"weights": before[1:]}),
        ):
            with self.assertRaisesRegex(RuntimeError, "failed to prepare"):
                lite[signature](**wrong)
        same(lite["get_weights"]()["weights"], before, atol=0)
        self.assertTrue(np.all(np.isnan(lite["infer"](x=query.reshape(4, 6, 7, 2))["outputs"])))
        query[1, 0] = np.nan
        of_nan = np.any(np.isnan(lite["infer"](x=query)["outputs"]), axis=1)
        self.assertEqual(of_nan.tolist(), [False, True, False, False])

    def test_weights_of_fewer_bits_make_a_smaller_file(self):
        learner = images(LAYERS.Flatten(), LAYERS.Dense(60, "tanh", name="body"), adapted=maml_tf.head)
        x, y, query = draw()
        expected, sizes = learner.adapt(x, y, 3)(query), {}
        for weights, atol in (("float32", 1e-5), ("float16", 2e-3), ("int8", 0.1)):
            path = save_litert(learner, self.path(), support_examples=6, weights=weights)
            sizes[weights], lite = path.stat().st_size, self.signatures(path)
            lite["adapt"](support_x=x, support_y=y, steps=np.int32(3))
            outputs = lite["infer"](x=query)["outputs"]
            same(outputs, expected, atol=atol)
            if weights != "float32":
                self.assertGreater(np.max(np.abs(outputs - expected)), 1e-5)
        kernel = 84 * 60
        self.assertBetween(sizes["float32"] - sizes["float16"], 1.5 * kernel, 2.5 * kernel)
        self.assertBetween(sizes["float32"] - sizes["int8"], 2 * kernel, 3 * kernel)
        with self.assertRaisesRegex(ValueError, "Expected weights that do not adapt"):
            save_litert(LEARNERS["convolutions"](), self.path(), support_examples=6, weights="int8")
        with self.assertRaisesRegex(ValueError, "Expected weights to be one of .* Received: weights='int4'"):
            save_litert(learner, self.path(), support_examples=6, weights="int4")

    @parameterized.parameters(
        (lambda: images(LAYERS.Dropout(0.5, name="drop")), "uint64 in the layer 'drop'"),
        (lambda: images(LAYERS.Conv2D(2, 3), LAYERS.MaxPooling2D(3, 1, name="pool")), "overlap .* the layer 'pool'"),
        (lambda: images(LAYERS.DepthwiseConv2D(3, name="deep")), "FilterGrad|BackpropFilter.* in the layer 'deep'"),
        (lambda: images(LAYERS.Reshape((14, 6)), LAYERS.LSTM(2, name="recurrent")), "in the layer 'recurrent'"),
        (lambda: images(LAYERS.Dense(2, dtype="mixed_bfloat16", name="half")), "bfloat16 in the layer 'sequential"),
    )
    def test_what_cannot_be_exported_names_the_layer(self, make, said):
        path = self.path()
        with self.assertRaisesRegex(ValueError, f"LiteRT's interpreter.*Received: .*{said}"):
            save_litert(make(), path, support_examples=3)
        self.assertFalse(path.exists())

    def test_a_file_that_would_compute_something_else_is_not_written(self):
        learner, path = images(LAYERS.Dense(4, "tanh")), self.path()

        def wrong(operation, outputs, gradient):
            return gradient

        with mock.patch.dict(builtin_operations._replacements, {"TanhGrad": wrong}):
            with self.assertRaisesRegex(ValueError, "Received: after one step on random examples"):
                save_litert(learner, path, support_examples=3)
        self.assertFalse(path.exists())
        self.assertFalse(tf.config.functions_run_eagerly())
        with self.assertRaisesRegex(ValueError, "Expected support_examples to be a whole number of at least 1"):
            save_litert(learner, path, support_examples=0)
        with self.assertRaisesRegex(TypeError, "Expected a maml_tf.MetaLearner"):
            save_litert(learner.model, path, support_examples=3)


def same(result, expected, atol=1e-5):
    np.testing.assert_allclose(result, np.asarray(expected), rtol=1e-5 if atol else 0, atol=atol)


if __name__ == "__main__":
    absltest.main()
