"""Tests of maml_tf.baselines.nearest_neighbour."""

import keras
import numpy as np
from absl.testing import absltest

from maml_tf.baselines import nearest_neighbour
from maml_tf.layers import BatchNormalization


class NearestNeighbourTest(absltest.TestCase):
    def test_it_agrees_with_a_search_over_all_pairs(self):
        rng = np.random.default_rng(0)
        support_x, query_x = rng.normal(size=(3, 6, 4)).astype("f"), rng.normal(size=(3, 8, 4)).astype("f")
        support_y, query_y = rng.integers(0, 3, (3, 6)), rng.integers(0, 3, (3, 8))
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)])
        [values] = nearest_neighbour(model, [((support_x, support_y, query_x), query_y)]).values["accuracy"]
        for task in range(3):
            support, query = np.asarray(model(support_x[task])), np.asarray(model(query_x[task]))
            right = 0
            for example, label in zip(query, query_y[task], strict=True):
                cosines = [example @ s / np.linalg.norm(example) / np.linalg.norm(s) for s in support]
                right += support_y[task][int(np.argmax(cosines))] == label
            self.assertAlmostEqual(values[task], right / 8, places=6)

    def test_features_are_those_of_inference_and_meta_batches_are_joined_in_order(self):
        model = keras.Sequential([keras.Input((8,)), keras.layers.Dropout(0.9, seed=0)])
        x = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("f")
        right, wrong = (np.tile(np.roll(np.arange(5), shift), (2, 1)) for shift in (0, 1))
        episodes = [((x, right, x), right), ((x, right, x), wrong)]
        np.testing.assert_array_equal(nearest_neighbour(model, episodes).values["accuracy"], [[1, 1, 0, 0]])

    def test_layers_that_keep_the_last_batchs_statistics_normalize_both_sets_by_the_support_sets(self):
        rng = np.random.default_rng(1)
        support_x = rng.normal(5.0, 2.0, (3, 6, 2)).astype("f")
        query_x = rng.normal(3.0, 4.0, (3, 40, 2)).astype("f")
        support_y, query_y = rng.integers(0, 3, (3, 6)), rng.integers(0, 3, (3, 40))
        model = keras.Sequential([keras.Input((2,)), BatchNormalization(momentum=0.0, epsilon=1e-6)])
        episodes = [((support_x, support_y, query_x), query_y)]
        measured = nearest_neighbour(model, episodes).values["accuracy"]
        mean, deviation = support_x.mean(1, keepdims=True), support_x.std(1, keepdims=True)
        by_hand = ((support_x - mean) / deviation, support_y, (query_x - mean) / deviation)
        identity = keras.Sequential([keras.Input((2,)), keras.layers.Identity()])
        np.testing.assert_array_equal(measured, nearest_neighbour(identity, [(by_hand, query_y)]).values["accuracy"])
        # The model itself stays as it is.
        np.testing.assert_array_equal(model.layers[0].moving_mean, [0.0, 0.0])

    def test_no_episode_is_an_error(self):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)])
        with self.assertRaisesRegex(ValueError, "Expected at least one meta-batch"):
            nearest_neighbour(model, [])

    def test_an_episode_that_does_not_fit_together_is_an_error(self):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)])
        x, y = np.ones((1, 3, 4), "f"), np.ones((1, 3), int)
        with self.assertRaisesRegex(ValueError, "Expected as many query targets as query inputs"):
            nearest_neighbour(model, [((x, y, x), y[:, :1])])


if __name__ == "__main__":
    absltest.main()
