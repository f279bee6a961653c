"""Tests of the collection by Ray's actors, over a double in this process; `python -m tests.ray_sampler` has Ray."""

import functools
import pickle
import sys
import types
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.rl import ray_actor, ray_sampling
from maml_tf.rl.adaptation import PolicyAdaptation
from maml_tf.rl.environments import NonFiniteActionsError, PointNavigation
from maml_tf.rl.environments.locomotion import HalfCheetah
from maml_tf.rl.meta_policy import Estimation, Sampler
from maml_tf.rl.policy import PurePolicy, gaussian_mlp_policy
from maml_tf.rl.ray_sampling import RayCollector
from maml_tf.rl.sampling import ProcessCollector

TASKS, EACH = 5, 2


def make(simulations, horizon=6, budget=False):
    environment = PointNavigation(simulations, horizon=horizon)
    return ProcessCollector(environment, PurePolicy(gaussian_mlp_policy(2, 2, (8,))), budget)


class RayTaskError(Exception):
    def __init__(self, cause):
        super().__init__("with the traceback")
        self.cause = cause


class RayActorError(Exception):
    pass


def double(version=None, cpus=4, collect=ray_actor.collect_share):
    """A module like ray whose actors are of this process."""

    class Actor:
        options = remote = lambda self, **options: self

        def __init__(self):
            self.version = types.SimpleNamespace(remote=lambda: version or ray_sampling.maml_tf.__version__)
            self.collect = types.SimpleNamespace(remote=collect)

    return types.SimpleNamespace(
        put=lambda value: value,
        get=list,
        wait=lambda found, **options: (found, []),
        is_initialized=lambda: True,
        cluster_resources=lambda: {"CPU": float(cpus)},
        remote=lambda **options: (
            lambda worker: types.SimpleNamespace(options=lambda **given: types.SimpleNamespace(remote=Actor))
        ),
        cloudpickle=pickle,
        exceptions=types.SimpleNamespace(RayTaskError=RayTaskError, RayActorError=RayActorError),
    )


class RayCollectorTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.environment = PointNavigation(TASKS * EACH, horizon=6)
        cls.adaptation = PolicyAdaptation(PurePolicy(gaussian_mlp_policy(2, 2, (8,))), 0.1)
        cls.policy = cls.adaptation.policy

    def setUp(self):
        super().setUp()
        self.environment.set_tasks(self.environment.sample_tasks(TASKS, 1))
        self.enter_context(mock.patch.object(ray_sampling, "_actors", []))
        self.enter_context(mock.patch.object(ray_sampling, "_started_at", []))
        # Threads are set when TensorFlow starts, which it has.
        self.enter_context(mock.patch.object(ray_actor, "_prepare"))

    def collector(self, workers=2, make=make, environment=None, budget=False, **options):
        self.enter_context(mock.patch.dict(sys.modules, ray=double(**options)))
        return RayCollector(environment or self.environment, self.policy, make, workers=workers, budget=budget)

    def failing(self, error):
        def collect(*arguments):
            raise error

        return self.collector(collect=collect)

    @parameterized.parameters(1, 2, 3, 5)
    def test_phases_and_adapted_parameters_are_those_of_this_process(self, workers):
        tasks = self.environment.sample_tasks(TASKS, 1)
        found = []
        for collector in (None, self.collector(workers, cpus=5)):
            sampler = Sampler(self.environment, self.adaptation, Estimation(), collector)
            phases, path = sampler.adapt(self.policy.parameters(), tasks, 2, (3,))
            found.append([*(leaf for phase in phases for leaf in phase.rollouts), *path[-1].values()])
        for one, other in zip(*found, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_fewer_tasks_than_actors_leave_some_without_work(self):
        collector = self.collector(3)
        self.environment.set_tasks(self.environment.sample_tasks(2, 1))
        params, seed = self.policy.parameters(), (1,)
        whole = ProcessCollector(self.environment, self.policy)(params, seed, own=False)
        np.testing.assert_array_equal(collector(params, seed, own=False).actions, whole.actions)

    def test_diverged_simulations_are_counted(self):
        self.enter_context(mock.patch.object(self.environment, "diverged", 3))

        def collect(*arguments):
            return ray_actor.collect_share(*arguments)[0], 2

        self.collector(collect=collect)(self.policy.parameters(), (1,), own=False)
        self.assertEqual(self.environment.diverged, 3 + 2 * 2)

    def test_a_policy_that_diverges_is_the_error_of_this_process(self):
        with self.assertRaisesRegex(NonFiniteActionsError, "^Expected finite actions$"):
            self.failing(RayTaskError(NonFiniteActionsError("Expected finite actions")))({}, (1,), own=False)

    def test_another_fault_comes_with_its_traceback(self):
        with self.assertRaisesRegex(RayTaskError, "with the traceback"):
            self.failing(RayTaskError(ZeroDivisionError()))({}, (1,), own=False)

    def test_an_actor_that_ends_again_and_again_is_one_error(self):
        with self.assertRaisesRegex(ChildProcessError, "ended 3 times, last: out of memory"):
            self.failing(RayActorError("out of\n memory"))({}, (1,), own=False)

    def test_other_bits_of_the_actors_processors_are_noticed_once(self):
        def collect(*arguments):
            rollouts, diverged = ray_actor.collect_share(*arguments)
            return rollouts._replace(mean=np.nextafter(rollouts.mean, np.float32(9))), diverged

        collector = self.collector(collect=collect)
        with self.assertLogs(level="WARNING") as logs:
            for _ in range(2):
                collector(self.policy.parameters(), (1,), own=False)
        self.assertLen(logs.output, 1)
        self.assertIn("other last bits", logs.output[0])

    def test_restarts_from_random_states_are_refused(self):
        cheetah = HalfCheetah(2, horizon=3, threads=1)
        with self.assertRaisesRegex(ValueError, "budget=False.*Received: HalfCheetah"):
            self.collector(environment=cheetah, budget=True)
        self.collector(environment=cheetah)
        self.assertEqual(cheetah.share, (0, 2))
        budget = self.collector(make=functools.partial(make, budget=True), budget=True)
        self.assertEqual(budget(self.policy.parameters(), (1,), own=False).valid.shape, (TASKS, EACH, 6))

    def test_what_is_wrong_with_a_cluster_is_one_error(self):
        for options, said in (
            ({"version": "0.0.1"}, "Expected maml_tf .* on all machines of the Ray cluster. Received: 0.0.1"),
            ({"cpus": 1}, "at least 2 CPUs, one a worker. Received: 1"),
        ):
            with self.assertRaisesRegex(ValueError, said):
                self.collector(**options)

    def test_collectors_of_one_program_share_their_actors(self):
        few, many = self.collector(2), self.collector(3)
        self.assertEqual(many._workers[:2], few._workers)
        self.assertEqual(self.collector(2)._workers, few._workers)

    def test_a_second_cluster_is_refused(self):
        self.enter_context(mock.patch.dict(sys.modules, ray=double()))
        with self.assertRaisesRegex(ValueError, "one Ray cluster.*address='10.0.0.2:6379'"):
            RayCollector(self.environment, self.policy, make, address="10.0.0.2:6379")

    def test_collectors_that_count_otherwise_than_the_caller_are_refused(self):
        with self.assertRaisesRegex(ValueError, "budget=True.*Received: False"):
            self.collector(budget=True)(self.policy.parameters(), (1,), own=False)

    def test_without_ray_the_error_says_what_to_install(self):
        self.enter_context(mock.patch.dict(sys.modules, ray=None))
        with self.assertRaisesRegex(ImportError, r"pip install 'maml_tf\[ray\]'"):
            RayCollector(self.environment, self.policy, make)


if __name__ == "__main__":
    absltest.main()
