"""Tests of maml_tf.experiments.classification.config."""

import dataclasses

from absl.testing import absltest, parameterized

from maml_tf.experiments.classification.config import ClassificationConfig, make_config, preset_fields, presets

# SPEC: dataset, ways, shots: inner steps, alpha on the original's loss, steps in evaluation, tasks, queries a class.
_PAPER = {
    ("omniglot", 5, 1): (1, 0.4, 3, 32, 1),
    ("omniglot", 5, 5): (1, 0.4, 3, 32, 5),
    ("omniglot", 20, 1): (5, 0.1, 5, 16, 1),
    ("omniglot", 20, 5): (5, 0.1, 5, 16, 5),
    ("mini_imagenet", 5, 1): (5, 0.01, 10, 4, 15),
    ("mini_imagenet", 5, 5): (5, 0.01, 10, 2, 15),
}


class PresetsTest(parameterized.TestCase):
    @parameterized.parameters(*_PAPER)
    def test_the_papers_settings(self, dataset, ways, shots):
        for suffix, first_order in (("", False), ("_first_order", True)):
            config = make_config(dataset, f"{ways}way_{shots}shot{suffix}_paper")
            self.assertEqual(
                (config.inner_steps, config.inner_learning_rate, config.evaluation_steps, config.meta_batch_size,
                 config.queries),
                _PAPER[dataset, ways, shots],
            )  # fmt: skip
            self.assertEqual((config.dataset, config.ways, config.shots), (dataset, ways, shots))
            self.assertEqual(config.evaluation_queries, shots)
            self.assertEqual((config.iterations, config.test_tasks, config.meta_learning_rate), (60_000, 600, 1e-3))
            self.assertEqual((config.loss_scale, config.first_order), ("original", first_order))
            self.assertEqual(config.adapted, "weights")
            self.assertEqual(config.gradient_clip, 10.0 if dataset == "mini_imagenet" else None)

    def test_every_preset_can_be_made(self):
        for dataset in ("omniglot", "mini_imagenet"):
            self.assertNotEmpty(presets(dataset))
            for preset in presets(dataset):
                self.assertEqual(make_config(dataset, preset).dataset, dataset)
        for shots in (1, 5):
            self.assertEqual(make_config("omniglot", f"5way_{shots}shot_dense").network, "dense")

    def test_baselines(self):
        for dataset in ("omniglot", "mini_imagenet"):
            for shots in (1, 5):
                for method in ("pretrained", "random"):
                    config = make_config(dataset, f"5way_{shots}shot_{method}")
                    self.assertEqual((config.method, config.shots, config.evaluation_queries), (method, shots, shots))

    def test_what_is_given_takes_the_presets_place(self):
        config = make_config("omniglot", "20way_1shot", ways=7, seed=5)
        self.assertEqual((config.ways, config.seed, config.inner_steps), (7, 5, 5))

    @parameterized.parameters("omniglot", "mini_imagenet")
    def test_a_short_training_needs_no_intervals(self, dataset):
        self.assertEqual(make_config(dataset, "5way_1shot", iterations=100).validate_every, 100)
        self.assertEqual(
            make_config(dataset, "5way_1shot", iterations=100, iterations_per_epoch=50).validate_every, 100
        )
        with self.assertRaisesRegex(ValueError, "validate_every=40"):
            make_config(dataset, "5way_1shot", iterations=100, validate_every=40)

    def test_unknown_names_are_errors(self):
        with self.assertRaisesRegex(ValueError, "Expected a preset of .*5way_1shot.*Received: '6way' of 'omniglot'"):
            make_config("omniglot", "6way")
        with self.assertRaisesRegex(ValueError, r"Expected keys of ClassificationConfig.*Received: \['way'\]"):
            make_config("omniglot", "5way_1shot", way=5)

    @parameterized.parameters("omniglot", "mini_imagenet")
    def test_what_no_preset_sets_has_the_configurations_default(self, dataset):
        fixed = {field.name for field in dataclasses.fields(ClassificationConfig)} - preset_fields(dataset)
        self.assertContainsSubset({"seed", "iterations", "data_dir"}, fixed)
        for preset in presets(dataset):
            config = make_config(dataset, preset)
            self.assertEqual(
                *(
                    {name: getattr(one, name) for name in fixed}
                    for one in (config, ClassificationConfig(dataset=dataset))
                )
            )


if __name__ == "__main__":
    absltest.main()
