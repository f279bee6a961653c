"""A small environment of gymnasium for worker processes, which import this module and nothing heavy with it."""

import os

import gymnasium
import numpy as np


class Walk(gymnasium.Env):
    """A point on a line with a random start: success beyond 1, the end beyond 2."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    goal = 0.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = 0.3 * self.np_random.normal()
        return self._observation(), {"start": self.position, "of": {"side": "left"} if self.position < 0 else {}}

    def step(self, action):
        self.position += float(action[0])
        far = abs(self.position)
        info = {"success": far > 1, "far": far} if far > 1 else {}
        return self._observation(), -abs(self.position - self.goal), far > 2, False, info

    def set_goal(self, goal):
        self.goal = goal
        return goal + self.position

    def fail(self, what):
        if what == "end":
            os._exit(3)
        raise ArithmeticError(what)

    def unpicklable(self):
        return lambda: None

    def _observation(self):
        return np.array([self.position, self.goal])
