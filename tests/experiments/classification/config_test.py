"""Tests of maml_tf.experiments.classification.config."""

import dataclasses

from absl.testing import absltest, parameterized

from maml_tf.configuration import from_dict, to_dict
from maml_tf.experiments.classification.config import ClassificationConfig, make_config


class ClassificationConfigTest(parameterized.TestCase):
    @parameterized.parameters(
        ({"head": "ones"}, "Received: head='ones'"),
        ({"iterations": 0}, "Received: iterations=0"),
        ({"iterations": 700, "validate_every": 500}, "multiple of validate_every=500. Received: iterations=700"),
        ({"validate_every": 150, "iterations_per_epoch": 100}, "a multiple of iterations_per_epoch=100"),
        ({"steps_per_call": 3, "iterations_per_epoch": 100}, "iterations_per_epoch=100"),
        ({"gradient_clip": 0.0}, "Received: gradient_clip=0.0"),
        ({"inner_learning_rate": -1.0}, "Received: inner_learning_rate=-1.0"),
        ({"adapted": "context", "context": 0}, "Received: context=0"),
        ({"method": "anil", "adapted": "weights"}, "adapted='head'.*Received: adapted='weights'"),
        ({"method": "boil", "head": "normal"}, "head='glorot_uniform'.*Received: head='normal'"),
        ({"adapted": "body"}, "adapted='body'.*Received: head='zeros'"),
        ({"method": "implicit_maml", "proximal_weight": 0.0}, "Received: proximal_weight=0.0"),
        ({"method": "implicit_maml", "conjugate_gradient_steps": 0}, "Received: conjugate_gradient_steps=0"),
        ({"least_ways": 6}, "least_ways <= ways=5. Received: least_ways=6"),
        ({"least_shots": 2}, "least_shots <= shots=1. Received: least_shots=2"),
        ({"least_ways": 2, "method": "random"}, "method='random', tested on tasks of one size"),
        ({"method": "oracle"}, "Received: method='oracle'"),
        ({"context": -1}, "Received: context=-1"),
        ({"context": 1, "method": "pretrained"}, "context=0 with method='pretrained'.* Received: .*context=1"),
        ({"context": 1, "adapted": "context", "method": "random"}, "context=0 with method='random'"),
        ({"loss_scale": "sum"}, "Received: loss_scale='sum'"),
        ({"meta_learning_rate_decay": "linear"}, "Received: meta_learning_rate_decay='linear'"),
        ({"initial_weights": "a.weights.h5", "method": "random"}, "Expected no initial_weights .* method='random'"),
    )
    def test_what_cannot_be_run_is_an_error(self, fields, message):
        with self.assertRaisesRegex(ValueError, message):
            ClassificationConfig(**{"iterations": 3000, **fields})

    @parameterized.parameters(
        ({}, (60_000, 500, 100, 1)),
        ({"iterations": 100}, (100, 100, 100, 1)),
        ({"iterations": 7}, (7, 7, 7, 1)),
        ({"iterations": 1009}, (1009, 1009, 1009, 1)),
        ({"iterations": 300, "steps_per_call": 3}, (300, 300, 75, 3)),
        ({"iterations": 700, "iterations_per_epoch": 50}, (700, 700, 50, 1)),
        ({"iterations": 3000, "validate_every": 30}, (3000, 30, 30, 1)),
    )
    def test_intervals_that_are_not_given_follow_the_iterations(self, fields, expected):
        config = ClassificationConfig(**fields)
        intervals = (config.iterations, config.validate_every, config.iterations_per_epoch, config.steps_per_call)
        self.assertEqual(intervals, expected)

    @parameterized.parameters((5, 0.4, 2.0), (20, 0.1, 2.0), (5, 0.01, 0.05))
    def test_step_sizes_of_the_original_are_so_much_on_the_mean(self, ways, original, mean):
        config = ClassificationConfig(ways=ways, inner_learning_rate=original, loss_scale="original")
        self.assertAlmostEqual(config.mean_step_size, mean)
        self.assertEqual(ClassificationConfig(ways=ways, inner_learning_rate=original).mean_step_size, original)

    @parameterized.parameters((1, 10 / 75), (5, 10 / 15))
    def test_the_gradients_bound_of_the_original_is_so_much_on_the_mean(self, shots, mean):
        config = ClassificationConfig(shots=shots, queries=15, gradient_clip=10.0, loss_scale="original")
        self.assertAlmostEqual(config.mean_gradient_clip, mean)
        self.assertEqual(ClassificationConfig(gradient_clip=10.0).mean_gradient_clip, 10.0)
        self.assertIsNone(ClassificationConfig(loss_scale="original").mean_gradient_clip)

    def test_no_two_purposes_of_two_runs_share_a_stream(self):
        streams = {ClassificationConfig(seed=seed).stream(purpose) for seed in range(3) for purpose in range(4)}
        self.assertLen(streams, 12)

    def test_the_identity_leaves_out_what_does_not_change_the_training(self):
        identity = ClassificationConfig().identity()
        names = {field.name for field in dataclasses.fields(ClassificationConfig)}
        self.assertEqual(
            names - set(identity),
            {
                "data_dir",
                "cache_dir",
                "iterations",
                "test_tasks",
                "steps_per_call",
                "parallel_tasks",
                "method",
                "batch_size",
                "meta_learning_rate_decay",
                "initial_weights",
                "multi_step_iterations",
                "first_order_iterations",
                "per_step_norm",
                "curvature",
                "drop_rate",
                "least_ways",
                "least_shots",
                "proximal_weight",
                "conjugate_gradient_steps",
                "in_task_order",
            },
        )
        self.assertEqual(ClassificationConfig(method="pretrained").identity()["batch_size"], 64)

    def test_the_identity_holds_what_a_training_starts_from_and_how_long_its_rate_decays(self):
        plain = ClassificationConfig().identity()
        decaying = ClassificationConfig(meta_learning_rate_decay="cosine").identity()
        self.assertEqual(decaying, plain | {"meta_learning_rate_decay": "cosine", "iterations": 60_000})
        started = ClassificationConfig(initial_weights="a.weights.h5").identity()
        self.assertEqual(started, plain | {"initial_weights": "a.weights.h5"})

    def test_the_rows_name_the_method(self):
        for fields, label in (
            ({}, "maml"),
            ({"first_order": True}, "maml_first_order"),
            ({"adapted": "weights"}, "maml"),
            ({"adapted": "head"}, "anil"),
            ({"adapted": "body", "head": "normal"}, "boil"),
            ({"method": "boil"}, "boil"),
            ({"method": "implicit_maml"}, "implicit_maml"),
            ({"method": "meta_curvature"}, "meta_curvature"),
            ({"adapted": "context", "context": 1}, "context_vector"),
            ({"method": "pretrained"}, "pretrained"),
            ({"method": "reptile"}, "reptile"),
            ({"method": "meta_sgd"}, "meta_sgd"),
            ({"method": "anil"}, "anil"),
            ({"method": "anil", "first_order": True}, "anil_first_order"),
            ({"method": "maml_first_order"}, "maml_first_order"),
            ({"method": "maml_first_order", "adapted": "head"}, "anil_first_order"),
            ({"method": "context_vector", "context": 2}, "context_vector"),
        ):
            self.assertEqual(ClassificationConfig(**fields).label, label)

    @parameterized.parameters(
        ("maml_first_order", {"first_order": True}),
        ("anil", {"adapted": "head"}),
        ("anil_first_order", {"adapted": "head", "first_order": True}),
        ("meta_sgd", {"step_sizes": "weight"}),
        ("boil", {"adapted": "body", "head": "glorot_uniform"}),
        ("context_vector", {"adapted": "context", "context": 1}),
    )
    def test_a_variant_of_maml_is_the_same_training_by_its_name_and_by_its_fields(self, method, fields):
        named, spelled = ClassificationConfig(method=method), ClassificationConfig(**fields)
        self.assertEqual(named.identity(), spelled.identity())
        self.assertNotIn("method", named.identity())
        self.assertEqual(named, ClassificationConfig(method=method, **fields))
        self.assertEqual(from_dict(ClassificationConfig, to_dict(named)), named)

    def test_the_annealing_of_maml_plus_plus_follows_the_iterations(self):
        config = ClassificationConfig(method="maml_plus_plus", iterations=2000)
        self.assertEqual((config.multi_step_iterations, config.first_order_iterations), (300, 1000))
        self.assertEqual(config.meta_learning_rate_decay, "cosine")
        self.assertEqual(from_dict(ClassificationConfig, to_dict(config)), config)
        other = ClassificationConfig(method="maml_plus_plus", iterations=2000, first_order_iterations=0)
        self.assertEqual((other.multi_step_iterations, other.first_order_iterations), (300, 0))
        plain, alone = (ClassificationConfig(**fields).identity() for fields in ({}, {"multi_step_iterations": 5}))
        self.assertEqual(alone, plain | {"multi_step_iterations": 5})

    def test_the_inner_problem_of_implicit_maml_is_its_papers(self):
        config = ClassificationConfig(method="implicit_maml")
        self.assertEqual((config.proximal_weight, config.conjugate_gradient_steps), (2.0, 5))
        self.assertEqual(from_dict(ClassificationConfig, to_dict(config)), config)
        identity = ClassificationConfig(method="implicit_maml", proximal_weight=0.5).identity()
        self.assertEqual((identity["method"], identity["proximal_weight"]), ("implicit_maml", 0.5))

    def test_another_algorithm_is_another_training(self):
        self.assertEqual(
            ClassificationConfig(method="reptile").identity(), ClassificationConfig().identity() | {"method": "reptile"}
        )

    def test_a_method_comes_before_the_preset_and_a_flag_against_it_is_an_error(self):
        config = make_config("omniglot", "5way_1shot_paper", method="anil", ways=3)
        self.assertEqual((config.adapted, config.head, config.ways), ("head", "normal", 3))
        for method, fields in (
            ("anil", {"adapted": "everything"}),
            ("maml_first_order", {"first_order": False}),
            ("meta_sgd", {"step_sizes": "fixed"}),
        ):
            [(name, value)] = fields.items()
            with self.assertRaisesRegex(ValueError, f"Received: {name}={value!r}"):
                make_config("omniglot", method=method, **fields)

    def test_tasks_may_have_sizes_of_their_own(self):
        config = ClassificationConfig(shots=5, least_ways=2, least_shots=1)
        self.assertEqual((config.task_ways, config.task_shots), ((2, 5), (1, 5)))
        self.assertEqual((config.protocol()["least_ways"], config.protocol()["least_shots"]), (2, 1))
        fixed = ClassificationConfig(shots=5)
        self.assertEqual((fixed.task_ways, fixed.task_shots), (5, 5))
        self.assertNotIn("least_ways", fixed.protocol())
        self.assertEqual(config.for_evaluation({"least_ways": 5}).task_ways, (5, 5))

    def test_the_protocol_names_what_numbers_depend_on(self):
        protocol = ClassificationConfig(loss_scale="original", evaluation_queries=3).protocol()
        self.assertEqual(protocol["queries_per_class"], 3)
        self.assertEqual(protocol["batch_norm"], "transductive")
        self.assertEqual(protocol["loss_scale"], "original")
        self.assertAlmostEqual(protocol["inner_learning_rate_on_the_mean"], 2.0)


if __name__ == "__main__":
    absltest.main()
