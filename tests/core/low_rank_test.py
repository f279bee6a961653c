"""Tests of low-rank adaptation: exact, with a frozen base that stays, and kept by copies and files."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

import maml_tf
from maml_tf.core.clone import default_policy
from maml_tf.core.keras_interface import layers_of
from tests.support.finite_differences import directional_difference, dot, unit_direction
from tests.support.keras_warnings import ignore_array_copy
from tests.support.small_learner import draw

_FACTORS = maml_tf.matching("lora")


def dense():
    return keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(5, "tanh", name="body"), keras.layers.Dense(1, name="head")]
    )


def embedding():
    inputs = keras.Input((4,))
    words = keras.layers.Embedding(20, 3, name="words")(keras.ops.cast(keras.ops.abs(inputs), "int32"))
    return keras.Model(inputs, keras.layers.Dense(1)(keras.ops.tanh(keras.ops.mean(words, axis=1))))


def transformer():
    inputs = keras.Input((4,))
    tokens = keras.layers.Dense(4)(keras.layers.Reshape((4, 1))(inputs))
    hidden = tokens + keras.layers.MultiHeadAttention(2, 2, name="attention")(tokens, tokens)
    hidden = maml_tf.layers.LayerNormalization()(hidden)
    return keras.Model(inputs, keras.layers.Dense(1, name="head")(keras.layers.GlobalAveragePooling1D()(hidden)))


_CASES = (("dense", dense, "body"), ("embedding", embedding, "words"), ("transformer", transformer, "query|value"))


def drawn(model, seed=0):
    """Draws all weights anew, the second factors, which start at zero, too."""
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(0.5 * generator.standard_normal(variable.shape))
    return model


def in_float64(build, pattern, **options):
    """Makes a model with factors of float64, which Keras makes of float32 whatever the policy."""
    add_weight = keras.layers.Layer.add_weight

    def of_the_policy(self, *args, **kwargs):
        return add_weight(self, *args, **{**kwargs, "dtype": None})

    with default_policy("float64"):
        model = build()
        with absltest.mock.patch.object(keras.layers.Layer, "add_weight", of_the_policy):
            return drawn(maml_tf.lora(model, 2, pattern, **options))


def make_data(tasks=3, dtype="float32"):
    x = 3 * draw(tasks, 7, 4).astype(dtype)
    y = draw(tasks, 7, 1, seed=1).astype(dtype)
    return (x[:, :4], y[:, :4], x[:, 4:]), y[:, 4:]


def make_learner(build=transformer, pattern="query|value", **options):
    model = drawn(maml_tf.lora(build(), 2, pattern, **options))
    return maml_tf.MAML(model, "mse", 0.1, adapted=_FACTORS)


def base_of(model):
    layers = [layer for layer in layers_of(model) if getattr(layer, "lora_enabled", False)]
    return [variable for layer in layers for variable in layer.variables if not variable.trainable]


class LoraTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        ignore_array_copy()

    @parameterized.named_parameters(*_CASES)
    def test_outputs_and_all_but_the_chosen_layers_stay(self, build, pattern):
        model = build()
        names = [variable.path for variable in model.variables]
        copy = maml_tf.lora(model, 2, pattern)
        x = draw(3, 4)
        np.testing.assert_array_equal(copy(x), model(x))
        self.assertEqual([variable.path for variable in model.variables], names)
        added = [variable.path for variable in copy.variables if variable.path not in names]
        self.assertEqual(added, _FACTORS(copy))
        self.assertLen(base_of(copy), len(added) // 2)

    @parameterized.product(case=_CASES, train_base=(False, True))
    def test_meta_gradients_are_exact(self, case, train_base):
        _, build, pattern = case
        model = in_float64(build, pattern, train_base=train_base)
        learner = maml_tf.MAML(model, "mse", 0.1, inner_steps=2, adapted=_FACTORS, task_map="unrolled")
        data = make_data(2, "float64")
        _, gradients = learner.meta_gradients(data)
        self.assertEqual({gradient.dtype for gradient in gradients}, {tf.float64})
        direction = unit_direction(learner, seed=5)
        difference = directional_difference(learner, data, direction)
        self.assertLess(abs(dot(gradients, direction) / difference - 1), 1e-6)

    def test_only_the_factors_adapt_and_the_base_is_trained_if_wanted(self):
        for train_base in (False, True):
            learner = make_learner(dense, "body", train_base=train_base)
            data = make_data()
            before = [variable.numpy() for variable in learner.model.variables]
            adapted = learner.adapt(data[0][0][0], data[0][1][0])
            changed = [
                target.path
                for target, value in zip(adapted.variables, before, strict=True)
                if np.any(target.numpy() != value)
            ]
            self.assertEqual(changed, list(learner.task_functions.adapted_names))
            learner.compile(keras.optimizers.SGD(0.1))
            learner.fit(*data, batch_size=3, verbose=0)
            trained = {
                variable.path
                for variable, value in zip(learner.model.variables, before, strict=True)
                if np.any(variable.numpy() != value)
            }
            base = {layer.path + "/kernel" for layer in layers_of(learner.model) if getattr(layer, "lora_enabled", 0)}
            self.assertEqual(base <= trained, train_base)
            self.assertContainsSubset([*_FACTORS(learner.model), learner.model.layers[-1].kernel.path], trained)

    @parameterized.parameters("mapped", "vectorized")
    def test_frozen_weights_stay_as_they_are(self, task_map):
        """A mean of 49 equal numbers is not always that number."""
        model = drawn(maml_tf.lora(dense(), 2, "body"))
        learner = maml_tf.MAML(model, "mse", 0.1, adapted=_FACTORS, task_map=task_map)
        learner.compile(keras.optimizers.SGD(0.1))
        before = [variable.numpy() for variable in base_of(model)]
        learner.fit(*make_data(49), batch_size=49, verbose=0)
        for variable, value in zip(base_of(model), before, strict=True):
            np.testing.assert_array_equal(variable.numpy(), value)

    @parameterized.parameters((transformer, True), (dense, False))
    def test_a_learner_is_saved_with_its_factors(self, build, train_base):
        learner = make_learner(build, "query|value|body", train_base=train_base)
        for layer in layers_of(learner.model):
            if getattr(layer, "lora_enabled", False) and hasattr(layer, "lora_alpha"):
                layer.lora_alpha = 8
        inputs, _ = make_data()
        learner.compile("adam")
        folder = self.create_tempdir().full_path
        learner.save(f"{folder}/learner.keras")
        loaded = keras.saving.load_model(f"{folder}/learner.keras")
        learner.save_weights(f"{folder}/learner.weights.h5")
        other = make_learner(build, "query|value|body", train_base=train_base)
        other.compile("adam")
        other.load_weights(f"{folder}/learner.weights.h5")
        for copy in (loaded, other):
            for variable, expected in zip(copy.variables, learner.variables, strict=True):
                self.assertEqual(variable.trainable, expected.trainable)
                np.testing.assert_array_equal(variable.numpy(), expected.numpy())
        expected = learner.predict(inputs, verbose=0)
        np.testing.assert_array_equal(loaded.predict(inputs, verbose=0), expected)
        adapted = learner.adapt(inputs[0][0], inputs[1][0])
        np.testing.assert_allclose(adapted(inputs[2][0]), expected[0], rtol=1e-4, atol=1e-5)
        learner.export(f"{folder}/exported", verbose=False)
        exported = tf.saved_model.load(f"{folder}/exported")
        np.testing.assert_allclose(exported.serve(inputs), expected, rtol=1e-4, atol=1e-5)

    def test_a_file_of_keras_has_the_function_and_leaves_a_factor_that_can_learn(self):
        path = f"{self.create_tempdir().full_path}/model.weights.h5"
        stock = drawn(dense())
        stock.layers[0].enable_lora(2)
        drawn(stock, seed=1)
        stock.save_weights(path)
        learner = make_learner(dense, "body")
        learner.model.load_weights(path)
        x = draw(3, 4)
        np.testing.assert_allclose(learner.model(x), stock(x), rtol=1e-5, atol=1e-6)
        gradients = dict(
            zip(learner.task_functions.functional.names, learner.meta_gradients(make_data())[1], strict=True)
        )
        self.assertTrue(any(np.any(gradients[name].numpy()) for name in _FACTORS(learner.model)))

    def test_factors_that_are_both_zero(self):
        """As Keras loads them: nothing would ever change them."""
        path = f"{self.create_tempdir().full_path}/model.keras"
        drawn(maml_tf.lora(dense(), 2, "body")).save(path)
        loaded = keras.saving.load_model(path)
        with self.assertRaisesRegex(ValueError, "both zero.*body"):
            maml_tf.MAML(loaded, "mse", adapted=_FACTORS)

    @parameterized.parameters(
        ({"pattern": "nowhere"}, ValueError, "nowhere.*body.*head"),
        ({"pattern": "("}, ValueError, r"regular expression.*\("),
        ({"rank": 0}, ValueError, "rank=0"),
        ({"train_base": 2}, ValueError, "train_base=2"),
    )
    def test_wrong_arguments(self, changed, error, named):
        with self.assertRaisesRegex(error, named):
            maml_tf.lora(dense(), **{"rank": 2, **changed})

    def test_a_layer_that_has_a_low_rank_part_is_named(self):
        with self.assertRaisesRegex(ValueError, "body.*already"):
            maml_tf.lora(maml_tf.lora(dense(), 2, "body"), 2)


if __name__ == "__main__":
    absltest.main()
