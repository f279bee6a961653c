"""Tests of the adapter of gymnasium's vector environments, on a small one of its own."""

import gymnasium
import numpy as np
from absl.testing import absltest, parameterized
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from tests.support import with_rl  # noqa: F401

# isort: split
from tf_agents.environments import utils
from tf_agents.trajectories import StepType

from maml_tf.rl.environments import GymnasiumEnvironment, TaskDistribution, UniformTasks
from maml_tf.rl.environments.processes import ProcessVectorEnv
from maml_tf.rl.policy import PurePolicy, gaussian_mlp_policy
from maml_tf.rl.sampling import Actor, collect
from tests.support.walk import Walk as Line

EVERY_MODE = parameterized.named_parameters((mode.name.lower(), mode) for mode in AutoresetMode)
LIMIT = 6


class Walk(gymnasium.Env):
    """A point on a line; ends beyond 3, is cut off after 6 steps. Observations count the episodes and the steps."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = gymnasium.spaces.Box(-2.0, 2.0, (1,), np.float32)

    def __init__(self):
        self.task, self.episode = None, 0

    def set_task(self, task):
        self.task = task

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position, self.steps = 0.01 * self.np_random.normal(), 0
        self.episode += 1
        return self._observation(), {}

    def step(self, action):
        self.position += float(action[0])
        self.steps += 1
        ended = bool(abs(self.position) > 3)
        return self._observation(), -abs(self.position - self.task["goal"]), ended, self.steps >= LIMIT, {}

    def _observation(self):
        return np.array([self.position, self.steps, self.episode])


class Searching(Walk):
    """A walk that says whether it is at its goal."""

    def step(self, action):
        *result, _ = super().step(action)
        return *result, {"success": abs(self.position - self.task["goal"]) < 0.25}


class Goals(TaskDistribution):
    """Tasks that are dictionaries."""

    def sample(self, n, seed):
        return [{"goal": float(goal)} for goal in np.random.default_rng(seed).uniform(-3, 3, n)]


class Numbers(TaskDistribution):
    """Tasks that are numbers."""

    def sample(self, n, seed):
        return np.random.default_rng(seed).random(n).tolist()


class WholeReset(gymnasium.vector.VectorEnv):
    """A vector environment that knows no reset of some sub-environments."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, count):
        self.num_envs = count
        self.single_action_space = self.single_observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
        self.state = np.zeros((count, 1))

    def reset(self, *, seed=None, options=None):
        self.state = np.random.default_rng(seed).normal(size=self.state.shape)
        return self.state, {}

    def step(self, actions):
        self.state = self.state + actions
        nothing = np.zeros(self.num_envs, bool)
        return self.state, np.zeros(self.num_envs), nothing, nothing, {}


def walks(count=4, mode=AutoresetMode.NEXT_STEP, set_tasks="set_task", horizon=9, **options):
    vector = SyncVectorEnv([Walk] * count, autoreset_mode=mode)
    environment = GymnasiumEnvironment(vector, Goals(), set_tasks, horizon=horizon, **options)
    environment.set_tasks([{"goal": 1.0}, {"goal": 2.0}])
    return environment


