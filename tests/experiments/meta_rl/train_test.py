"""Tests of the methods of meta-reinforcement learning, small: what each composes, and resume."""

import dataclasses
import pathlib
import tempfile
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.core.selection import everything
from maml_tf.experiments.meta_rl import evaluate as evaluation_module
from maml_tf.experiments.meta_rl import methods as methods_module
from maml_tf.experiments.meta_rl import train as train_module
from maml_tf.experiments.meta_rl.config import TEST, TRAINING, TUNING, MetaRLConfig
from maml_tf.experiments.meta_rl.evaluate import CANDIDATES, evaluate, tune_step_size
from maml_tf.experiments.meta_rl.methods import adapted, build_adaptation, build_iteration
from maml_tf.experiments.meta_rl.train import Validation, train
from maml_tf.rl.adaptation import PolicyAdaptation
from maml_tf.rl.meta_policy import Estimation, Sampler
from maml_tf.rl.methods import build_environment, build_policy
from maml_tf.rl.objectives import ClippedSurrogate, likelihood_ratio
from maml_tf.rl.policy import PurePolicy
from maml_tf.rl.rollouts import mean_returns
from maml_tf.rl.trust_region import TrustRegion
from tests.support.keras_warnings import ignore_array_copy

SMALL = {
    "meta_batch_size": 3, "rollouts": 4, "hidden": 8, "evaluation_steps": 2, "evaluation_rollouts": 3, "test_tasks": 2,
    "tuning_tasks": 2, "iterations": 2, "conjugate_gradient_iterations": 2,
}  # fmt: skip


def parts(method, **changes):
    config = MetaRLConfig(**{**SMALL, **changes})
    environment = build_environment(method, config, 12)
    policy = PurePolicy(build_policy(method, config, environment))
    return config, environment, policy


class MethodsTest(parameterized.TestCase):
    @parameterized.parameters(("maml", 2, 1), ("pretrained", 2, 0), ("oracle", 4, 0), ("context_vector", 2, 1))
    def test_composition(self, method, inputs, inner_steps):
        config, environment, policy = parts(method)
        iteration = build_iteration(method, config, environment, policy)
        self.assertEqual(policy.policy.network.input_shape, (None, inputs))
        self.assertEqual(iteration.inner_steps, inner_steps)
        self.assertEqual(iteration.outer.bound, config.max_divergence)

    def test_all_that_the_configuration_says_is_used(self):
        config, environment, policy = parts(
            "maml", seed=5, inner_steps=2, inner_learning_rate=0.3, evaluation_learning_rate=0.7, first_order=True,
            inner_objective="likelihood_ratio", outer_objective="clipped", conjugate_gradient_iterations=3,
            damping=0.1, products="finite_differences", curvature_stride=2, discount=0.9, gae_lambda=0.8, budget=True,
        )  # fmt: skip
        with (
            mock.patch.object(methods_module, "PolicyAdaptation", wraps=PolicyAdaptation) as adaptation,
            mock.patch.object(PolicyAdaptation, "problem") as problem,
        ):
            iteration = build_iteration("maml", config, environment, policy)
        options = {"objective": likelihood_ratio, "adapted": everything, "first_order": True}
        self.assertEqual(adaptation.call_args, mock.call(policy, 0.3, **options))
        self.assertIsInstance(problem.call_args.args[0], ClippedSurrogate)
        outer = iteration.outer
        self.assertEqual((outer.iterations, outer.damping, outer.products), (3, 0.1, "finite_differences"))
        self.assertEqual(outer.thin.keywords, {"stride": 2})
        self.assertEqual(iteration.sampler.estimation, Estimation(0.9, 0.8, budget=True))
        self.assertIs(iteration.sampler.environment, environment)
        self.assertEqual((iteration.tasks, iteration.inner_steps, iteration.seed), (3, 2, config.stream(TRAINING)))
        self.assertEqual([weight.shape[-1] for weight in policy.policy.network.get_weights()], [8, 8, 8, 8, 2, 2])

    def test_outer_steps_of_the_methods(self):
        settings = {
            "inner_steps": 2, "clip": 0.4, "outer_epochs": 3, "outer_learning_rate": 0.2, "divergence_penalty": 0.3,
            "divergence_target": 0.7, "sampling_correction": 5.0,
        }  # fmt: skip
        outer = {}
        for method in ("promp", "maml_ppo", "e_maml"):
            config, environment, policy = parts(method, **settings)
            with mock.patch.object(PolicyAdaptation, "problem", autospec=True) as problem:
                outer[method] = build_iteration(method, config, environment, policy).outer
            outer[method].arguments = problem.call_args.args[1:]
        for method in ("promp", "maml_ppo"):
            self.assertEqual((outer[method].epochs, outer[method].learning_rate), (3, 0.2))
            self.assertEqual(outer[method].arguments[0].epsilon, 0.4)
        self.assertLen(outer["maml_ppo"].arguments, 1)
        self.assertEqual(outer["promp"].target, 0.7)
        np.testing.assert_allclose(outer["promp"].penalties, [0.3, 0.3])
        self.assertIsInstance(outer["e_maml"], TrustRegion)
        self.assertIs(outer["e_maml"].arguments[0], likelihood_ratio)
        self.assertEqual(outer["e_maml"].arguments[1].weight, 5.0)

    @parameterized.parameters(
        ("maml", "reinforce", "reinforce"), ("promp", "reinforce", "likelihood_ratio"), ("promp", "dice", "dice"),
        ("e_maml", "reinforce", "reinforce"), ("maml_ppo", "low_variance_curvature", "low_variance_curvature"),
    )  # fmt: skip
    def test_inner_objectives_of_the_methods(self, method, given, expected):
        config, _, policy = parts(method, inner_objective=given)
        with mock.patch.object(methods_module, "PolicyAdaptation", wraps=PolicyAdaptation) as adaptation:
            build_adaptation(method, config, policy, 0.1)
        self.assertEqual(adaptation.call_args.kwargs["objective"].__name__, expected)

    def test_the_context_alone_adapts_and_starts_at_zero(self):
        config, _, policy = parts("context_vector")
        adaptation = build_adaptation("context_vector", config, policy, 0.1)
        self.assertEqual(adaptation.adapted, ["context_vector/context"])
        np.testing.assert_array_equal(policy.parameters()["context_vector/context"], np.zeros((2,)))
        self.assertLen(build_adaptation("maml", config, policy, 0.1).adapted, 8)

    def test_a_thinned_curvature_changes_the_step(self):
        results = []
        for config, environment, policy in (parts("maml"), parts("maml", curvature_stride=2)):
            start = {name: np.full(value.shape, 0.1, np.float32) for name, value in policy.parameters().items()}
            new, logs = build_iteration("maml", config, environment, policy)(start, 0)
            results.append((new["head/kernel"], logs["return_step_0"]))
        self.assertFalse(np.array_equal(results[0][0], results[1][0]))
        self.assertEqual(results[0][1], results[1][1])


class TrainTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        ignore_array_copy()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def test_training_writes_events_and_keeps_the_best_so_far(self):
        config = MetaRLConfig(**SMALL, checkpoint_seconds=0.0, validate_every=1)
        train("context_vector", config, self.folder, False)
        self.assertNotEmpty(list(self.folder.glob("events.*")))
        reader = tf.train.load_checkpoint(str(self.folder / "checkpoints"))
        best = reader.get_tensor("best/iteration/.ATTRIBUTES/VARIABLE_VALUE")
        self.assertEqual(best, 1)

    def test_validations_are_written_where_they_happen(self):
        config = MetaRLConfig(**{**SMALL, "iterations": 5}, validate_every=2)
        step = mock.Mock(side_effect=lambda params, number: (params, {"return": -float(number)}), state={})
        validation = mock.Mock(side_effect=[1.0, 3.0, 2.0])
        with (
            mock.patch.object(train_module, "build_iteration", return_value=step),
            mock.patch.object(train_module, "Validation", return_value=validation),
        ):
            train("maml", config, self.folder, False)
        events = EventAccumulator(str(self.folder), size_guidance={"scalars": 0}).Reload()
        for tag, expected in (  # Over the iterations done.
            ("validation/return", {2: 1.0, 4: 3.0, 5: 2.0}),
            ("training/return", {number + 1: -number for number in range(5)}),
        ):
            self.assertEqual({event.step: event.value for event in events.Scalars(tag)}, expected)

    def test_the_model_kept_is_the_best_on_validation_tasks(self):
        config = MetaRLConfig(**{**SMALL, "iterations": 5}, validate_every=2)
        step = mock.Mock(side_effect=lambda params, number: ({k: v + 1.0 for k, v in params.items()}, {}), state={})
        validation = mock.Mock(side_effect=[1.0, 3.0, 2.0])  # After 2, 4 and 5 iterations.
        with (
            mock.patch.object(train_module, "build_iteration", return_value=step),
            mock.patch.object(train_module, "Validation", return_value=validation),
        ):
            policy = train("maml", config, self.folder, False)
        self.assertEqual(validation.call_count, 3)
        np.testing.assert_array_equal(policy.policy.log_std, [4.0, 4.0])

    def test_a_training_can_start_from_the_policy_of_another(self):
        _, _, policy = parts("maml", seed=7)
        policy.policy.log_std.assign([0.5, -0.5])
        for name, write in (("policy.keras", policy.policy.save), ("a.weights.h5", policy.policy.save_weights)):
            write(path := self.folder / name)
            config = MetaRLConfig(**{**SMALL, "iterations": 1}, initial_weights=str(path))
            step = mock.Mock(side_effect=lambda params, number: (params, {}), state={})
            with mock.patch.object(train_module, "build_iteration", return_value=step):
                trained = train("maml", config, self.folder / name.split(".")[0], False)
            self.assertEqual(step.call_args.args[1], 0)
            for value, expected in zip(trained.policy.get_weights(), policy.policy.get_weights(), strict=True):
                np.testing.assert_array_equal(value, expected)

    def test_a_resume_goes_on_from_the_checkpoint_and_not_from_the_initial_weights(self):
        _, _, policy = parts("maml", seed=7)
        path = self.folder / "policy.keras"
        policy.policy.save(path)
        config = MetaRLConfig(**SMALL, initial_weights=str(path), checkpoint_seconds=0.0)
        whole = train("maml", config, self.folder / "whole", False)
        train("maml", dataclasses.replace(config, iterations=1), self.folder / "parts", False)
        path.unlink()
        resumed = train("maml", config, self.folder / "parts", True)
        for value, expected in zip(resumed.policy.get_weights(), whole.policy.get_weights(), strict=True):
            np.testing.assert_array_equal(value, expected)
        with self.assertRaisesRegex(FileNotFoundError, "Received: .*policy.keras"):
            train("maml", config, self.folder / "third", False)

    def test_initial_weights_of_another_policy_are_refused(self):
        _, _, policy = parts("oracle")
        policy.policy.save(self.folder / "policy.keras")
        config = MetaRLConfig(**SMALL, initial_weights=str(self.folder / "policy.keras"))
        with self.assertRaisesRegex(ValueError, "Received: .*policy.keras"):
            train("maml", config, self.folder / "maml", False)

    def test_a_policy_that_always_diverges_is_an_error(self):
        config = MetaRLConfig(**{**SMALL, "iterations": 1})
        step = mock.Mock(side_effect=lambda params, _: (params, {}), state={})
        validation = mock.Mock(return_value=-np.inf)
        with (
            mock.patch.object(train_module, "build_iteration", return_value=step),
            mock.patch.object(train_module, "Validation", return_value=validation),
            self.assertRaisesRegex(ValueError, "maml policy that does not diverge.*none in 1 meta-iterations"),
        ):
            train("maml", config, self.folder, False)

    def test_random_is_not_trained(self):
        config = MetaRLConfig(**SMALL)
        one, other = (train("random", config, self.folder, False) for _ in range(2))
        for first, second in zip(one.policy.get_weights(), other.policy.get_weights(), strict=True):
            np.testing.assert_array_equal(first, second)
        self.assertEmpty(list(self.folder.iterdir()))
        of_another_seed = train("random", MetaRLConfig(**SMALL, seed=2), self.folder, False)
        kernel = one.parameters()["head/kernel"]
        self.assertFalse(np.array_equal(kernel, of_another_seed.parameters()["head/kernel"]))


