"""Tests of maml_tf.few_shot."""

from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from maml_tf.experiments.classification.config import ClassificationConfig
from maml_tf.experiments.classification.train import compile_model
from maml_tf.few_shot.learner import build_evaluator, build_learner, task_loss
from maml_tf.tasks.dataset import datasets


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
            inner_learning_rate=0.1, parallel_tasks=2, steps_per_call=5,
        )  # fmt: skip
        learner = build_learner(config)
        compile_model(learner, config)
        self.assertEqual((learner.inner_steps, learner.first_order, learner.parallel_tasks), (3, True, 2))
        self.assertEqual(learner.update_rule.learning_rates, (0.5,))
        self.assertAlmostEqual(float(learner.optimizer.learning_rate), 0.5)
        self.assertEqual(learner.optimizer.clipvalue, 2.0)
        self.assertEqual(learner.steps_per_execution, 5)

    def test_a_network_without_statistics_per_step_is_named(self):
        def plain(ways, input_shape, filters, head_initializer, batch_statistics):
            raise AssertionError("is not built")

        networks = datasets["omniglot"].networks
        with mock.patch.dict(networks, {"plain": plain}), self.assertRaisesRegex(ValueError, "norm_steps.*'plain'"):
            build_learner(small(network="plain", per_step_norm=True))

    def test_a_network_that_drops_nothing_is_named(self):
        with self.assertRaisesRegex(ValueError, "such as resnet12.*Received: network='conv', drop_rate=0.1"):
            build_learner(small(drop_rate=0.1))

    def test_the_loss_is_the_mean_cross_entropy_of_logits(self):
        loss = task_loss()(np.array([0, 1]), np.array([[2.0, 0.0], [0.0, 0.0]], np.float32))
        self.assertAlmostEqual(float(loss), np.mean([np.log(1 + np.exp(-2.0)), np.log(2.0)]), places=6)

    @parameterized.parameters((0, 1.0), (25, 0.5 + 0.5**1.5), (50, 0.5), (100, 0.0))
    def test_the_outer_learning_rate_falls_as_half_a_cosine(self, iteration, share):
        config = small(meta_learning_rate=0.02, meta_learning_rate_decay="cosine", iterations=100, validate_every=100)
        learner = build_learner(config)
        compile_model(learner, config)
        learner.optimizer.iterations.assign(iteration)
        self.assertAlmostEqual(float(learner.optimizer.learning_rate), 0.02 * share, places=7)

    @parameterized.parameters(
        ({}, (None, 28, 28, 1), "conv4"),
        ({"dataset": "mini_imagenet"}, (None, 84, 84, 3), "flatten"),
        ({"network": "dense"}, (None, 28, 28, 1), "hidden4"),
        ({"dataset": "cifar_fs", "network": "resnet12", "drop_rate": 0.1}, (None, 32, 32, 3), "block4_drop"),
        ({"dataset": "cifar_fs", "network": "wrn_28_10", "filters": 1}, (None, 32, 32, 3), "group3_block4_add"),
    )
    def test_networks(self, fields, input_shape, layer):
        network = build_learner(small(**fields)).model
        self.assertEqual(network.input_shape, input_shape)
        self.assertIn(layer, [layer.name for layer in network.layers])

    def test_a_network_that_there_is_not_is_an_error(self):
        with self.assertRaisesRegex(ValueError, "mini_imagenet. Received: network='dense'"):
            small(dataset="mini_imagenet", network="dense")

    @parameterized.parameters(
        ({}, (28, 28, 1)), ({"network": "dense"}, (28, 28, 1)), ({"dataset": "mini_imagenet"}, (84, 84, 3))
    )
    def test_only_the_context_adapts_with_one(self, fields, shape):
        learner = build_learner(small(adapted="context", context=2, **fields))
        [name] = learner.task_functions.adapted_names
        self.assertIn("context", name)
        self.assertEqual(learner.model.input_shape, (None, *shape))
        self.assertEqual(learner.task_functions.parameters()[name].shape, (*shape[:2], 2))

    def test_the_offsets_of_batch_normalization_do_not_adapt_in_the_originals_way(self):
        learner = build_learner(small(adapted="weights"))
        names = {"/".join(name.split("/")[-2:]) for name in learner.task_functions.adapted_names}
        kernels = {f"{layer}/kernel" for layer in ("conv1", "conv2", "conv3", "conv4", "head")}
        self.assertEqual(names, {*kernels, "head/bias"})

    @parameterized.parameters(
        ("reptile", "Reptile", False, "SGD"),
        ("maml_first_order", "ModelAgnostic", True, "SGD"),
        ("meta_sgd", "ModelAgnostic", False, "LearnedStepSizes"),
        ("maml_plus_plus", "MAMLPlusPlus", False, "LearnedStepSizes"),
        ("meta_curvature", "ModelAgnostic", False, "Chain"),
        ("implicit_maml", "ImplicitMAML", False, "SGD"),
    )
    def test_a_method_names_the_algorithm_and_its_settings(self, method, algorithm, first_order, rule):
        learner = build_learner(small(method=method))
        self.assertEqual(type(learner.algorithm).__name__, algorithm)
        self.assertEqual(type(learner.update_rule).__name__, rule)
        if algorithm == "ModelAgnostic":
            self.assertEqual(learner.algorithm.first_order, first_order)

    def test_a_part_of_maml_plus_plus_stands_alone(self):
        learner = build_learner(small(first_order_iterations=7))
        self.assertEqual(
            learner.algorithm.get_config(),
            {"multi_step_iterations": 0, "first_order_iterations": 7, "first_order": False},
        )
        learner = build_learner(small(per_step_norm=True, inner_steps=2))
        self.assertEqual(learner.model.get_layer("norm1").gamma.shape[0], 3)
        with self.assertRaisesRegex(ValueError, r"'reptile'.*Received: multi_step_iterations"):
            build_learner(small(method="reptile", multi_step_iterations=5))

    def test_the_inner_problem_of_implicit_maml_is_the_configurations(self):
        learner = build_learner(small(method="implicit_maml", proximal_weight=0.5))
        self.assertEqual(learner.algorithm.get_config(), {"proximal_weight": 0.5, "conjugate_gradient_steps": 5})
        for fields in ({"proximal_weight": 0.5}, {"method": "implicit_maml", "first_order": True}):
            with self.assertRaisesRegex(ValueError, "Received: (proximal_weight|first_order)"):
                build_learner(small(**fields))

    def test_curvature_goes_before_step_sizes(self):
        rules = build_learner(small(curvature=True, step_sizes="layer")).update_rule.rules
        self.assertEqual([type(rule).__name__ for rule in rules], ["MetaCurvature", "LearnedStepSizes"])

    def test_the_body_alone_adapts_in_boil(self):
        learner = build_learner(small(method="boil"))
        self.assertFalse([name for name in learner.task_functions.adapted_names if "head" in name])
        self.assertLen(learner.task_functions.adapted_names, 8)

    def test_only_the_head_adapts_in_anil(self):
        learner = build_learner(small(adapted="head"))
        self.assertEqual([name.rpartition("/")[2] for name in learner.task_functions.adapted_names], ["kernel", "bias"])

    @parameterized.parameters(("weight", 10), ("layer", 9), ("layer_and_step", 9))
    def test_step_sizes_can_be_learned(self, granularity, count):
        learner = build_learner(small(step_sizes=granularity, inner_steps=2, loss_scale="original"))
        sizes = learner.update_rule.trainable_variables
        self.assertLen(sizes, count)
        for size in sizes:
            np.testing.assert_allclose(size, np.full(size.shape, 2.0))
        self.assertEqual(sizes[-1].shape == (2,), granularity == "layer_and_step")

    def test_the_support_sets_statistics_serve_the_query(self):
        config = small(head="normal", batch_statistics="support", inner_learning_rate=0.1)
        learner = build_learner(config)
        rng = np.random.default_rng(0)
        support, query = rng.random((2, 5, 28, 28, 1), np.float32)
        labels = np.arange(5)
        evaluator = build_evaluator(learner)
        self.assertEqual(list(evaluator.metrics), ["accuracy"])
        evaluator.metrics["logit"] = lambda targets, logits: logits[2, 1]
        values = evaluator([((support[None], labels[None], query[None]), labels[None])], 1).values
        for steps, [measured] in enumerate(values["logit"]):
            model = learner.adapt(support, labels, steps)
            alone, together = model(query[2:3], training=False)[0, 1], model(query, training=False)[2, 1]
            np.testing.assert_allclose(alone, measured, rtol=1e-4)
            np.testing.assert_allclose(together, measured, rtol=1e-4)

    def test_batch_statistics_are_those_of_the_batch_at_meta_test_too(self):
        images = np.random.default_rng(0).random((5, 28, 28, 1), np.float32)
        for statistics, same in (("transductive", False), ("running", True)):
            model = build_learner(small(head="normal", batch_statistics=statistics)).model
            one, all_five = model(images[:1], training=False), model(images, training=False)
            self.assertEqual(np.max(np.abs(all_five[:1] - one)) < 1e-3, same)
            self.assertEqual(np.allclose(model(images, training=True), all_five, rtol=1e-5, atol=1e-5), not same)


if __name__ == "__main__":
    absltest.main()
