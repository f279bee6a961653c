"""Tests of maml_tf.core.over_tasks."""

import keras
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf import models
from maml_tf.core.over_tasks import choose_jit_compile, choose_task_map
from tests.support.small_learner import Subclassed


def built(model):
    model.build((None, 2))
    return model


class ThreeTimes(keras.layers.Dense):
    def call(self, x):
        step = lambda i, x: (i + 1, self.activation(x))  # noqa: E731
        return tf.while_loop(lambda i, _: i < 3, step, (0, super().call(x)))[1]


class TaskMapTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("mlp", lambda: models.mlp(), True),
        ("nested_dense", lambda: keras.Sequential([keras.Input((1,)), models.mlp()]), True),
        ("convolutions", lambda: models.omniglot_conv(filters=2), False),
        ("recurrent", lambda: models.gru_regressor((3, 2), (2,)), False),
        ("code_of_a_models_own", lambda: built(Subclassed()), False),
        ("code_of_a_layers_own", lambda: keras.Sequential([keras.Input((2,)), ThreeTimes(1, "tanh")]), False),
        ("dropout", lambda: keras.Sequential([keras.Input((2,)), keras.layers.Dropout(0.5)]), False),
    )
    def test_choice_by_layers(self, build, dense):
        model = build()
        self.assertEqual(choose_task_map(model), "vectorized" if dense else "mapped")
        self.assertIs(choose_jit_compile(model), dense)

    @parameterized.parameters(
        lambda: models.omniglot_conv(filters=2),
        lambda: models.gru_regressor((3, 2), (2,)),
    )
    def test_gpu_merges_tasks_but_leaves_xla(self, build):
        model = build()
        with absltest.mock.patch("tensorflow.config.list_logical_devices", return_value=["GPU:0"]):
            self.assertEqual(choose_task_map(model), "vectorized")
            self.assertFalse(choose_jit_compile(model))

    def test_what_may_hold_loops_stays_mapped_on_a_gpu(self):
        with absltest.mock.patch("tensorflow.config.list_logical_devices", return_value=["GPU:0"]):
            self.assertEqual(choose_task_map(built(Subclassed())), "mapped")


if __name__ == "__main__":
    absltest.main()
