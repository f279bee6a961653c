"""Tests of maml_tf.experiments.omniglot."""

import pathlib

import numpy as np
from absl.testing import absltest, parameterized

from maml_tf.experiments import omniglot
from maml_tf.experiments.omniglot import OmniglotConfig, build_learner
from tests.support.keras_warnings import ignore_array_copy
from tests.support.source_tree import PROJECT

DATA = str(PROJECT / "testdata" / "alphabet")


def small(**fields):
    values = {
        "data_dir": DATA, "split": "alphabets", "iterations": 2, "iterations_per_epoch": 2, "filters": 4,
        "meta_batch_size": 2, "test_tasks": 3, "evaluation_steps": 1,
    }  # fmt: skip
    return OmniglotConfig(**{**values, **fields})


class OmniglotConfigTest(parameterized.TestCase):
    @parameterized.parameters(
        ({"head": "ones"}, r"Expected head to be one of \('zeros', .*Received: head='ones'"),
        ({"iterations": 150}, "multiple of iterations_per_epoch=100. Received: iterations=150"),
        ({"iterations": 0}, "Received: iterations=0"),
        ({"iterations_per_epoch": 0}, "iterations_per_epoch=0"),
    )
    def test_what_cannot_be_run_is_an_error(self, fields, message):
        with self.assertRaisesRegex(ValueError, message):
            OmniglotConfig(data_dir="", **fields)


class BuildLearnerTest(parameterized.TestCase):
    def head(self, **fields):
        return build_learner(OmniglotConfig(data_dir="", filters=4, **fields)).model.get_weights()[-2]

    def test_the_head_starts_as_asked_for(self):
        np.testing.assert_array_equal(self.head(), np.zeros((4, 5)))
        normal = self.head(head="normal", ways=300)
        self.assertAlmostEqual(float(np.std(normal)), 1.0, delta=0.15)
        glorot = self.head(head="glorot_uniform", ways=300)
        self.assertBetween(float(np.max(np.abs(glorot))), 0.05, (6 / 304) ** 0.5)

    def test_the_learner_is_the_configurations(self):
        learner = build_learner(
            OmniglotConfig(data_dir="", filters=4, inner_steps=3, first_order=True, meta_learning_rate=0.5)
        )
        self.assertEqual((learner.inner_steps, learner.first_order), (3, True))
        self.assertAlmostEqual(float(learner.optimizer.learning_rate), 0.5)
        self.assertEqual(learner.model.input_shape, (None, 28, 28, 1))

    def test_batch_statistics_are_those_of_the_batch_at_meta_test_too(self):
        model = build_learner(OmniglotConfig(data_dir="", filters=4, head="normal")).model
        images = np.random.default_rng(0).random((5, 28, 28, 1), np.float32)
        one, all_five = model(images[:1], training=False), model(images, training=False)
        self.assertGreater(np.max(np.abs(all_five[:1] - one)), 1e-3)
        np.testing.assert_allclose(model(images, training=True), all_five, rtol=1e-5, atol=1e-5)


class RunTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        ignore_array_copy()
        self.folder = pathlib.Path(self.create_tempdir().full_path)

    def test_a_training_goes_on_to_more_iterations_and_is_then_evaluated(self):
        rows = omniglot.run(small(first_order=True), str(self.folder))
        self.assertEqual(
            [(row.method, row.shots, row.step, row.metric, row.tasks) for row in rows],
            [("maml_first_order", 1, step, "accuracy", 3) for step in (0, 1)],
        )
        omniglot.run(small(first_order=True, iterations=4), str(self.folder), resume=True)
        self.assertTrue((self.folder / "checkpoints" / "checkpoint-4.index").exists())
        with self.assertRaisesRegex(ValueError, "differs in filters: stored 4, given 5"):
            omniglot.run(small(first_order=True, iterations=4, filters=5), str(self.folder), resume=True)
        with self.assertRaisesRegex(ValueError, "with checkpoints in 'checkpoints'"):
            omniglot.run(small(first_order=True), str(self.folder))

    def test_tasks_that_the_test_characters_cannot_give_are_an_error_before_the_training(self):
        # The alphabet has 5 test characters and 10 to train on.
        with self.assertRaisesRegex(ValueError, "6.*5 classes|5 classes.*6|ways=6"):
            omniglot.run(small(ways=6), str(self.folder))
        self.assertEmpty(list(self.folder.glob("checkpoints/*")))

    def test_data_that_are_not_there_are_an_error(self):
        with self.assertRaisesRegex(FileNotFoundError, "Expected a folder with images_background.zip"):
            omniglot.run(small(data_dir=str(self.folder / "nowhere")), str(self.folder))


if __name__ == "__main__":
    absltest.main()
