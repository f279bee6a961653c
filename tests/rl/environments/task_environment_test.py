"""Tests of maml_tf.rl.environments.task_environment, on a small environment of its own."""

from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from tests.support import with_rl  # noqa: F401

# isort: split
from tf_agents.environments import tf_py_environment, utils
from tf_agents.trajectories import StepType

from maml_tf.rl.environments import PointNavigation, TaskEnvironment, UniformTasks


class Sum(TaskEnvironment):
    """Adds the actions up from a random start; the task scales the reward; ends where the sum exceeds a limit."""

    def __init__(self, batch_size, horizon=5, limit=np.inf, **options):
        super().__init__(
            batch_size, UniformTasks([0.0], [9.0]), observation_size=2, action_size=1, horizon=horizon, **options
        )
        self.limit = limit
        self.state = np.zeros((batch_size, 2))
        self.advanced = []

    def _start(self, simulations):
        self.state[simulations] = self._random.normal(size=(np.count_nonzero(simulations), 2)) * 0.01

    def _advance(self, actions, running):
        self.advanced.append(running.copy())
        self.state[running] += actions[running]
        return self._task_of_simulation[:, 0] * actions[:, 0], np.abs(self.state[:, 0]) > self.limit

    def _observe(self):
        return self.state


class Drawn(Sum):
    """The same with random starts that can be shared out."""

    def _start(self, simulations):
        self.state[simulations] = self._drawn(simulations, lambda random, count: random.normal(size=(count, 2)))


def column(*values):
    return np.array(values, np.float32)[:, np.newaxis]


class ShareTest(absltest.TestCase):
    def share(self, make, count=4, of=6):
        environment = make(count)
        environment.share = (of - count, of)
        environment.seed(3)
        return environment

    def test_starts_from_the_states_among_all(self):
        whole = Drawn(6)
        whole.seed(3)
        np.testing.assert_array_equal(self.share(Drawn).reset_batch(), whole.reset_batch()[2:])

    def test_random_numbers_of_all_together_are_refused(self):
        with self.assertRaisesRegex(ValueError, r"draws with self._drawn.*Received: Sum, simulations 2 and on of 6"):
            self.share(Sum).reset_batch()

    def test_random_restarts_are_refused_unless_a_simulation_has_diverged(self):
        environment = self.share(Drawn)
        environment.reset_batch()
        environment.state[1] = np.inf
        self.assertTrue(np.all(np.isfinite(environment.step_batch(np.zeros([4, 1]))[0])))
        for mask in ([True] * 4, [False, True, False, False]):
            with self.assertRaisesRegex(ValueError, "budget=False.*Received: Drawn"):
                environment.reset_batch(np.array(mask))
        environment.state[2] = np.inf  # Also after the refusal.
        self.assertTrue(np.all(np.isfinite(environment.step_batch(np.zeros([4, 1]))[0])))
        self.assertEqual(environment.diverged, 2)


class TasksTest(parameterized.TestCase):
    def test_simulations_of_a_task_are_contiguous(self):
        environment = Sum(6)
        environment.set_tasks([[1.0], [2.0], [3.0]])
        environment.reset_batch()
        _, rewards, _ = environment.step_batch(np.full([6, 1], 0.5))
        np.testing.assert_array_equal(rewards, [0.5, 0.5, 1.0, 1.0, 1.5, 1.5])
        np.testing.assert_array_equal(environment.tasks, column(1, 2, 3))

    def test_at_first_each_simulation_has_a_task_of_its_own(self):
        environment = Sum(6, seed=4)
        np.testing.assert_array_equal(environment.tasks, environment.sample_tasks(6, 4))
        self.assertLen(np.unique(environment.tasks), 6)

    def test_tasks_are_copied_in_and_out(self):
        tasks = column(1, 2)
        environment = Sum(2)
        environment.set_tasks(tasks)
        tasks += 1
        environment.tasks[:] = 7
        np.testing.assert_array_equal(environment.tasks, column(1, 2))

    def test_task_is_in_the_observation_where_asked_and_nowhere_else(self):
        told, untold = Sum(4, task_in_observation=True), Sum(4)
        for environment in (told, untold):
            environment.set_tasks(column(1, 2))
        self.assertEqual((told.observation_spec().shape, untold.observation_spec().shape), ((3,), (2,)))
        with_task, without = told.reset_batch(), untold.reset_batch()
        np.testing.assert_array_equal(with_task[:, :2], without)
        np.testing.assert_array_equal(with_task[:, 2], [1, 1, 2, 2])
        np.testing.assert_array_equal(told.step_batch(np.ones([4, 1]))[0][:, 2], [1, 1, 2, 2])

    @parameterized.named_parameters(
        ("shape", np.ones(3), "shape"), ("width", np.ones([3, 2]), "shape"), ("nan", column(np.nan), "finite"),
        ("divisor", column(1, 2, 3, 4), "divide"), ("none", np.ones([0, 1]), "divide"),
    )  # fmt: skip
    def test_refuses_tasks(self, tasks, word):
        with self.assertRaisesRegex(ValueError, f"{word}.*Received: "):
            Sum(6).set_tasks(tasks)

    def test_new_tasks_need_a_reset(self):
        environment = Sum(2)
        environment.reset()
        environment.set_tasks(column(1))
        with self.assertRaisesRegex(ValueError, "reset_batch"):
            environment.step_batch(np.zeros([2, 1]))
        with self.assertRaisesRegex(ValueError, r"simulations=\[1\] of 2"):
            environment.reset_batch(np.array([False, True]))
        # tf-agents' interface resets by itself.
        np.testing.assert_array_equal(environment.step(np.zeros([2, 1], np.float32)).step_type, StepType.FIRST)


