"""The doctor names planted faults, and finds none in healthy learners."""

import warnings

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

import maml_tf
from maml_tf.models import mlp
from maml_tf.tasks import Sinusoids

WAYS, SHOTS, QUERIES, TASKS, FEATURES = 3, 2, 4, 12, 4
CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def blobs(seed=0):
    """Draws tasks of classes around random centres, the classes of a set one after the other."""
    random = np.random.default_rng(seed)
    centres = 2 * random.standard_normal([TASKS, WAYS, 1, FEATURES])

    def examples(number):
        x = centres + 0.5 * random.standard_normal([TASKS, WAYS, number, FEATURES])
        y = np.tile(np.repeat(np.arange(WAYS), number), [TASKS, 1])
        return x.reshape(TASKS, -1, FEATURES).astype(np.float32), y

    (support_x, support_y), (query_x, query_y) = examples(SHOTS), examples(QUERIES)
    return (support_x, support_y, query_x), query_y


def network(*layers):
    """Builds a small network with `layers` between its hidden layer and its head."""
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(16, "tanh", name="hidden")
    head = keras.layers.Dense(WAYS, name="head")
    return keras.Sequential([keras.Input((FEATURES,)), hidden, *layers, head])


def classifier(model=None, loss=CROSS_ENTROPY, alpha=0.3, **arguments):
    return maml_tf.MAML(model or network(), loss, alpha, 2, **arguments)


def sinusoids(index=0):
    episode = Sinusoids().draw(seed=5, index=index, tasks=25, shots=10, queries=10).episode
    return (episode.support_x, episode.support_y, episode.query_x), episode.query_y


class CutAlgorithm(maml_tf.Algorithm):
    """Predicts the query set with parameters through which no gradient flows back."""

    def predict(self, functions, theta, learned, query_x, training):
        cut = tf.nest.map_structure(tf.stop_gradient, learned.params)
        return super().predict(functions, theta, learned._replace(params=cut), query_x, training)


class FirstOrderInDisguise(maml_tf.Algorithm):
    """Cuts the gradient through the update alone, and says that it is exact."""

    def predict(self, functions, theta, learned, query_x, training):
        start = functions.adapted(theta.model)
        moved = {name: start[name] + tf.stop_gradient(value - start[name]) for name, value in learned.params.items()}
        return super().predict(functions, theta, learned._replace(params=moved), query_x, training)


class BatchCentring(keras.layers.Layer):
    """Subtracts the mean of the examples of the call, in inference too."""

    def call(self, x):
        return x - keras.ops.mean(x, axis=0, keepdims=True)


def log_of_softmax(y, logits):
    chosen = tf.gather(tf.nn.softmax(logits), y, axis=1, batch_dims=1)
    return -tf.reduce_mean(tf.math.log(chosen))


def frozen_head():
    model = network()
    model.get_layer("head").trainable = False
    return classifier(model)


def stock_normalization():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The learner's own warning, by the class of the layer.
        return classifier(network(keras.layers.LayerNormalization(name="norm")))


