"""Tests of maml_tf.learner: its arguments, gradients, kinds of model, and what it says of bad input.

How it lives as a Keras model, through fit, callbacks and saving, is tested in tests/conformance/keras_model_test.py.
"""

import warnings

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

import maml_tf
from maml_tf import layers
from maml_tf.core.faults import NonFiniteLossError
from maml_tf.models import mlp
from tests.support.small_learner import Subclassed, assert_same, draw, make_data


def sequential(*model_layers, shape=(2,)):
    return keras.Sequential([keras.Input(shape), *model_layers])


class MetaGradientsTest(parameterized.TestCase):
    def test_order_is_that_of_the_variables(self):
        rule = maml_tf.LearnedStepSizes(0.1, granularity="layer")
        learner = maml_tf.MAML(mlp((2,), (3,)), "mse", rule)
        _, gradients = learner.meta_gradients(make_data())
        self.assertEqual([g.shape for g in gradients], [v.shape for v in learner.trainable_variables])
        self.assertEqual([v.path for v in learner.trainable_variables[:4]], learner.task_functions.functional.names)
        self.assertLen(learner.trainable_variables, 6)

    def test_gradient_step_on_each_variable_lowers_the_loss(self):
        learner = maml_tf.MAML(mlp((2,), (3,), activation="tanh"), "mse", maml_tf.LearnedStepSizes(0.1))
        data = make_data()
        loss, gradients = learner.meta_gradients(data)
        for variable, gradient in zip(learner.trainable_variables, gradients, strict=True):
            with self.subTest(variable.path):
                before = variable.numpy()
                variable.assign(before - 1e-2 * np.asarray(gradient))
                self.assertLess(float(learner.meta_gradients(data)[0]), float(loss))
                variable.assign(before)

    def test_unused_variable_is_named(self):
        inputs = keras.Input((2,))
        spare = keras.layers.Dense(1, name="spare")
        model = keras.Model(inputs, [keras.layers.Dense(1)(inputs), spare(inputs)])
        loss = [keras.losses.MeanSquaredError(), lambda y, p: tf.zeros(())]
        learner = maml_tf.MAML(model, loss, adapted=maml_tf.matching("^dense"))
        (support_x, support_y, query_x), query_y = make_data()
        data = (support_x, [support_y] * 2, query_x), [query_y] * 2
        with self.assertRaisesRegex(ValueError, "the meta-gradient of every.*None for '0/spare/kernel'"):
            learner.meta_gradients(data)
        with self.assertRaisesRegex(ValueError, "the inner gradient of every.*None for 'spare/kernel'"):
            maml_tf.MAML(model, loss).meta_gradients(data)

    def test_missing_derivative_names_the_operation(self):
        with self.assertWarnsRegex(UserWarning, "softsign"):
            learner = maml_tf.MAML(sequential(keras.layers.Dense(1, "softsign")), "mse")
        with self.assertRaisesRegex(LookupError, "SoftsignGrad"):
            learner.meta_gradients(make_data())
        exact_not_needed = maml_tf.MAML(sequential(keras.layers.Dense(1, "softsign")), "mse", first_order=True)
        self.assertLen(exact_not_needed.meta_gradients(make_data())[1], 2)

    def test_numpy_float64_data_and_plain_lists(self):
        learner = maml_tf.MAML(mlp((2,), (3,)), "mse")
        data = make_data()
        expected = learner.meta_gradients(data)
        doubles = tf.nest.map_structure(lambda array: array.astype(np.float64), data)
        assert_same(learner.meta_gradients(doubles), expected)
        inputs = tuple(keras.ops.convert_to_tensor(array) for array in data[0])
        assert_same(learner.meta_gradients((inputs, keras.ops.convert_to_tensor(data[1]))), expected)