class BatchTest(parameterized.TestCase):
    def test_shapes_and_dtypes(self):
        environment = Sum(4)
        observations = environment.reset_batch()
        self.assertEqual((observations.shape, observations.dtype), ((4, 2), np.float32))
        observations, rewards, done = environment.step_batch(np.zeros([4, 1], np.float64))
        self.assertEqual((observations.shape, observations.dtype), ((4, 2), np.float32))
        self.assertEqual((rewards.shape, rewards.dtype), ((4,), np.float32))
        self.assertEqual((done.shape, done.dtype), ((4,), bool))

    def test_what_is_returned_does_not_change_afterwards(self):
        environment = Sum(2)
        environment.state = environment.state.astype(np.float32)
        returned = [environment.reset_batch(), *environment.step_batch(np.ones([2, 1]))]
        before = [array.copy() for array in returned]
        for _ in range(5):
            environment.step_batch(np.ones([2, 1]))
        for array, copy in zip(returned, before, strict=True):
            np.testing.assert_array_equal(array, copy)

    def test_actions_are_clipped(self):
        environment = Sum(3)
        environment.set_tasks(column(1))
        environment.reset_batch()
        np.testing.assert_array_equal(environment.step_batch(column(-7, 0.5, 3))[1], [-1, 0.5, 1])

    def test_is_done_at_the_horizon_and_stays_so(self):
        environment = Sum(2, horizon=3)
        environment.reset_batch()
        done = [environment.step_batch(np.ones([2, 1]))[2].tolist() for _ in range(4)]
        self.assertEqual(done, [[False] * 2] * 2 + [[True] * 2] * 2)

    def test_a_reset_takes_a_mask_alone(self):
        environment = PointNavigation(4)
        environment.reset_batch()
        for simulations in ([0, 2], [0, 0, 1, 1], [True, False]):
            with self.assertRaisesRegex(ValueError, r"bool mask of shape \[4\]. Received: "):
                environment.reset_batch(simulations)
        environment.reset_batch([True, False, False, True])

    def test_a_done_simulation_rests_until_reset(self):
        environment = Sum(2, horizon=9, limit=1.5)
        environment.set_tasks(column(2))
        environment.reset_batch()
        steps = [environment.step_batch(column(1, 0.1)) for _ in range(5)]
        self.assertEqual([step[2].tolist() for step in steps], [[False, False]] + [[True, False]] * 4)
        # The reward of the step that ends it counts.
        np.testing.assert_allclose([step[1] for step in steps], [[2, 0.2]] * 2 + [[0, 0.2]] * 3, rtol=1e-6)
        for step in steps[2:]:
            np.testing.assert_array_equal(step[0][0], steps[1][0][0])
        observations = environment.reset_batch(np.array([True, False]))
        self.assertLess(abs(observations[0, 0]), 0.1)
        np.testing.assert_array_equal(observations[1], steps[-1][0][1])
        self.assertEqual(environment.step_batch(column(1, 0.1))[2].tolist(), [False, False])

    def test_a_simulation_started_later_has_its_own_clock(self):
        environment = Sum(2, horizon=3)
        environment.reset_batch()
        environment.step_batch(np.zeros([2, 1]))
        environment.reset_batch(np.array([True, False]))
        done = [environment.step_batch(np.zeros([2, 1]))[2].tolist() for _ in range(3)]
        self.assertEqual(done, [[False, False], [False, True], [True, True]])

    def test_seeds_reproduce(self):
        first, second = Sum(3, seed=5), Sum(3, seed=5)
        starts = [first.reset_batch(), first.reset_batch()]
        np.testing.assert_array_equal(second.reset_batch(), starts[0])
        self.assertFalse(np.any(starts[0] == starts[1]))
        first.seed(5)
        np.testing.assert_array_equal(first.reset_batch(), starts[0])
        self.assertFalse(np.any(Sum(3, seed=6).reset_batch() == starts[0]))

    @parameterized.parameters(np.nan, np.inf, 1e11, -1e11)
    def test_a_diverging_simulation_is_masked_and_counted(self, broken):
        environment = Sum(3, horizon=9, task_in_observation=True)
        environment.set_tasks(column(1))
        environment.reset_batch()
        environment.state[1, 1] = broken
        observations, rewards, done = environment.step_batch(column(0.5, 0.5, 0.5))
        self.assertEqual(environment.diverged, 1)
        self.assertEqual(done.tolist(), [False, True, False])
        np.testing.assert_array_equal(rewards, [0.5, 0.0, 0.5])
        self.assertTrue(np.all(np.abs(observations) < 2))
        _, rewards, done = environment.step_batch(column(0.5, 0.5, 0.5))
        self.assertEqual((environment.diverged, done.tolist(), rewards[1]), (1, [False, True, False], 0.0))

    def test_a_reward_that_is_not_finite_is_a_divergence_too(self):
        environment = Sum(2)
        environment.reset_batch()
        environment._task_of_simulation[0] = np.nan
        for _ in range(2):
            _, rewards, done = environment.step_batch(np.ones([2, 1]))
            self.assertEqual((environment.diverged, done.tolist(), rewards[0]), (1, [True, False], 0.0))

    @parameterized.named_parameters(
        ("shape", np.zeros([2]), r"Received: \(2,\)"),
        ("batch", np.zeros([3, 1]), r"Received: \(3, 1\)"),
        ("nan", column(0, np.nan), r"Received: .* in simulations \[1\]"),
    )
    def test_refuses_actions(self, actions, message):
        environment = Sum(2)
        environment.reset_batch()
        with self.assertRaisesRegex(ValueError, message):
            environment.step_batch(actions)

    @parameterized.parameters(1, 3)
    def test_refuses_what_would_be_broadcast(self, simulations):
        for rewards, ended, received in (
            (np.ones([simulations, 1]), np.zeros(simulations, bool), rf"rewards .*Received: \({simulations}, 1\)"),
            (np.ones(simulations), np.zeros([simulations, 1], bool), rf"ended .*Received: \({simulations}, 1\)"),
            (np.float64(1.0), np.zeros(simulations, bool), r"rewards .*Received: \(\)"),
        ):
            environment = Sum(simulations)
            environment.reset_batch()
            with mock.patch.object(environment, "_advance", return_value=(rewards, ended)):
                with self.assertRaisesRegex(ValueError, rf"Expected {received}"):
                    environment.step_batch(np.zeros([simulations, 1]))

    def test_refuses_observations_of_another_size(self):
        environment = Sum(3)
        with mock.patch.object(environment, "_observe", return_value=np.zeros([3, 1])):
            with self.assertRaisesRegex(ValueError, r"Received: \(3, 1\)"):
                environment.reset_batch()

    @parameterized.parameters((0, 1), (1, 0))
    def test_refuses_sizes(self, batch_size, horizon):
        with self.assertRaisesRegex(ValueError, f"Received: {'horizon' if batch_size else 'batch_size'}=0"):
            Sum(batch_size, horizon)