class RolloutTest(parameterized.TestCase):
    # In half actions: ends in step 2; is cut off in step 6; ends in step 2; is cut off.
    ACTIONS = np.array([[1.0], [0.1], [-1.0], [0.2]])

    @EVERY_MODE
    def test_nothing_of_the_next_episode_is_in_the_last_return_or_observation(self, mode):
        environment = walks(mode=mode)
        start = environment.reset_batch()
        episodes = start[:, 2].copy()
        steps = [environment.step_batch(self.ACTIONS) for _ in range(9)]
        done = np.array([step[2] for step in steps])
        self.assertEqual(done.argmax(axis=0).tolist(), [1, 5, 1, 5])
        self.assertTrue(done[-1].all())
        positions = start[:, 0] + 2 * self.ACTIONS[:, 0] * np.minimum(np.arange(1, 10)[:, None], [2, 6, 2, 6])
        np.testing.assert_allclose([step[0][:, 0] for step in steps], positions, rtol=1e-5)
        running = np.arange(1, 10)[:, None] <= [2, 6, 2, 6]
        rewards = np.where(running, -np.abs(positions - [1, 1, 2, 2]), 0.0)
        np.testing.assert_allclose([step[1] for step in steps], rewards, rtol=1e-5, atol=1e-6)
        for observations, _, _ in steps:
            np.testing.assert_array_equal(observations[:, 2], episodes)

    @EVERY_MODE
    def test_a_budget_of_steps_has_whole_episodes_alone(self, mode):
        environment = walks(mode=mode, horizon=12)
        policy = PurePolicy(gaussian_mlp_policy(3, 1, (4,)))
        acting = Actor(policy).shared(policy.parameters(), 2)
        rollouts = collect(environment, *acting, np.random.default_rng(0), budget=True)
        episode, step = rollouts.observations[..., 2], rollouts.observations[..., 1]
        counts = rollouts.valid > 0
        np.testing.assert_array_equal(step[counts], rollouts.elapsed[counts])
        starts = (rollouts.elapsed[..., 1:] == 0) & counts[..., 1:]
        goes_on = counts[..., 1:] & ~starts
        np.testing.assert_array_equal((episode[..., 1:] == episode[..., :-1])[goes_on], True)
        self.assertFalse(np.any((episode[..., 1:] == episode[..., :-1])[starts]))
        self.assertGreater(np.count_nonzero(starts), 0)

    @EVERY_MODE
    def test_conforms_to_tf_agents(self, mode):
        utils.validate_py_environment(walks(mode=mode), episodes=12)

    @EVERY_MODE
    def test_a_truncation_is_not_an_end(self, mode):
        environment = walks(mode=mode)
        environment.reset()
        steps = [environment.step(self.ACTIONS.astype(np.float32)) for _ in range(6)]
        kinds = np.array([step.step_type for step in steps])
        self.assertEqual(kinds[1].tolist(), [StepType.LAST, StepType.MID, StepType.LAST, StepType.MID])
        self.assertEqual(steps[1].discount.tolist(), [0, 1, 0, 1])
        self.assertEqual(kinds[2].tolist(), [StepType.FIRST, StepType.MID, StepType.FIRST, StepType.MID])
        self.assertEqual(steps[5].step_type[1], StepType.LAST)
        self.assertEqual(steps[5].discount.tolist()[1], 1)

    def test_the_modes_give_the_same_rollouts(self):
        rollouts = []
        for mode in AutoresetMode:
            environment = walks(mode=mode, seed=7)
            rollouts.append([environment.reset_batch()])
            for _ in range(9):
                rollouts[-1] += environment.step_batch(self.ACTIONS)
        for other in rollouts[1:]:
            for one, two in zip(rollouts[0], other, strict=True):
                np.testing.assert_array_equal(one, two)


class SuccessTest(parameterized.TestCase):
    @EVERY_MODE
    def test_is_had_from_its_step_on_until_the_next_start(self, mode):
        vector = SyncVectorEnv([Searching] * 4, autoreset_mode=mode)
        environment = GymnasiumEnvironment(vector, Goals(), "set_task", horizon=9)
        environment.set_tasks([{"goal": 4.0}, {"goal": 0.6}])
        environment.reset_batch()
        self.assertIsNone(environment.succeeded)
        seen = []
        for _ in range(7):
            environment.step_batch(RolloutTest.ACTIONS)
            seen.append(environment.succeeded)
        # In half actions: at 4 as it ends in step 2; never; never; near 0.6 in steps 1 and 2, then past it.
        np.testing.assert_array_equal(np.transpose(seen)[[1, 2]], np.zeros((2, 7), bool))
        self.assertEqual(np.transpose(seen)[0].tolist(), [False] + 6 * [True])
        self.assertEqual(np.transpose(seen)[3].tolist(), 7 * [True])
        environment.reset_batch(np.array([True, False, False, False]))
        self.assertEqual(environment.succeeded.tolist(), [False, False, False, True])

    def test_of_an_environment_that_does_not_say_is_nothing(self):
        environment = walks()
        environment.reset_batch()
        environment.step_batch(RolloutTest.ACTIONS)
        self.assertIsNone(environment.succeeded)


