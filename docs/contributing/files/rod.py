"""An environment and a method in one file. Try it: see docs/contributing/environment.md."""

import gymnasium
import numpy as np

from maml_tf.methods import Method, methods
from maml_tf.rl.environments import EnvironmentSpec, GymnasiumEnvironment, TaskDistribution, environments


class Rod(gymnasium.Env):
    """A point on a rod that must find its place; ends outside the rod."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,))
    action_space = gymnasium.spaces.Box(-0.5, 0.5, (1,))

    def set_task(self, task):
        """Tells the environment, and not the agent, where the place is."""
        self.place = task["place"]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = self.np_random.uniform(-0.1, 0.1, 1)
        return self.position, {}

    def step(self, action):
        self.position = self.position + action
        distance = abs(float(self.position[0]) - self.place)
        # "success" is optional: success rates are reported beside the returns.
        return self.position, -distance, abs(self.position[0]) > 2, False, {"success": distance < 0.1}


class Places(TaskDistribution):
    """Tasks that are dictionaries, which an oracle may be told."""

    size = 1

    def sample(self, n, seed):
        return [{"place": float(place)} for place in np.random.default_rng(seed).uniform(-1, 1, n)]

    def features(self, tasks):
        return np.array([[task["place"]] for task in tasks], np.float32)


def make(batch_size, task_in_observation=False):
    """Makes a batch of simulations."""
    rods = gymnasium.vector.SyncVectorEnv([Rod] * batch_size)
    return GymnasiumEnvironment(rods, Places(), "set_task", horizon=10, task_in_observation=task_in_observation)


environments.register("rod", EnvironmentSpec(make, Places(), preset={"meta_batch_size": 3, "iterations": 2}))
methods.register("bold", Method("bold MAML", {"meta_rl": {"inner_learning_rate": 0.4}}))