class TfAgentsTest(absltest.TestCase):
    def test_conforms(self):
        for task_in_observation in (False, True):
            environment = Sum(3, limit=1.0, task_in_observation=task_in_observation)
            utils.validate_py_environment(environment, episodes=20)

    def test_a_simulation_starts_again_after_its_last_step(self):
        environment = Sum(3, horizon=4, limit=1.5)
        environment.set_tasks(column(1))
        environment.reset()
        steps = [environment.step(column(1, 0.1, -0.1)) for _ in range(7)]
        first, mid, last = (int(kind) for kind in (StepType.FIRST, StepType.MID, StepType.LAST))
        self.assertEqual(
            np.transpose([step.step_type for step in steps]).tolist(),
            [[mid, last, first, mid, last, first, mid], *[[mid, mid, mid, last, first, mid, mid]] * 2],
        )
        # Discount 0 where the episode ended, 1 where the horizon cut it off.
        self.assertEqual([step.discount[0] for step in steps], [1, 0, 1, 1, 0, 1, 1])
        self.assertEqual([step.discount[1] for step in steps], [1] * 7)
        np.testing.assert_allclose([step.reward[0] for step in steps], [1, 1, 0, 1, 1, 0, 1])
        self.assertLess(abs(steps[2].observation[0, 0]), 0.1)

    def test_equals_the_plain_arrays(self):
        plain, wrapped = Sum(4, seed=2), tf_py_environment.TFPyEnvironment(Sum(4, seed=2))
        np.testing.assert_array_equal(wrapped.reset().observation, plain.reset_batch())

        @tf.function
        def step(actions):
            time_step = wrapped.step(actions)
            return time_step.observation, time_step.reward, time_step.is_last()

        random = np.random.default_rng(0)
        for _ in range(5):
            actions = random.normal(size=(4, 1)).astype(np.float32)
            for ours, theirs in zip(plain.step_batch(actions), step(actions), strict=True):
                np.testing.assert_array_equal(ours, theirs)


if __name__ == "__main__":
    absltest.main()