class ValidationTest(parameterized.TestCase):
    @parameterized.parameters(
        ("maml", [[2.0], [6.0, np.nan]], 4.0), ("pretrained", [[1.0]], 1.0), ("oracle", [[1.0]], 1.0)
    )
    def test_is_the_mean_over_the_steps_that_training_is_for(self, method, returns, expected):
        config, _, policy = parts(method)
        validation = Validation(method, config, policy)
        value = validation(policy.parameters())
        self.assertEqual(value, validation(policy.parameters()))
        self.assertLess(value, 0)
        with mock.patch.object(methods_module, "mean_returns", side_effect=returns):
            self.assertEqual(validation(policy.parameters()), expected)

    def test_a_diverged_policy_is_the_worst(self):
        config, _, policy = parts("maml", inner_learning_rate=1e30)
        with self.assertLogs("absl", level="WARNING") as logs:
            self.assertEqual(Validation("maml", config, policy)(policy.parameters()), -np.inf)
        self.assertIn(
            "maml: the policy diverges on the validation tasks in 2 steps of sizes (1e+30, 5e+29)", logs.output[0]
        )


class EvaluateTest(absltest.TestCase):
    def test_returns_of_each_step_and_task(self):
        config, _, policy = parts("maml")
        evaluation = evaluate("maml", config, policy, (0.1, 0.05))
        self.assertEqual(evaluation.values["return"].shape, (3, 2))
        again = evaluate("maml", config, policy, (0.1, 0.05))
        np.testing.assert_array_equal(evaluation.values["return"], again.values["return"])

    def test_tests_and_validations_each_have_tasks_and_seeds_of_their_own(self):
        config, _, policy = parts("maml", test_seed=7, seed=3)
        self.enter_context(mock.patch.object(Sampler, "adapt", autospec=True, side_effect=Sampler.adapt))
        self.enter_context(mock.patch.object(methods_module, "build_adaptation", wraps=build_adaptation))
        evaluate("maml", config, policy, (0.7, 0.2))
        self.assertEqual(methods_module.build_adaptation.call_args.args[-1], (0.7, 0.2))
        _, _, tasks, steps, seed = Sampler.adapt.call_args.args
        goals = np.random.RandomState(7).uniform(-0.5, 0.5, (2, 2)).astype(np.float32)
        np.testing.assert_array_equal(tasks, goals)
        self.assertEqual((steps, seed), (2, (config.stream(TEST), 2)))
        Validation("maml", config, policy)(policy.parameters())
        _, _, tasks, steps, seed = Sampler.adapt.call_args.args
        self.assertEqual((steps, seed), (2, (config.stream(TUNING), 2)))
        drawn = build_environment("maml", config, 1).sample_tasks(2, (config.stream(TUNING), 2))
        np.testing.assert_array_equal(tasks, drawn)

    def test_the_step_size_chosen_is_the_one_with_the_best_mean_return_over_the_gradient_steps(self):
        config, _, policy = parts("random", later_learning_rate=0.3)
        candidates = (5.0, 0.01, 1.0)
        with mock.patch.object(evaluation_module, "CANDIDATES", candidates):
            tuned = tune_step_size("random", config, policy)
        seed = config.stream(TUNING)
        tasks = build_environment("random", config, 1).sample_tasks(2, (seed, 2))
        returns = []
        for size in candidates:
            phases, _ = adapted("random", config, policy, tasks, config.step_sizes(size), 2, seed)
            returns.append(np.mean([mean_returns(phase.rollouts).mean() for phase in phases[1:]]))
        self.assertGreater(np.argmax(returns), 0, returns)
        self.assertEqual(tuned, candidates[np.argmax(returns)], returns)

    def test_a_good_end_does_not_make_up_for_a_bad_way_there(self):
        config, _, policy = parts("random")  # Of two steps.
        returns = [[-10.0, np.nan], [-5.0], [-90.0], [-1.0]]
        with (
            mock.patch.object(evaluation_module, "CANDIDATES", (0.1, 0.2)),
            mock.patch.object(methods_module, "mean_returns", side_effect=returns),
        ):
            self.assertEqual(tune_step_size("random", config, policy), 0.1)

    def test_an_oracle_takes_no_step(self):
        config, _, policy = parts("oracle")
        self.assertEqual(evaluate("oracle", config, policy, (0.1,)).values["return"].shape, (1, 2))

    def test_the_tuned_step_size_is_a_candidate(self):
        config, _, policy = parts("random")
        self.assertIn(tune_step_size("random", config, policy), CANDIDATES)

    def test_a_step_size_that_is_given_is_not_tuned(self):
        config, _, policy = parts("random", evaluation_learning_rate=0.3)
        self.assertEqual(tune_step_size("random", config, policy), 0.3)

    def test_the_first_step_size_is_tuned_for_the_later_ones_given(self):
        config, _, policy = parts("random", later_learning_rate=0.3)
        with mock.patch.object(methods_module, "build_adaptation", wraps=build_adaptation) as built:
            tune_step_size("random", config, policy)
        schedule = built.call_args.args[-1]
        self.assertEqual(schedule, tuple(size for candidate in CANDIDATES for size in (candidate, 0.3)))

    def test_a_step_size_with_which_the_policy_diverges_is_not_chosen(self):
        config, _, policy = parts("random")
        with mock.patch.object(evaluation_module, "CANDIDATES", (1e-3, 1e30)):
            self.assertEqual(tune_step_size("random", config, policy), 1e-3)

    def test_no_step_size_is_chosen_where_the_policy_diverges_with_all(self):
        config, _, policy = parts("random")
        with mock.patch.object(evaluation_module, "CANDIDATES", (1e29, 1e30)):
            with self.assertRaisesRegex(ValueError, "of .1e.29, 1e.30. with which the random policy .* Received: none"):
                tune_step_size("random", config, policy)


if __name__ == "__main__":
    absltest.main()