class AdaptedVariablesTest(absltest.TestCase):
    def test_head_alone_moves_but_all_are_meta_trained(self):
        model = mlp((2,), (3,), activation="tanh")
        learner = maml_tf.MAML(model, "mse", 0.1, adapted=maml_tf.head)
        (support_x, support_y, _), _ = data = make_data()
        adapted = learner.adapt(support_x[0], support_y[0])
        moved = [
            not np.array_equal(v, w)
            for v, w in zip(adapted.trainable_variables, model.trainable_variables, strict=True)
        ]
        self.assertEqual(moved, [False, False, True, True])
        self.assertTrue(all(np.any(np.asarray(gradient)) for gradient in learner.meta_gradients(data)[1]))

    def test_step_sizes_are_those_of_adapted_variables(self):
        learner = maml_tf.MAML(mlp((2,), (3,)), "mse", maml_tf.LearnedStepSizes(0.1), adapted=maml_tf.matching("bias"))
        self.assertLen(learner.update_rule.trainable_variables, 2)
        self.assertLen(learner.task_functions.adapted_names, 2)


class AdaptTest(parameterized.TestCase):
    def test_agrees_with_call_for_any_number_of_steps(self):
        inputs, _ = make_data()
        model = mlp((2,), (3,))
        adapted = maml_tf.MAML(model, "mse", [0.1, 0.05], inner_steps=1).adapt(inputs[0][1], inputs[1][1], steps=4)
        outputs = maml_tf.MAML(model, "mse", [0.1, 0.05], inner_steps=4)(inputs)[1]
        assert_same(adapted(inputs[2][1]), outputs)

    def test_copies_are_independent(self):
        inputs, _ = make_data()
        learner = maml_tf.MAML(mlp((2,), (3,)), "mse", 0.1)
        first, second = (learner.adapt(inputs[0][task], inputs[1][task]) for task in range(2))
        before = first.get_weights()
        for variable in [*second.variables, *learner.model.variables]:
            variable.assign(variable + 1)
        assert_same(first.get_weights(), before)

    def test_moving_statistics_are_those_of_the_support_set(self):
        norm = layers.BatchNormalization(momentum=0.0, name="norm")
        learner = maml_tf.MAML(sequential(norm, keras.layers.Dense(1)), "mse", 0.1)
        x = draw(6, 2)
        adapted = learner.adapt(x, draw(6, 1), steps=1)
        np.testing.assert_allclose(adapted.layers[0].moving_mean, x.mean(axis=0), rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(norm.moving_mean, np.zeros(2))

    def test_bad_input(self):
        learner = maml_tf.MAML(mlp((2,), (3,)), "mse")
        with self.assertRaisesRegex(ValueError, "steps=-1"):
            learner.adapt(draw(3, 2), draw(3, 1), steps=-1)
        with self.assertRaisesRegex(ValueError, "at least 1. Received: support_x"):
            learner.adapt(draw(0, 2), draw(0, 1))
        with self.assertRaisesRegex(ValueError, "Expected as many support targets as support inputs"):
            learner.adapt(draw(3, 2), draw(2, 1))

    def test_not_finite(self):
        learner = maml_tf.MAML(mlp((2,), ()), "mse", 1e25)
        message = "Expected finite losses of the support set. Received: (inf|nan) before inner step 1"
        with self.assertRaisesRegex(tf.errors.InvalidArgumentError, message):
            learner.adapt(draw(3, 2), draw(3, 1), steps=3)


class ModelsTest(parameterized.TestCase):
    """Kinds of model: the meta-gradient runs, and adapted predictions agree with `adapt`."""

    def check(self, model, loss="mse", data=None, **options):
        learner = maml_tf.MAML(model, loss, 0.05, inner_steps=2, **options)
        inputs, targets = data or make_data()
        value, gradients = learner.meta_gradients((inputs, targets))
        self.assertTrue(np.isfinite(float(value)))
        self.assertTrue(all(np.any(np.asarray(gradient)) for gradient in gradients))
        task = lambda nest, number: tf.nest.map_structure(lambda leaf: leaf[number], nest)  # noqa: E731
        adapted = learner.adapt(task(inputs[0], 1), task(inputs[1], 1))
        assert_same(adapted(task(inputs[2], 1)), task(learner(inputs), 1), rtol=1e-4)
        return learner

    def test_subclassed_without_training_argument(self):
        model = Subclassed()
        model(draw(1, 2))
        self.check(model)

    def test_shared_layer(self):
        shared, inputs = keras.layers.Dense(2, "tanh", name="shared"), keras.Input((2,))
        learner = self.check(keras.Model(inputs, keras.layers.Dense(1)(shared(shared(inputs)))))
        self.assertLen(learner.trainable_variables, 4)

    def test_frozen_layer_stays(self):
        model = sequential(keras.layers.Dense(3, "tanh"), keras.layers.Dense(1))
        model.layers[0].trainable = False
        learner = self.check(model)
        self.assertLen(learner.meta_gradients(make_data())[1], 2)
        (support_x, support_y, _), _ = make_data()
        adapted = learner.adapt(support_x[0], support_y[0])
        np.testing.assert_array_equal(adapted.layers[0].kernel, model.layers[0].kernel)

    def test_several_inputs(self):
        inputs = {"a": keras.Input((2,), name="a"), "b": keras.Input((3,), name="b")}
        model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Concatenate()(list(inputs.values()))))
        support = {"a": draw(2, 4, 2), "b": draw(2, 4, 3)}
        query = {"a": draw(2, 5, 2, seed=1), "b": draw(2, 5, 3, seed=1)}
        self.check(model, data=((support, draw(2, 4, 1), query), draw(2, 5, 1)))

    @parameterized.parameters(dict, list)
    def test_several_outputs(self, form):
        inputs = keras.Input((2,))
        outputs = {"a": keras.layers.Dense(1, name="a")(inputs), "b": keras.layers.Dense(3, name="b")(inputs)}
        losses = {"a": "mse", "b": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
        support_y = {"a": draw(2, 4, 1), "b": np.arange(8).reshape(2, 4) % 3}
        query_y = {"a": draw(2, 5, 1), "b": np.arange(10).reshape(2, 5) % 3}
        if form is list:
            outputs, losses, support_y, query_y = (
                [nest["a"], nest["b"]] for nest in (outputs, losses, support_y, query_y)
            )
        data = (draw(2, 4, 2), support_y, draw(2, 5, 2, seed=1)), query_y
        learner = self.check(keras.Model(inputs, outputs), losses, data)
        learner.compile("sgd")
        history = learner.fit(*data, batch_size=2, verbose=0)
        self.assertTrue(np.isfinite(history.history["loss"][0]))

    def test_embedding(self):
        model = sequential(keras.layers.Embedding(6, 2), keras.layers.Flatten(), keras.layers.Dense(1), shape=(3,))
        tokens = lambda *shape: np.random.default_rng(0).integers(0, 6, shape)  # noqa: E731
        data = (tokens(2, 4, 3), draw(2, 4, 1), tokens(2, 5, 3)), draw(2, 5, 1)
        learner = self.check(model, data=data)
        for task_map in ("mapped", "unrolled"):
            other = maml_tf.MAML(model, "mse", 0.05, inner_steps=2, task_map=task_map)
            assert_same(other.meta_gradients(data), learner.meta_gradients(data))

    @parameterized.parameters(keras.layers.GRU, keras.layers.LSTM, keras.layers.SimpleRNN)
    def test_recurrent(self, layer):
        model = sequential(layer(3), keras.layers.Dense(1), shape=(4, 2))
        self.check(model, data=((draw(2, 3, 4, 2), draw(2, 3, 1), draw(2, 5, 4, 2)), draw(2, 5, 1)))

    def test_regularization_counts_in_both_loops(self):
        """With one weight w, data 0 and penalty 0.5 w^2 a step gives (1 - alpha) w.

        So the loss is 0.5 (1 - alpha)^2 w^2.
        """
        dense = keras.layers.Dense(1, use_bias=False, kernel_regularizer=keras.regularizers.L2(0.5))
        learner = maml_tf.MAML(sequential(dense, shape=(1,)), "mse", 0.1)
        dense.kernel.assign([[2.0]])
        zeros = np.zeros((2, 3, 1), np.float32)
        loss, (gradient,) = learner.meta_gradients(((zeros, zeros, zeros), zeros))
        self.assertAlmostEqual(float(loss), 0.5 * (0.9 * 2) ** 2, places=6)
        self.assertAlmostEqual(float(gradient[0, 0]), 0.81 * 2, places=6)
        self.assertAlmostEqual(float(learner.adapt(zeros[0], zeros[0]).layers[0].kernel[0, 0]), 1.8, places=6)

    def test_mixed_bfloat16(self):
        for build in (lambda: mlp((2,), (8,), dtype="mixed_bfloat16"),):
            learner = maml_tf.MAML(build(), "mse", 0.05)
            loss, gradients = learner.meta_gradients(make_data())
            self.assertEqual({value.dtype for value in (loss, *gradients)}, {tf.float32})
            reference = maml_tf.MAML(mlp((2,), (8,)), "mse", 0.05)
            reference.model.set_weights(learner.model.get_weights())
            np.testing.assert_allclose(loss, reference.meta_gradients(make_data())[0], rtol=0.05)
            learner.compile("sgd")
            learner.fit(*make_data(), batch_size=3, verbose=0)

    def test_float64_targets_are_not_rounded(self):
        seen = []

        def loss(y_true, y_pred):
            seen.append(float(y_true[0, 0]))
            return tf.reduce_mean((y_true - y_pred) ** 2)

        learner = maml_tf.MAML(mlp((2,), (3,), dtype="float64"), loss, task_map="unrolled")
        learner((draw(1, 4, 2), np.full((1, 4, 1), 0.1), draw(1, 3, 2)))
        self.assertEqual(seen, [0.1])

    def test_mixed_float16_is_refused(self):
        with self.assertRaisesRegex(ValueError, "float16.*use 'mixed_bfloat16'"):
            maml_tf.MAML(mlp((2,), (3,), dtype="mixed_float16"), "mse")


class DropoutTest(absltest.TestCase):
    def make_learner(self, seed=7, **options):
        keras.utils.set_random_seed(0)
        model = sequential(
            keras.layers.Dense(32), keras.layers.Dropout(0.5, seed=seed), keras.layers.Dense(1, use_bias=False)
        )
        return maml_tf.MAML(model, "mse", 0.0, **options)

    def same_tasks(self):
        return tf.nest.map_structure(lambda leaf: np.repeat(leaf[:1], 3, axis=0), make_data())

    def test_masks_differ_between_tasks(self):
        for task_map in ("mapped", "vectorized", "unrolled"):
            outputs = np.asarray(self.make_learner(task_map=task_map)(self.same_tasks()[0], training=True))
            self.assertFalse(np.allclose(outputs[0], outputs[1]))
            self.assertFalse(np.allclose(outputs[1], outputs[2]))

    def test_masks_differ_between_inner_steps(self):
        """With a rate of 0 only the mask tells the steps' losses apart."""
        learner = self.make_learner()
        (support_x, support_y, _), _ = make_data()
        params, state = learner.task_functions.parameters(), learner.task_functions.initial_state()
        adaptation = maml_tf.adapt(
            learner.task_functions.objective(params),
            params,
            [(support_x[0], support_y[0])] * 3,
            learner.update_rule,
            state=state,
        )
        self.assertLen({float(loss) for loss in adaptation.losses}, 3)

    def test_deterministic_under_a_seed(self):
        first, second, other = (self.make_learner(seed).meta_gradients(make_data()) for seed in (7, 7, 8))
        assert_same(first, second, rtol=0)
        self.assertNotEqual(float(first[0]), float(other[0]))

    def test_seeds_advance_after_train_step(self):
        learner = self.make_learner(inner_steps=2)
        learner.compile(keras.optimizers.SGD(0.0))
        (seed,) = [v for v in learner.model.non_trainable_variables if "seed" in v.name]
        states, losses = [], []
        for _ in range(3):
            losses.append(learner.train_on_batch(*make_data(), return_dict=True)["loss"])
            learner.reset_metrics()
            states.append(tuple(seed.numpy()))
        self.assertLen(set(states), 3)
        self.assertLen({float(loss) for loss in losses}, 3)

    def test_no_dropout_in_predictions_of_the_query_set(self):
        learner = self.make_learner()
        learner.compile()
        outputs = learner.predict(self.same_tasks()[0], verbose=0)
        np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-5)


