"""Tests of maml_tf.core.clone."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf import MAML
from maml_tf.core.clone import clone
from tests.support.small_learner import Subclassed
from tests.support.small_models import FixedResidual, Residual, sequential


class BuiltByCall(keras.Model):
    """Has no `build` of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = keras.layers.Dense(4), keras.layers.Dense(1)

    def call(self, x):
        return self.second(self.first(x))


class Scaled(keras.Model):
    """Has no `get_config`: Keras would make it again with the constructor's default."""

    def __init__(self, scale=1.0, **kwargs):
        super().__init__(**kwargs)
        self.scale, self.layer = scale, keras.layers.Dense(1)

    def call(self, x):
        return self.scale * self.layer(x)


class Inflexible(keras.Model):
    """Cannot be made from its configuration, which does not hold the layer."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, x):
        return self.layer(x)


class CloneTest(parameterized.TestCase):
    def models(self):
        inputs = keras.Input((3,))
        branches = [keras.layers.Dense(2)(inputs), keras.layers.Dense(2)(inputs)]
        functional = keras.Model(inputs, keras.layers.Add()(branches))
        subclassed, built_by_call, residual = Subclassed(5), BuiltByCall(), Residual([keras.layers.Dense(3)])
        for model in (subclassed, built_by_call, residual):
            model(tf.ones((1, 3)))
        plain = sequential(keras.layers.Dense(2), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5))
        return {
            "sequential": plain,
            "functional": functional,
            "subclassed": subclassed,
            "built_by_call": built_by_call,
            "residual": residual,
        }

    def test_same_outputs_own_variables(self):
        x = keras.random.normal((4, 3))
        for name, model in self.models().items():
            with self.subTest(name):
                for variable in model.trainable_variables:
                    variable.assign(variable + 0.1)
                copy = clone(model)
                self.assertIs(type(copy), type(model))
                self.assertTrue(copy.built)
                np.testing.assert_array_equal(copy(x), model(x))
                self.assertEmpty({id(v) for v in copy.variables} & {id(v) for v in model.variables})
                before = np.array(model(x))
                for variable in copy.variables:
                    variable.assign(variable + 1)
                np.testing.assert_array_equal(model(x), before)

    def test_frozen_layers_stay_frozen(self):
        model = sequential(keras.layers.Dense(4), keras.layers.Dense(1))
        model.layers[0].trainable = False
        copy = clone(model)
        self.assertEqual([layer.trainable for layer in copy.layers], [False, True])
        self.assertLen(copy.trainable_variables, 2)

    def test_layers_that_keras_could_not_find_by_name(self):
        class Local(keras.layers.Dense):
            pass

        inputs = keras.Input((3,))
        copy = clone(keras.Model(inputs, Local(1)(inputs)))
        self.assertIs(type(copy.layers[-1]), Local)

    def test_model_that_cannot_be_made_again(self):
        model = Inflexible(keras.layers.Dense(1))
        model(tf.ones((1, 3)))
        with self.assertRaisesRegex(TypeError, "Expected a subclassed model that can be made again.*Inflexible"):
            clone(model)

    def test_arguments_that_the_configuration_leaves_out(self):
        model = Scaled(scale=5.0)
        model(tf.ones((1, 3)))
        with self.assertRaisesRegex(TypeError, r"Scaled, whose constructor takes \['scale'\] and .* no get_config"):
            clone(model)

    def test_layers_frozen_after_the_model_was_made(self):
        model = Subclassed(1)
        model(tf.ones((1, 1)))
        model.hidden.trainable = False
        copy = clone(model)
        self.assertEqual([v.trainable for v in copy.variables], [False, False, True, True])
        x, y = tf.ones((2, 1)), tf.ones((2, 1))
        adapted = MAML(model, "mse", 0.1).adapt(x, y)
        for variable, before in zip(adapted.hidden.variables, model.hidden.variables, strict=True):
            np.testing.assert_array_equal(variable, before)
        self.assertFalse(np.array_equal(adapted.out.kernel, model.out.kernel))

    def test_statistics_that_a_layer_learned(self):
        normalization = keras.layers.Normalization()
        normalization.adapt(5.0 * keras.random.normal((100, 3), seed=1) + 7.0)
        model = sequential(normalization, keras.layers.Dense(1))
        x = keras.random.normal((4, 3), seed=2)
        np.testing.assert_array_equal(clone(model)(x), model(x))

    def test_sequential_subclass_that_cannot_be_made_again(self):
        with self.assertRaisesRegex(TypeError, "Expected a subclassed model that can be made again.*FixedResidual"):
            clone(FixedResidual())

    @parameterized.parameters("built_by_call", "residual")
    def test_adapt_keeps_the_class_and_its_code(self, name):
        model = self.models()[name]
        x, y = tf.ones((2, 3)), tf.zeros((2, model(tf.ones((1, 3))).shape[-1]))
        adapted = MAML(model, "mse", 0.1).adapt(x, y, steps=0)
        self.assertIs(type(adapted), type(model))
        np.testing.assert_array_equal(adapted(x), model(x))


if __name__ == "__main__":
    absltest.main()
