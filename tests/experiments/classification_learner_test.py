"""Tests of maml_tf.experiments.classification_learner."""

import numpy as np
from absl.testing import absltest, parameterized

from maml_tf.experiments.classification_config import ClassificationConfig
from maml_tf.experiments.classification_learner import build_learner, compile_learner


def small(**fields):
    return ClassificationConfig(**{"filters": 4, **fields})


class BuildLearnerTest(parameterized.TestCase):
    def head(self, **fields):
        return build_learner(small(**fields)).model.get_weights()[-2]

    def test_the_head_starts_as_asked_for(self):
        np.testing.assert_array_equal(self.head(), np.zeros((4, 5)))
        normal = self.head(head="normal", ways=300)
        self.assertAlmostEqual(float(np.std(normal)), 1.0, delta=0.15)
        glorot = self.head(head="glorot_uniform", ways=300)
        self.assertBetween(float(np.max(np.abs(glorot))), 0.05, (6 / 304) ** 0.5)

    def test_the_learner_is_the_configurations(self):
        config = small(
            inner_steps=3, first_order=True, meta_learning_rate=0.5, loss_scale="original", gradient_clip=10.0,
            inner_learning_rate=0.1, parallel_tasks=2,
        )  # fmt: skip
        learner = build_learner(config)
        compile_learner(learner, config)
        self.assertEqual((learner.inner_steps, learner.first_order, learner.parallel_tasks), (3, True, 2))
        self.assertEqual(learner.update_rule.learning_rates, (0.5,))
        self.assertAlmostEqual(float(learner.optimizer.learning_rate), 0.5)
        self.assertEqual(learner.optimizer.clipvalue, 2.0)

    @parameterized.parameters(
        ({}, (None, 28, 28, 1), "conv4"),
        ({"dataset": "mini_imagenet"}, (None, 84, 84, 3), "pool4"),
        ({"network": "dense"}, (None, 28, 28, 1), "hidden4"),
    )
    def test_networks(self, fields, input_shape, layer):
        network = build_learner(small(**fields)).model
        self.assertEqual(network.input_shape, input_shape)
        self.assertIn(layer, [layer.name for layer in network.layers])

    def test_only_the_head_adapts_in_anil(self):
        learner = build_learner(small(adapted="head"))
        self.assertEqual([name.rpartition("/")[2] for name in learner.tasks.adapted_names], ["kernel", "bias"])

    @parameterized.parameters(("weight", 10), ("layer", 9), ("layer_and_step", 9))
    def test_step_sizes_can_be_learned(self, granularity, count):
        learner = build_learner(small(step_sizes=granularity, inner_steps=2, loss_scale="original"))
        sizes = learner.update_rule.trainable_variables
        self.assertLen(sizes, count)
        for size in sizes:
            np.testing.assert_allclose(size, np.full(size.shape, 2.0))

    def test_batch_statistics_are_those_of_the_batch_at_meta_test_too(self):
        images = np.random.default_rng(0).random((5, 28, 28, 1), np.float32)
        for statistics, same in (("transductive", False), ("running", True)):
            model = build_learner(small(head="normal", batch_statistics=statistics)).model
            one, all_five = model(images[:1], training=False), model(images, training=False)
            self.assertEqual(np.max(np.abs(all_five[:1] - one)) < 1e-3, same)
            self.assertEqual(np.allclose(model(images, training=True), all_five, rtol=1e-5, atol=1e-5), not same)


if __name__ == "__main__":
    absltest.main()