class WarningsTest(parameterized.TestCase):
    @parameterized.parameters(keras.layers.BatchNormalization, keras.layers.LayerNormalization)
    def test_stock_normalization_is_named_once_exactness_is_asked_for(self, layer):
        model = sequential(layer(name="my_norm"), keras.layers.Dense(1))
        with self.assertWarnsRegex(UserWarning, f"my_norm: .*use maml_tf.layers.{layer.__name__}.*check_second_order"):
            maml_tf.MAML(model, "mse")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            maml_tf.MAML(model, "mse", first_order=True)

    def test_warning_points_to_the_caller(self):
        with self.assertWarns(UserWarning) as caught:
            maml_tf.MAML(sequential(keras.layers.LayerNormalization()), "mse")
        self.assertEqual(caught.filename, __file__)

    def test_own_layers_do_not_warn(self):
        model = sequential(layers.BatchNormalization(), layers.LayerNormalization(), keras.layers.Dense(1))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            maml_tf.MAML(model, "mse")


class ArgumentsTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("no_model", ValueError, "Expected a keras.Model|Expected a built", {"model": keras.Sequential()}),
        ("layer", TypeError, "Expected a keras.Model. Received:", {"model": keras.layers.Dense(1)}),
        ("rule", TypeError, "Expected inner_learning_rate to be a number.*Received: 'adam'",
         {"inner_learning_rate": "adam"}),
        ("optimizer", TypeError, "Expected inner_learning_rate", {"inner_learning_rate": keras.optimizers.SGD()}),
        ("negative_rate", ValueError, "learning_rate=-0.1", {"inner_learning_rate": -0.1}),
        ("no_steps", ValueError, "inner_steps to be .* at least 1. Received: inner_steps=0", {"inner_steps": 0}),
        ("negative_steps", ValueError, "Received: inner_steps=-2", {"inner_steps": -2}),
        ("pattern", ValueError, "Expected pattern 'conv'", {"adapted": maml_tf.matching("conv")}),
        ("nothing_adapted", ValueError, "Expected a trainable variable to adapt", {"adapted": lambda model: []}),
        ("unknown_adapted", ValueError, "Expected names of trainable variables.*'nowhere'",
         {"adapted": lambda model: ["nowhere"]}),
        ("adapted_by_name", TypeError, "Expected adapted to be maml_tf.everything.*'head'", {"adapted": "head"}),
        ("fraction_of_a_step", ValueError, "Received: inner_steps=1.0", {"inner_steps": 1.0}),
        ("flag_for_a_number", ValueError, "Received: inner_steps=True", {"inner_steps": True}),
        ("loss", ValueError, "Expected a loss", {"loss": None}),
        ("task_map", ValueError, "Expected task_map to be one of.*Received: 'parallel'", {"task_map": "parallel"}),
        ("parallel_tasks", ValueError, "parallel_tasks=0", {"parallel_tasks": 0}),
    )  # fmt: skip
    def test_refuses(self, error, message, arguments):
        with self.assertRaisesRegex(error, message):
            maml_tf.MAML(**{"model": mlp((2,), (3,)), "loss": "mse", **arguments})

    def test_numpy_number_of_steps(self):
        learner = maml_tf.MAML(mlp((2,), (3,)), "mse", inner_steps=np.int64(2))
        self.assertIs(type(learner.get_config()["inner_steps"]), int)

    def test_loss_in_compile(self):
        with self.assertRaisesRegex(ValueError, "Expected no loss in compile.*Received: loss='mse'"):
            maml_tf.MAML(mlp((2,), (3,)), "mse").compile("adam", loss="mse")

    def test_loss_weights_in_compile(self):
        with self.assertRaisesRegex(ValueError, r"Expected no loss_weights in compile.*loss_weights=\[0.5\]"):
            maml_tf.MAML(mlp((2,), (3,)), "mse").compile("adam", loss_weights=[0.5])

    def test_running_eagerly_is_not_compiled(self):
        learner = maml_tf.MAML(mlp((2,), (3,)), "mse")
        learner.compile("adam")
        self.assertTrue(learner.jit_compile)
        learner.compile("adam", run_eagerly=True)
        self.assertFalse(learner.jit_compile)

    @parameterized.parameters({"loss_scale_factor": 128.0}, {"scaled": True})
    def test_an_optimizer_that_scales_the_loss_takes_the_same_step(self, scaled=False, **options):
        weights = []
        for scaling in (False, True):
            keras.utils.set_random_seed(1)
            learner = maml_tf.MAML(mlp((2,), (3,)), "mse")
            optimizer = keras.optimizers.SGD(0.1, **(options if scaling else {}))
            learner.compile(keras.optimizers.LossScaleOptimizer(optimizer) if scaling and scaled else optimizer)
            x, y = np.ones([2, 4, 2], np.float32), np.ones([2, 4, 1], np.float32)
            learner.train_on_batch((x, y, x), y)
            weights.append(learner.model.get_weights())
        for one, other in zip(*weights, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)

    def test_what_is_trainable_must_not_change(self):
        learner = maml_tf.MAML(mlp((2,), (3,)), "mse")
        learner.model.layers[-1].trainable = False
        x, y = np.ones([2, 4, 2], np.float32), np.ones([2, 4, 1], np.float32)
        with self.assertRaisesRegex(ValueError, "changing `trainable`. Received: a change of .*b"):
            learner.meta_gradients(((x, y, x), y))

    def test_no_query_targets(self):
        x, y = np.ones([2, 4, 2], np.float32), np.ones([2, 4, 1], np.float32)
        with self.assertRaisesRegex(ValueError, "Received: no query_y"):
            maml_tf.MAML(mlp((2,), (3,)), "mse").meta_gradients(((x, y, x), None))

    def test_sample_weights(self):
        learner = maml_tf.MAML(mlp((2,), (3,)), "mse")
        learner.compile()
        with self.assertRaisesRegex(ValueError, "Received: sample weights too"):
            learner.fit(*make_data(), sample_weight=np.ones(3), verbose=0)

    @parameterized.named_parameters(
        ("support", lambda a, b, c, d: ((a, b[:, :2], c), d), "as many support targets as support inputs"),
        ("empty", lambda a, b, c, d: ((a[:, :0], b[:, :0], c), d), "as many support targets.*at least 1"),
        ("query", lambda a, b, c, d: ((a, b, c), d[:, :2]), "as many query targets as query inputs"),
        ("form", lambda a, b, c, d: ((a, b), d), "Expected inputs"),
    )
    def test_data(self, change, message):
        inputs, query_y = make_data()
        learner = maml_tf.MAML(mlp((2,), (3,)), "mse")
        with self.assertRaisesRegex(ValueError, message):
            learner.meta_gradients(change(*inputs, query_y))
        learner.compile()
        with self.assertRaisesRegex(ValueError, message):
            learner.train_on_batch(*change(*inputs, query_y))