class TasksTest(absltest.TestCase):
    def test_are_set_by_a_method_an_attribute_or_a_function(self):
        def give(vector, tasks):
            for walk, task in zip(vector.envs, tasks, strict=True):
                walk.task = {"goal": 2 * task["goal"]}

        for set_tasks, goals in (("set_task", [1, 1, 2, 2]), ("task", [1, 1, 2, 2]), (give, [2, 2, 4, 4])):
            environment = walks(set_tasks=set_tasks)
            self.assertEqual([walk.task["goal"] for walk in environment.vector.envs], goals)

    def test_worker_processes_take_them_by_a_method_or_an_attribute(self):
        for vector, name in (
            (ProcessVectorEnv(Line, 4, processes=2), "set_goal"),
            (ProcessVectorEnv(Line, 4, processes=2), "goal"),
            (AsyncVectorEnv([Line] * 4, context="spawn"), "goal"),
        ):
            vector.reset()  # set_goal needs a position.
            environment = GymnasiumEnvironment(vector, Numbers(), name, horizon=3)
            self.addCleanup(environment.close)
            environment.set_tasks([0.25, 0.5])
            self.assertEqual(vector.get_attr("goal"), (0.25, 0.25, 0.5, 0.5))

    def test_by_a_name_reach_the_sub_environments_of_a_wrapped_vector(self):
        for name in ("set_task", "task"):
            wrapped = RecordEpisodeStatistics(SyncVectorEnv([Walk] * 2))
            GymnasiumEnvironment(wrapped, Goals(), name, horizon=3).set_tasks([{"goal": 5.0}])
            self.assertEqual(wrapped.env.get_attr("task"), ({"goal": 5.0}, {"goal": 5.0}))

    def test_a_method_is_not_replaced_by_a_task(self):
        vector = AsyncVectorEnv([Line] * 2, context="spawn")
        self.addCleanup(vector.close)
        vector.reset()
        for of, name in ((vector, "set_goal"), (RecordEpisodeStatistics(vector), "set_goal")):
            with self.assertRaisesRegex(ValueError, "ProcessVectorEnv.*Received: the method 'set_goal'"):
                GymnasiumEnvironment(of, Numbers(), name, horizon=3)
        self.assertLen(vector.call("set_goal", 1.0), 2)

    def test_a_name_that_no_sub_environment_has_is_refused(self):
        for vector in (SyncVectorEnv([Line]), AsyncVectorEnv([Line], context="spawn")):
            self.addCleanup(vector.close)
            with self.assertRaisesRegex(AttributeError, "set_gaol"):
                GymnasiumEnvironment(vector, Numbers(), "set_gaol", horizon=3)

    def test_a_name_needs_known_sub_environments(self):
        with self.assertRaisesRegex(ValueError, "Expected set_tasks to be a function.*'set_task' with WholeReset"):
            GymnasiumEnvironment(WholeReset(2), Goals(), "set_task", horizon=3)

    def test_objects_cannot_be_told_to_an_oracle_but_numbers_can(self):
        with self.assertRaisesRegex(ValueError, "Received: Goals of size 0"):
            walks(task_in_observation=True)
        environment = GymnasiumEnvironment(
            SyncVectorEnv([Walk] * 2),
            UniformTasks([0.0], [1.0]),
            lambda vector, tasks: None,
            horizon=3,
            task_in_observation=True,
        )
        environment.set_tasks([[0.25], [0.5]])
        np.testing.assert_array_equal(environment.reset_batch()[:, 3], [0.25, 0.5])


