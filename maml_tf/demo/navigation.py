"""The tab of navigation: set a goal, and watch how an agent that is not told it finds the way after gradient steps."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from bokeh.models import ColumnDataSource, CustomJS

from maml_tf.demo import widgets
from maml_tf.experiments.meta_rl.evaluate import TrainedPolicy
from maml_tf.experiments.meta_rl.methods import evaluation_sampler
from maml_tf.plotting import style
from maml_tf.rl.environments.point_navigation import LARGEST_MOVE
from maml_tf.rl.objectives import experience
from maml_tf.rl.policy import PurePolicy
from maml_tf.rl.rollouts import Rollouts, mean_returns

ENTRY = "point_navigation"
STEPS = 3
SHOWN = 12
REACH, LIMIT = 0.5, 0.72
FIRST_GOAL = (0.35, 0.3)
_MILLISECONDS_A_STEP = 18


class Walk(NamedTuple):
    """How a policy went.

    Attributes:
        paths: Positions of some rollouts, each [steps + 1, 2].
        mean_return: Mean over all rollouts.
    """

    paths: list[np.ndarray]
    mean_return: float


class Navigator:
    """The published policy, which adapts to a goal that rewards alone tell it of.

    Attributes:
        rollouts: How often it walks between two gradient steps.
        first: Its walks to `FIRST_GOAL`, which every visitor sees first.
    """

    def __init__(self):
        trained = TrainedPolicy.of_entry(ENTRY)
        policy, config = PurePolicy(trained.load()), trained.config
        self._params = policy.parameters()
        self._sampler = evaluation_sampler(trained.method, config, policy, 1, config.step_sizes())
        self.rollouts = config.evaluation_rollouts
        self.first = self.walks(FIRST_GOAL)

    def walks(self, goal: Sequence[float], seed: int = 0) -> list[Walk]:
        """Lets the policy act and take gradient steps in turn.

        Args:
            goal: x and y, each from -0.5 to 0.5.
            seed: Seed of the actions' noise.

        Returns:
            `STEPS + 1` walks: before the first gradient step and after each.

        Raises:
            ValueError: If the goal is not two such numbers.
        """
        goal = np.asarray(goal, np.float32)
        if goal.shape != (2,) or not np.all(np.abs(goal) <= REACH):
            raise ValueError(f"Expected a goal of two numbers from -{REACH} to {REACH}. Received: {goal.tolist()}")
        phases, _ = self._sampler.adapt(self._params, goal[np.newaxis], STEPS, (seed, STEPS))
        return [Walk(_paths(phase.rollouts), float(mean_returns(phase.rollouts)[0])) for phase in phases]

    def compile(self) -> None:
        """Compiles the gradient step for experience of every length, so that no visitor waits for one."""
        goal = np.array([FIRST_GOAL], np.float32)
        phases, path = self._sampler.adapt(self._params, goal, 1, (0, 1))
        rollouts = phases[0].rollouts
        times = np.arange(rollouts.valid.shape[-1])
        for ended in times + 1:
            shortened = rollouts._replace(valid=np.where(times < ended, rollouts.valid, np.float32(0)))
            batch = experience(shortened, np.zeros_like(rollouts.valid))
            self._sampler.adaptation.step(path[0], tf.nest.map_structure(tf.convert_to_tensor, batch), 0)


def _paths(rollouts: Rollouts) -> list[np.ndarray]:
    paths = []
    for row in range(SHOWN):
        valid = rollouts.valid[0, row] > 0
        positions, actions = rollouts.observations[0, row][valid], rollouts.actions[0, row][valid]
        # What is observed are positions before a move.
        last = positions[-1] + LARGEST_MOVE * np.clip(actions[-1], -1, 1)
        paths.append(np.concatenate([positions, last[np.newaxis]]))
    return paths


def load() -> Navigator:
    """Loads the policy and compiles what the tab asks of it.

    Raises:
        ImportError: If the extra `rl` is not installed.
    """
    navigator = Navigator()
    navigator.compile()
    return navigator


# Draws the paths as they grow, all of them in step; what it shows is the browser's own and goes back to no server.
_GROW = """
const xs = all.get_column("xs"), ys = all.get_column("ys")
const longest = Math.max(...xs.map((x) => x.length))
const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches
const began = performance.now()
const draw = (now) => {
  if (all.get_column("xs") !== xs) return
  const count = still ? longest : Math.min(longest, 1 + Math.floor((now - began) / pace))
  shown.data = {
    xs: xs.map((x) => x.slice(0, count)),
    ys: ys.map((y) => y.slice(0, count)),
    x: xs.map((x) => x[Math.min(count, x.length) - 1]),
    y: ys.map((y) => y[Math.min(count, y.length) - 1]),
  }
  if (count < longest) requestAnimationFrame(draw)
}
requestAnimationFrame(draw)
"""


class Tab:
    """The tab of one visitor.

    Args:
        navigator: What all visitors share.

    Attributes:
        content: The tab's layout.
    """

    def __init__(self, navigator: Navigator):
        self._navigator = navigator
        self._seeds = itertools.count()
        self._goal = ColumnDataSource(name="goal")
        self._walks = [ColumnDataSource(name=f"walk_{step}") for step in range(STEPS + 1)]
        self._shown = [ColumnDataSource(syncable=False) for _ in range(STEPS + 1)]
        self._returns = [widgets.text("", name=f"return_{step}") for step in range(STEPS + 1)]
        self._status = widgets.text("", name="navigation_status")
        self._show(FIRST_GOAL, navigator.first, "Click anywhere to set another goal.")
        for shown, walks in zip(self._shown, self._walks, strict=True):
            shown.data = dict(walks.data)
        self.content = widgets.column(
            widgets.text(
                "<h3>Click where the agent shall go</h3><p>It is not told the goal: a reward says how near it is, no "
                f"more. It walks {navigator.rollouts} times, takes a gradient step on the rewards, and walks again. "
                f"{SHOWN} of the walks are drawn, from the square; the star is the goal.</p>"
            ),
            widgets.wrapping(*map(self._part, range(STEPS + 1))),
            self._status,
            sizing_mode="stretch_width",
        )

    def _part(self, step):
        heading = "Before" if step == 0 else f"After {step} gradient step{'s' * (step > 1)}"
        limits, size = (-LIMIT, LIMIT), {"sizing_mode": "scale_width", "aspect_ratio": 1, "min_border": 1}
        plot = widgets.plot(limits, limits, f"navigation_{step}", **size)
        plot.axis.visible = False
        walks, shown = self._walks[step], self._shown[step]
        arguments = {"all": walks, "shown": shown, "pace": _MILLISECONDS_A_STEP}
        walks.js_on_change("data", CustomJS(args=arguments, code=_GROW))
        color = style.GREY if step == 0 else style.GREEN
        plot.multi_line("xs", "ys", source=walks, visible=False)  # The page has what its plots have.
        plot.multi_line("xs", "ys", source=shown, color=color, line_width=1.5, line_alpha=0.65)
        plot.scatter("x", "y", source=shown, size=7, color=color, line_color="white")
        plot.scatter([0], [0], marker="square", size=8, color=style.BLACK)
        plot.scatter("x", "y", source=self._goal, marker="star", size=20, color=style.VERMILION, line_color="white")
        widgets.on_tap(plot, lambda x, y: self._set((x, y)))
        return widgets.stacked(
            widgets.text(f"<b>{heading}</b>"), plot, self._returns[step], least=165, margin=(0, 4, 0, 4)
        )

    def _set(self, goal):
        goal = np.clip(goal, -REACH, REACH)
        began = time.perf_counter()
        walks = self._navigator.walks(goal, next(self._seeds))
        milliseconds = 1000 * (time.perf_counter() - began)
        count = (STEPS + 1) * self._navigator.rollouts
        self._show(goal, walks, f"{STEPS} gradient steps and {count} walks in {milliseconds:.0f} ms.")

    def _show(self, goal, walks, said):
        """Shows a goal and how the agent walks there."""
        self._goal.data = {"x": [goal[0]], "y": [goal[1]]}
        for source, text, walk in zip(self._walks, self._returns, walks, strict=True):
            # Of arrays, each would be a message of its own.
            xs, ys = ([path[:, axis].astype(float).round(4).tolist() for path in walk.paths] for axis in (0, 1))
            source.data = {"xs": xs, "ys": ys, "x": [x[-1] for x in xs], "y": [y[-1] for y in ys]}
            text.text = f"<p>mean return {walk.mean_return:.1f}</p>"
        self._status.text = f'<p class="muted">Goal ({goal[0]:.2f}, {goal[1]:.2f}). {said}</p>'
