"""Tests of the episodes and labelled images of a data set."""

from unittest import mock

import numpy as np
from absl.testing import absltest

from maml_tf.experiments.classification import files as image_data
from maml_tf.experiments.classification.config import TEST, TRAINING, VALIDATION, ClassificationConfig
from tests.support.source_tree import PROJECT


class ImageDataTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.config = ClassificationConfig(
            data_dir=str(PROJECT / "testdata" / "alphabet"), split="alphabets",
            cache_dir=self.create_tempdir().full_path, shots=2, queries=3, evaluation_queries=4, meta_batch_size=2,
        )  # fmt: skip
        self.data = image_data.open_data(self.config)

    def test_training_goes_on_where_it_stopped(self):
        elements = list(image_data.training_episodes(self.data, self.config, TRAINING).take(3))
        [third] = image_data.training_episodes(self.data, self.config, TRAINING, first=2).take(1)
        for whole, resumed in zip(elements[2][0], third[0], strict=True):
            np.testing.assert_array_equal(whole, resumed)
        (support_x, support_y, query_x), query_y = third
        self.assertEqual(support_x.shape, (2, 10, 28, 28, 1))
        self.assertEqual((support_y.shape, query_y.shape), ((2, 10), (2, 15)))
        self.assertEqual(query_x.shape[1], 15)

    def test_turned_characters_are_classes_to_the_baselines_classifier(self):
        images, labels = next(iter(image_data.training_images(self.data, self.config, TRAINING)))
        self.assertEqual(images.shape, (64, 28, 28, 1))
        self.assertBetween(int(np.max(labels)), 10, 39)
        self.assertEqual(image_data.labelled_classes(self.data), 40)

    def test_the_classifiers_training_goes_on_where_it_stopped(self):
        *_, (whole, _) = image_data.training_images(self.data, self.config, TRAINING).take(3)
        [(resumed, _)] = image_data.training_images(self.data, self.config, TRAINING, first=2).take(1)
        np.testing.assert_array_equal(whole, resumed)

    def test_each_purpose_has_its_part_of_the_classes_and_a_seed_of_its_own(self):
        data = mock.Mock()
        image_data.training_episodes(data, self.config, TRAINING, first=5, share=(1, 2))
        image_data.evaluation_episodes(data, self.config, "validation", VALIDATION, 7)
        image_data.evaluation_episodes(data, self.config, "test", TEST, 1)
        self.assertEqual([call.args for call in data.pool.call_args_list], [("train",), ("validation",), ("test",)])
        self.assertEqual(
            data.pool.return_value.episodes.call_args_list,
            [
                mock.call(self.config.stream(TRAINING), 5, 2, 3, meta_batch_size=2, first=5, share=(1, 2)),
                mock.call(self.config.stream(VALIDATION), 5, 2, 4, meta_batch_size=7, tasks=7),
                mock.call(self.config.stream(TEST), 5, 2, 4, meta_batch_size=1, tasks=1),
            ],
        )

    def test_evaluation_ends_after_the_tasks(self):
        batches = list(image_data.evaluation_episodes(self.data, self.config, "validation", VALIDATION, 23))
        self.assertEqual([len(query_y) for _, query_y in batches], [20, 3])
        self.assertEqual(batches[0][1].shape, (20, 20))
        [(_, query_y)] = image_data.evaluation_episodes(self.data, self.config, "test", TEST, 1)
        self.assertLen(query_y, 1)

    def test_mini_imagenet(self):
        config = ClassificationConfig(
            dataset="mini_imagenet", data_dir=str(PROJECT / "testdata" / "mini_imagenet"),
            cache_dir=self.config.cache_dir, ways=3, meta_batch_size=2,
        )  # fmt: skip
        data = image_data.open_data(config)
        [((support_x, *_), _)] = image_data.evaluation_episodes(data, config, "test", TEST, 2)
        self.assertEqual(support_x.shape, (2, 3, 84, 84, 3))
        self.assertEqual(image_data.labelled_classes(data), 6)

    def test_mini_imagenet_cannot_be_downloaded(self):
        with self.assertRaisesRegex(ValueError, "Expected data_dir: mini-ImageNet cannot be downloaded"):
            image_data.open_data(ClassificationConfig(dataset="mini_imagenet"))

    def test_data_that_are_not_there_are_an_error(self):
        with self.assertRaisesRegex(FileNotFoundError, "Expected a folder with images_background.zip"):
            image_data.open_data(ClassificationConfig(data_dir="/nowhere"))


if __name__ == "__main__":
    absltest.main()