class FaultsTest(parameterized.TestCase):
    @parameterized.named_parameters(
        (
            "stock_normalization",
            "wrong_second_derivative",
            stock_normalization,
            "norm",
        ),
        ("step_size_times_100", "step_too_large", lambda: classifier(alpha=30.0), "100%"),
        ("step_size_over_100", "step_too_small", lambda: classifier(alpha=0.003), "0.08"),
        ("query_gradient_cut", "meta_gradient_cut", lambda: meta_learner(CutAlgorithm()), "hidden/kernel"),
        ("gradient_cut_through_steps", "meta_gradient_cut", lambda: meta_learner(FirstOrderInDisguise()), "is 0 of"),
        ("frozen_head", "head_frozen", frozen_head, "last layer"),
        ("leaked_statistics", "statistics_leak", lambda: classifier(network(BatchCentring())), "0.1%"),
        ("loss_near_nan", "loss_not_finite", lambda: classifier(loss=log_of_softmax), "200"),
        (
            "summed_loss",
            "loss_scale",
            lambda: classifier(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")),
            "2.00",
        ),
        ("multiplied_loss", "loss_scale", lambda: classifier(loss=lambda y, p: 1000 * CROSS_ENTROPY(y, p)), "1e+03"),
    )
    def test_fault_of_the_learner_is_named(self, name, make_learner, received):
        found = {verdict.name: verdict for verdict in maml_tf.diagnose(make_learner(), [blobs()]).verdicts}
        self.assertIn(name, found)
        self.assertIn(received, found[name].statement)
        self.assertIn("threshold", found[name].statement)
        self.assertNotEmpty(found[name].remedy)

    def test_targets_of_another_task_are_named(self):
        (support_x, support_y, query_x), query_y = sinusoids()
        keras.utils.set_random_seed(0)
        learner = maml_tf.MAML(mlp(), "mse", 0.01)
        diagnosis = maml_tf.diagnose(learner, [((support_x, 5 * support_y[::-1], query_x), query_y)])
        self.assertEqual(diagnosis.names, ["no_gain"])

    def test_head_that_is_left_out_and_missed_is_named(self):
        learner = classifier(adapted=maml_tf.matching("hidden/bias"))
        self.assertIn("head_frozen", maml_tf.diagnose(learner, [blobs()]).names)

    def test_what_is_no_learner_is_refused(self):
        with self.assertRaisesRegex(TypeError, "MetaLearner"):
            maml_tf.diagnose(network(), [blobs()])


class EpisodesTest(absltest.TestCase):
    """One sound learner, looked at with sound and with faulty episodes."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.doctor = maml_tf.Doctor(classifier())
        cls.diagnosis = cls.doctor([blobs()])

    def test_sound_episodes(self):
        self.assertTrue(self.diagnosis.healthy)
        self.assertIn("No fault found", str(self.diagnosis))

    def test_labels_that_support_and_query_number_differently_are_named(self):
        (support_x, support_y, query_x), query_y = blobs()
        names = np.random.default_rng(1).permuted(np.tile(np.arange(WAYS), [TASKS, 1]), axis=1)
        shuffled = np.take_along_axis(names, support_y, axis=1)
        self.assertEqual(self.doctor([((support_x, shuffled, query_x), query_y)]).names, ["labels_shuffled"])

    def test_support_examples_in_the_query_set_are_named(self):
        (support_x, support_y, query_x), query_y = blobs()
        query_x[:, ::4] = support_x[:, ::2]
        diagnosis = self.doctor([((support_x, support_y, query_x), query_y)])
        self.assertEqual(diagnosis.names, ["support_in_query"])
        self.assertIn("25%", diagnosis.verdicts[0].statement)

    def test_unknown_labels_are_an_error(self):
        inputs, query_y = blobs()
        with self.assertRaisesRegex(ValueError, f"label {WAYS}"):
            self.doctor([(inputs, query_y + 1)])

    def test_no_episodes_are_an_error(self):
        with self.assertRaisesRegex(ValueError, "none"):
            self.doctor([])

    def test_losses_are_those_of_an_evaluation(self):
        evaluation = maml_tf.evaluate(self.doctor.learner, [blobs()])
        np.testing.assert_allclose(self.diagnosis.measurements.query_loss.T, evaluation.values["loss"], rtol=1e-5)

    def test_second_order_part_is_what_first_order_drops(self):
        learner = self.doctor.learner
        exact = np.concatenate([np.ravel(gradient) for gradient in learner.meta_gradients(blobs())[1]])
        learner.first_order = True
        of_first_order = np.concatenate([np.ravel(gradient) for gradient in learner.meta_gradients(blobs())[1]])
        learner.first_order = False
        share = np.linalg.norm(exact - of_first_order) / np.linalg.norm(exact)
        angle = np.arccos(exact @ of_first_order / np.linalg.norm(exact) / np.linalg.norm(of_first_order))
        measured = self.diagnosis.measurements
        np.testing.assert_allclose(measured.second_order_share[-1], share, rtol=1e-4)
        np.testing.assert_allclose(measured.second_order_angle[-1], np.degrees(angle), rtol=1e-4)

    def test_meta_batches_are_joined(self):
        both = self.doctor([blobs(), blobs(seed=1)]).measurements
        self.assertEqual(both.tasks, 2 * TASKS)
        np.testing.assert_allclose(both.query_loss[:TASKS], self.diagnosis.measurements.query_loss, rtol=1e-5)

    def test_table_holds_every_step_and_layer(self):
        text = str(self.diagnosis)
        for part in ("slope used", "\n1 ", "\n2 ", "hidden", "head", "accuracy"):
            self.assertIn(part, text)

    def test_scalars_are_finite(self):
        scalars = self.diagnosis.scalars()
        self.assertTrue(np.isfinite(list(scalars.values())).all())
        self.assertEqual(scalars["verdicts"], 0)


class QuadraticTest(absltest.TestCase):
    def test_slope_used_and_curvature_of_a_parabola(self):
        # loss = (w x - y)^2 with x = 1: second derivative 2, so alpha = 0.25 uses half of the slope at every step.
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, name="w")])
        x, y = np.ones([3, 2, 1], np.float32), np.full([3, 2, 1], 5, np.float32)
        measured = maml_tf.diagnose(maml_tf.MAML(model, "mse", 0.25, 2), [((x, y, x), y)]).measurements
        np.testing.assert_allclose(measured.slope_used, 0.5, rtol=1e-5)
        np.testing.assert_allclose(measured.curvature, 2, rtol=1e-5)
        np.testing.assert_allclose(measured.support_after[:, 0], measured.support_before[:, 0] / 4, rtol=1e-5)


def meta_learner(algorithm):
    return maml_tf.MetaLearner(network(), CROSS_ENTROPY, algorithm, 0.3, 2)


class HealthyTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("first_order", lambda: classifier(first_order=True)),
        ("reptile", lambda: meta_learner("reptile")),
        ("head_alone", lambda: classifier(adapted=maml_tf.head)),
        ("one_hot", lambda: classifier(loss=keras.losses.CategoricalCrossentropy(from_logits=True))),
    )
    def test_classifier(self, make_learner):
        learner = make_learner()
        (support_x, support_y, query_x), query_y = blobs()
        if isinstance(learner._loss_given, keras.losses.CategoricalCrossentropy):
            support_y, query_y = np.eye(WAYS)[support_y], np.eye(WAYS)[query_y]
        diagnosis = maml_tf.diagnose(learner, [((support_x, support_y, query_x), query_y)])
        self.assertEmpty(diagnosis.names)

    @parameterized.parameters(1, 5)
    def test_sinusoids_before_training(self, steps):
        keras.utils.set_random_seed(0)
        self.assertEmpty(maml_tf.diagnose(maml_tf.MAML(mlp(), "mse", 0.01, steps), [sinusoids()]).names)


if __name__ == "__main__":
    absltest.main()
