"""Tests of maml_tf.baselines.pretrained_classifier."""

from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest

from maml_tf.baselines import classifier, labelled_batches
from maml_tf.baselines.pretrained_classifier import feature_model
from maml_tf.models import conv_net
from maml_tf.tasks import ClassPool
from tests.support.keras_warnings import ignore_array_copy


def pool():
    """Returns three classes of 2, 3 and 4 images, each its own byte everywhere but for a mark in a corner."""
    values = np.arange(9, dtype=np.uint8) + 10
    images = np.tile(values[:, None, None, None], (1, 4, 4, 1))
    images[:, 0, 0] = 255
    return ClassPool(images, ["a", "a", "b", "b", "b", "c", "c", "c", "c"])


class ClassifierTest(absltest.TestCase):
    def test_training_it_trains_the_networks_own_features(self):
        ignore_array_copy()
        network = conv_net((4, 4, 1), ways=2, filters=3, blocks=2)
        before = [value.copy() for value in network.get_weights()]
        model = classifier(network, 3)
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(labelled_batches(pool(), 0, 6), steps_per_epoch=2, shuffle=False, verbose=0)
        after = network.get_weights()
        for index in (0, 1, 2, 3):  # Kernels and offsets.
            self.assertFalse(np.array_equal(before[index], after[index]))
        for index in (4, 5):  # The few-shot head.
            np.testing.assert_array_equal(before[index], after[index])
        images = np.random.default_rng(0).random((3, 4, 4, 1), np.float32)
        features, head = feature_model(network)(images), model.get_layer("class_head")
        np.testing.assert_allclose(model(images), head(features), rtol=1e-6)

    def test_one_class_is_an_error(self):
        with self.assertRaisesRegex(ValueError, "at least 2. Received: classes=1"):
            classifier(conv_net((4, 4, 1), filters=2, blocks=1), 1)


class LabelledBatchesTest(absltest.TestCase):
    def test_labels_are_the_images_and_all_are_drawn(self):
        seen = set()
        for images, labels in labelled_batches(pool(), 1, 50).take(4):
            number = np.round(images.numpy()[:, 2, 2, 0] * 255).astype(int) - 10
            np.testing.assert_array_equal(labels, np.repeat([0, 1, 2], [2, 3, 4])[number])
            seen |= set(number)
        self.assertEqual(seen, set(range(9)))

    def test_turned_classes_are_classes_of_their_own(self):
        seen = set()
        for images, labels in labelled_batches(pool(), 1, 50, rotations=True).take(4):
            marked = images.numpy()[..., 0] == 1.0
            # The mark in the corner, turned counterclockwise.
            corners = {0: (0, 0), 1: (3, 0), 2: (3, 3), 3: (0, 3)}
            for image, label in zip(marked, labels.numpy(), strict=True):
                self.assertEqual(tuple(np.argwhere(image)[0]), corners[label % 4])
            seen |= set(labels.numpy())
        self.assertEqual(seen, set(range(12)))

    def test_images_are_those_of_the_pools_episodes(self):
        signed = pool().subset("abc", transform=lambda images: tf.cast(images, tf.float32) / 127.5 - 1.0)
        [(plain, labels)], [(images, same_labels)] = (labelled_batches(p, 1, 50).take(1) for p in (pool(), signed))
        np.testing.assert_array_equal(labels, same_labels)
        np.testing.assert_allclose(images, 2.0 * plain - 1.0, atol=1e-6)

    def test_an_element_is_a_function_of_its_seed_and_index(self):
        whole = list(labelled_batches(pool(), 3, 5).take(3))
        [third] = labelled_batches(pool(), 3, 5, first=2).take(1)
        for one, other in zip(whole[2], third, strict=True):
            np.testing.assert_array_equal(one, other)
        self.assertFalse(np.array_equal(whole[0][1], whole[1][1]))
        [other] = labelled_batches(pool(), 4, 5).take(1)
        self.assertFalse(np.array_equal(whole[0][0], other[0]))

    def test_every_image_of_a_large_pool_can_be_drawn(self):
        # A float32 drawn uniformly from [0, 1) is a multiple of 2**-23: times 2**24 it is even.
        large = mock.MagicMock(class_sizes=[2**23, 2**23], transform=tf.identity, look_up=lambda numbers: numbers % 2)
        large.__len__.return_value = 2
        [(drawn, labels)] = labelled_batches(large, 0, 1000).take(1)
        self.assertBetween(float(np.mean(drawn.numpy() > 0)), 0.4, 0.6)
        self.assertBetween(float(np.mean(labels)), 0.4, 0.6)

    def test_bad_numbers_are_errors(self):
        with self.assertRaisesRegex(ValueError, "Received: batch_size=0"):
            labelled_batches(pool(), 1, 0)
        with self.assertRaisesRegex(ValueError, "Received: first=-1"):
            labelled_batches(pool(), 1, 5, first=-1)


if __name__ == "__main__":
    absltest.main()
