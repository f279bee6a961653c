"""Measures of a task's data, predictions and loss."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf.doctor import episode_measures


class LabelsTest(parameterized.TestCase):
    OUTPUTS = np.zeros([2, 3, 4], np.float32)

    @parameterized.named_parameters(
        ("integers", np.array([[0, 1, 3], [2, 2, 0]])),
        ("a_column", np.array([[[0], [1], [3]], [[2], [2], [0]]])),
        ("one_hot", np.eye(4)[np.array([[0, 1, 3], [2, 2, 0]])]),
    )
    def test_classes_and_new_names_for_them(self, targets):
        names = np.array([[1, 2, 3, 0], [0, 3, 1, 2]])
        found = episode_measures.classes(targets, self.OUTPUTS)
        np.testing.assert_array_equal(found, [[0, 1, 3], [2, 2, 0]])
        renamed = episode_measures.renamed(targets, names)
        self.assertEqual((renamed.shape, renamed.dtype), (targets.shape, targets.dtype))
        np.testing.assert_array_equal(episode_measures.classes(renamed, self.OUTPUTS), [[1, 2, 0], [1, 1, 0]])

    @parameterized.named_parameters(
        ("numbers", np.zeros([2, 3, 4]), OUTPUTS),
        ("one_output", np.zeros([2, 3, 1], int), OUTPUTS[..., :1]),
        ("several_outputs", {"a": np.zeros([2, 3], int)}, {"a": OUTPUTS}),
    )
    def test_what_are_no_classes(self, targets, outputs):
        self.assertIsNone(episode_measures.classes(targets, outputs))

    def test_matched_accuracy_of_chance_is_that_of_random_labels(self):
        random = np.random.default_rng(0)
        predicted, labels = random.integers(0, 3, [2, 200, 12])
        matched = episode_measures.matched_accuracy(predicted, labels, 3).mean()
        chance = episode_measures.chance_matched_accuracy(predicted, labels, 3).mean()
        self.assertAlmostEqual(matched, chance, delta=0.03)


class DataTest(absltest.TestCase):
    def test_duplicates_of_the_own_and_of_another_support_set(self):
        support = np.arange(12.0).reshape(2, 3, 2)
        query = np.concatenate([support[:, :1], support[::-1, :2], -1 - support[:, :1]], axis=1)
        np.testing.assert_allclose(episode_measures.duplicates(support, query), [0.25, 0.25])
        np.testing.assert_allclose(episode_measures.duplicates(support, query, shift=1), [0.5, 0.5])


class LossTest(parameterized.TestCase):
    LABELS, LOGITS = tf.constant([0, 1, 2]), tf.constant([[3.0, 0, 0], [0, 3, 0], [0, 0, 3]])

    @parameterized.parameters((tf.reduce_mean, 1.0), (tf.reduce_sum, 2.0))
    def test_doubled_loss_tells_a_sum_from_a_mean(self, reduce, expected):
        ratio = episode_measures.doubled_loss(lambda y, p: reduce((y - p) ** 2), tf.ones([3, 1]), tf.zeros([3, 1]))
        self.assertAlmostEqual(ratio, expected, places=5)

    @parameterized.parameters(True, False)
    def test_uninformed_loss_of_a_cross_entropy_is_one(self, from_logits):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
        outputs = self.LOGITS if from_logits else tf.nn.softmax(self.LOGITS)
        self.assertAlmostEqual(episode_measures.uninformed_loss(loss, self.LABELS, outputs), 1.0, places=4)

    @parameterized.named_parameters(
        ("cross_entropy", keras.losses.SparseCategoricalCrossentropy(from_logits=True), LABELS, LOGITS, None),
        ("of_probabilities", keras.losses.SparseCategoricalCrossentropy(), LABELS, tf.nn.softmax(LOGITS), None),
        ("squares", keras.losses.MeanSquaredError(), tf.ones([4, 1]), tf.zeros([4, 1]) + 2.0, None),
        ("absolute", keras.losses.MeanAbsoluteError(), tf.ones([4, 1]), tf.zeros([4, 1]) + 2.0, None),
        (
            "own_logarithm",
            lambda y, p: -tf.reduce_mean(tf.math.log(tf.gather(p, y, axis=1, batch_dims=1))),
            LABELS,
            tf.nn.softmax(LOGITS),
            "probabilities",
        ),
        ("root", lambda y, p: tf.sqrt(tf.reduce_mean((y - p) ** 2)), tf.ones([4, 1]), tf.zeros([4, 1]) + 2.0, "equal"),
    )
    def test_outputs_at_which_the_loss_is_not_finite(self, loss, targets, outputs, expected):
        found = episode_measures.loss_not_finite_at(loss, targets, outputs)
        if expected is None:
            self.assertIsNone(found)
        else:
            self.assertIn(expected, found)


if __name__ == "__main__":
    absltest.main()