class NotFiniteTest(parameterized.TestCase):
    def data_with_nan(self):
        inputs, query_y = make_data()
        inputs[1][2, 0] = np.nan
        return inputs, query_y

    @parameterized.parameters("mapped", "vectorized", "unrolled")
    def test_names_task_and_step(self, task_map):
        learner = maml_tf.MAML(mlp((2,), (3,)), "mse", task_map=task_map)
        with self.assertRaisesRegex(tf.errors.InvalidArgumentError, r"inner step\] \[2, 0\] \(step 1 is the query"):
            learner.meta_gradients(self.data_with_nan())

    def test_query_alone(self):
        inputs, query_y = make_data()
        query_y[0, 0] = np.inf
        learner = maml_tf.MAML(mlp((2,), (3,)), "mse", inner_steps=2)
        with self.assertRaisesRegex(tf.errors.InvalidArgumentError, r"inner step\] \[0, 2\] \(step 2 is the query"):
            learner.meta_gradients((inputs, query_y))

    def assert_a_failed_fit_keeps_what_came_before(self, learner, message):
        """Of four batches the second is at fault: what the first one did must stay, and no more be done."""
        inputs, query_y = make_data(tasks=12)
        inputs[1][5, 0] = np.nan
        variables = [v for v in [*learner.variables, *learner.optimizer.variables] if "loss" not in v.path]
        values = lambda: [variable.numpy() for variable in variables]  # noqa: E731
        start = values()
        with self.assertRaisesRegex(NonFiniteLossError, message) as raised:
            learner.fit(inputs, query_y, batch_size=3, shuffle=False, verbose=0)
        self.assertNotIn("\n", str(raised.exception))
        after_failure = values()
        for variable, value in zip(variables, start, strict=True):
            variable.assign(value)
        learner.fit(*tf.nest.map_structure(lambda leaf: leaf[:3], (inputs, query_y)), batch_size=3, verbose=0)
        assert_same(after_failure, values(), rtol=0)

    @parameterized.parameters({"run_eagerly": True}, {}, {"steps_per_execution": 2}, {"steps_per_execution": 4})
    def test_weights_and_optimizer_are_those_before_the_failed_train_step(self, **options):
        model = sequential(layers.BatchNormalization(), keras.layers.Dropout(0.1, seed=1), keras.layers.Dense(1))
        learner = maml_tf.MAML(model, "mse")
        learner.compile("adam", jit_compile=False, **options)
        message = r"in iteration 1 at \[task, inner step\] \[2, 0\]"
        self.assert_a_failed_fit_keeps_what_came_before(learner, message)

    @parameterized.parameters(1, 2, 4)
    def test_xla_names_task_and_step_and_leaves_weights_and_optimizer(self, steps_per_execution):
        learner = maml_tf.MAML(mlp((2,), (3,)), "mse")
        learner.compile("adam", steps_per_execution=steps_per_execution)
        self.assertTrue(learner.jit_compile)
        message = r"in iteration 1 at .*\[2, 0\] .*1.*tasks.*: 1\."
        self.assert_a_failed_fit_keeps_what_came_before(learner, message)

    @parameterized.parameters(True, False)
    def test_in_train_on_batch_the_metrics_forget_it(self, jit_compile):
        learner = maml_tf.MAML(mlp((2,), (3,)), "mse")
        learner.compile("adam", jit_compile=jit_compile, metrics=["mse"])
        with self.assertRaisesRegex(NonFiniteLossError, r"in iteration 0 at \[task, inner step\] \[2, 0\]"):
            learner.train_on_batch(*self.data_with_nan())
        self.assertTrue(np.isfinite(float(learner.get_metrics_result()["loss"])))
        self.assertTrue(np.all(np.isfinite(learner.train_on_batch(*make_data()))))

    def test_a_function_under_xla_returns_the_loss_that_is_not_finite(self):
        learner = maml_tf.MAML(mlp((2,), (3,)), "mse")
        loss, _ = tf.function(learner.meta_gradients, jit_compile=True)(self.data_with_nan())
        self.assertTrue(np.isnan(loss))


if __name__ == "__main__":
    absltest.main()