class InProcessesTest(parameterized.TestCase):
    """The rollouts are those of one process, whole and of a share, and with a budget of steps."""

    ACTIONS = np.random.default_rng(0).uniform(-1, 1, (8, 4, 1))

    def environments(self, mode):
        of_mode = {"autoreset_mode": mode}
        vectors = [
            SyncVectorEnv([Line] * 4, **of_mode),
            AsyncVectorEnv([Line] * 4, context="spawn", **of_mode),
        ]
        if mode is AutoresetMode.DISABLED:
            vectors.append(ProcessVectorEnv(Line, 4, processes=2))
        for vector in vectors:
            environment = GymnasiumEnvironment(vector, Numbers(), "goal", horizon=8)
            self.addCleanup(environment.close)
            environment.set_tasks([0.25, 0.5])
            environment.seed(3)
            yield environment

    def assert_same(self, rollouts):
        for other in rollouts[1:]:
            for one, its in zip(rollouts[0], other, strict=True):
                np.testing.assert_array_equal(one, its)

    @EVERY_MODE
    def test_rollouts(self, mode):
        rollouts = []
        for share in ((0, 4), (4, 12)):
            for environment in self.environments(mode):
                environment.share = share
                rollouts.append([environment.reset_batch()])
                for actions in self.ACTIONS:
                    rollouts[-1] += [*environment.step_batch(actions), environment.succeeded]
            self.assert_same(rollouts)
            self.assertTrue(rollouts[0][-1].any())
            rollouts.clear()

    @EVERY_MODE
    def test_budget(self, mode):
        policy = PurePolicy(gaussian_mlp_policy(2, 1, (4,)))
        acting = Actor(policy).shared(policy.parameters(), 2)
        rollouts = [
            collect(environment, *acting, np.random.default_rng(0), budget=True)
            for environment in self.environments(mode)
        ]
        self.assert_same([(of.observations, of.rewards, of.valid) for of in rollouts])


class ShareTest(absltest.TestCase):
    def test_starts_from_the_states_among_all(self):
        whole, share = walks(6, seed=7), walks(2, seed=7)
        share.share = (4, 6)
        np.testing.assert_array_equal(share.reset_batch(), whole.reset_batch()[4:])

    def test_a_vector_environment_that_may_draw_for_all_together_is_refused(self):
        environment = GymnasiumEnvironment(WholeReset(2), Goals(), lambda vector, tasks: None, horizon=3)
        environment.share = (0, 4)
        with self.assertRaisesRegex(ValueError, "SyncVectorEnv, AsyncVectorEnv or.*Received: GymnasiumEnvironment"):
            environment.reset_batch()


class RefusedTest(parameterized.TestCase):
    def test_a_vector_environment_that_resets_all_where_some_are_meant(self):
        environment = GymnasiumEnvironment(WholeReset(2), Goals(), lambda vector, tasks: None, horizon=3)
        environment.reset_batch()
        environment.step_batch(np.zeros([2, 1]))
        with self.assertRaisesRegex(ValueError, "reset_mask.*Received: WholeReset"):
            environment.reset_batch(np.array([True, False]))

    @parameterized.named_parameters(
        ("discrete", {"action_space": gymnasium.spaces.Discrete(2)}, "Discrete"),
        ("unbounded", {"action_space": gymnasium.spaces.Box(-np.inf, np.inf, (1,))}, "finite bounds"),
        ("dictionary", {"observation_space": gymnasium.spaces.Dict({})}, "observations"),
    )
    def test_spaces(self, spaces, word):
        walk = type("Other", (Walk,), spaces)
        with self.assertRaisesRegex(ValueError, word):
            GymnasiumEnvironment(SyncVectorEnv([walk]), Goals(), "set_task", horizon=3)

    def test_a_single_environment(self):
        with self.assertRaisesRegex(TypeError, "Received: Walk"):
            GymnasiumEnvironment(Walk(), Goals(), "set_task", horizon=3)

    def test_an_unknown_mode_of_autoreset(self):
        vector = WholeReset(1)
        vector.metadata = {}
        with self.assertRaisesRegex(ValueError, "autoreset_mode.*Received: None"):
            GymnasiumEnvironment(vector, Goals(), "set_task", horizon=3)


if __name__ == "__main__":
    absltest.main()
