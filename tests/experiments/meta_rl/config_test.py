"""Tests of the configuration of meta-reinforcement learning."""

import dataclasses

from absl.testing import absltest, parameterized

from maml_tf.configuration import from_dict, settings, to_dict
from maml_tf.experiments.meta_rl import config as config_module
from maml_tf.experiments.meta_rl.config import MetaRLConfig, preset
from maml_tf.rl.environments import environments, meta_world


class MetaRLConfigTest(parameterized.TestCase):
    @parameterized.parameters(
        ({"environment": "walker"}, "Received: environment='walker'"),
        ({"rollouts": 0}, "Received: rollouts=0"),
        ({"inner_learning_rate": 0.0}, "inner_learning_rate"),
        ({"products": "exact"}, "Received: products='exact'"),
        ({"damping": -1.0}, "damping"),
        ({"evaluation_learning_rate": 0.0}, "evaluation_learning_rate"),
        ({"later_learning_rate": -0.1}, "later_learning_rate"),
        ({"discount": 1.5}, "Received: discount=1.5"),
        ({"gae_lambda": -0.1}, "Received: gae_lambda=-0.1"),
        ({"test_seed": 2**32}, "Received: test_seed=4294967296"),
        ({"sampler": "ray", "workers": 0}, "Received: workers=0"),
        ({"workers": 2}, "Expected workers with sampler=ray alone. Received: workers=2, sampler='process'"),
        ({"ray_address": "auto"}, "Expected ray_address with sampler=ray alone"),
        ({"inner_objective": "dice", "curvature_stride": 2}, "every time step.* Received: curvature_stride=2"),
    )
    def test_bad_values_are_refused(self, changes, message):
        with self.assertRaisesRegex(ValueError, message):
            MetaRLConfig(**changes)

    def test_values_on_the_bound_pass(self):
        MetaRLConfig(discount=0.0, gae_lambda=0.0, damping=0.0, test_seed=2**32 - 1)
        MetaRLConfig(discount=1.0, gae_lambda=1.0)

    def test_results_do_not_depend_on_where_rollouts_are_sampled(self):
        shared_out = MetaRLConfig(sampler="ray", workers=20, ray_address="auto")
        self.assertEqual(shared_out.results_identity(), MetaRLConfig().results_identity())
        self.assertEqual(shared_out.in_this_process(), MetaRLConfig())

    def test_streams_differ_between_purposes_and_seeds(self):
        streams = {MetaRLConfig(seed=seed).stream(purpose) for seed in range(5) for purpose in range(4)}
        self.assertLen(streams, 20)

    def test_later_steps_take_half_unless_said_otherwise(self):
        self.assertEqual(MetaRLConfig().step_sizes(), (0.1, 0.05))
        self.assertEqual(MetaRLConfig(inner_learning_rate=0.5).step_sizes(), (0.5, 0.25))
        self.assertEqual(MetaRLConfig(evaluation_learning_rate=0.4, later_learning_rate=0.3).step_sizes(), (0.4, 0.3))
        self.assertEqual(MetaRLConfig().step_sizes(1.0), (1.0, 0.5))
        self.assertEqual(MetaRLConfig(later_learning_rate=0.3).step_sizes(1.0), (1.0, 0.3))

    def test_a_resume_may_train_longer_but_not_otherwise(self):
        first = MetaRLConfig().identity(method="maml")
        may_change = {"iterations", "test_tasks", "test_seed", "checkpoint_seconds", "tune_step_size", "methods"}
        may_change |= {"sampler", "workers", "ray_address"}
        fields = {field.name for field in dataclasses.fields(MetaRLConfig)}
        # At their defaults, checkpoints are those of before there were these fields.
        later = {name for name, field in settings(MetaRLConfig).items() if field.since}
        self.assertEqual(set(first), fields - may_change - later | {"method"})
        started = MetaRLConfig(initial_weights="policy.keras").identity(method="maml")
        self.assertEqual(started, first | {"initial_weights": "policy.keras"})
        self.assertEqual(first, MetaRLConfig(iterations=7, test_tasks=3).identity(method="maml"))
        self.assertNotEqual(first, MetaRLConfig().identity(method="oracle"))
        self.assertNotEqual(first, MetaRLConfig(seed=2).identity(method="maml"))
        self.assertNotEqual(first, MetaRLConfig(curvature_stride=2).identity(method="maml"))

    @parameterized.parameters(*(name for name in environments if name.startswith(("point", "half_cheetah", "ant"))))
    def test_presets_are_the_papers(self, environment):
        config = preset(environment, seed=5)
        self.assertEqual(config.environment, environment)
        self.assertEqual(config.seed, 5)
        self.assertEqual(config.meta_batch_size, 20 if environment.startswith("point") else 40)
        self.assertEqual(config.rollouts, 40 if environment == "ant_direction" else 20)
        few = environment.startswith("half") or environment == "ant_velocity"
        self.assertEqual(config.evaluation_rollouts, 20 if few else 40)
        self.assertEqual(config.test_seed, 2 if environment == "ant_direction" else 1)
        self.assertEqual(config.max_divergence, 0.02 if environment == "half_cheetah_direction" else 0.01)
        self.assertEqual(from_dict(MetaRLConfig, to_dict(config)), config)

    @parameterized.parameters(*meta_world.NAMES)
    def test_presets_of_meta_world_test_on_all_goals_of_ml1(self, environment):
        config = preset(environment, iterations=3)
        self.assertEqual((config.environment, config.iterations, config.test_tasks), (environment, 3, 50))
        # Two tasks of each of ML10's kinds.
        self.assertEqual((config.meta_batch_size, config.rollouts, config.evaluation_rollouts), (20, 10, 10))

    def test_purposes(self):
        purposes = (config_module.TRAINING, config_module.TUNING, config_module.TEST, config_module.FIGURES)
        self.assertLen(set(purposes), 4)

    def test_an_unknown_environment_has_no_preset(self):
        with self.assertRaisesRegex(ValueError, "Received: 'walker'"):
            preset("walker")


if __name__ == "__main__":
    absltest.main()
