"""The returns of the paper's Figures 4 and 5, to draw beside one's own."""

from __future__ import annotations

import math
from typing import NamedTuple

# After 0, 1, 2 and 3 gradient steps.
_RETURNS: dict[str, dict[str, tuple[float, ...]]] = {
    "point_navigation": {
        "maml": (-40.41, -11.68, -3.33, -3.23),
        "pretrained": (-40.81, -19.73, -11.72, -8.48),
        "random": (-82.66, -57.96, -53.84, -46.81),
        "oracle": (-2.29,),
        "context_vector": (-42.42, -13.90, -5.17, -3.18),
    },
    "half_cheetah_velocity": {
        "maml": (-129.53, -78.57, -66.62, -60.78),
        "pretrained": (-158.00, -135.39, -128.47, -133.61),
        "random": (-254.83, -254.33, -246.79, -230.83),
        "oracle": (-54.47,),
    },
    "half_cheetah_direction": {
        "maml": (-50.69, 293.19, 313.48, 315.65),
        "pretrained": (-43.03, -24.75, -12.85, 19.57),
        "random": (-35.74, 21.83, 62.32, 86.19),
        "oracle": (442.69,),
        "context_vector": (-40.49, -44.08, -38.27, -42.50),
    },
    "ant_velocity": {
        "maml": (30.58, 96.74, 100.06, 101.41),
        "pretrained": (-1.83, 6.11, 8.48, 9.47),
        "random": (-78.64, -62.81, -48.55, -35.57),
        "oracle": (107.89,),
    },
    "ant_direction": {
        "maml": (8.66, 499.15, 500.68, 499.11),
        "pretrained": (3.16, 1.27, 6.51, 6.87),
        "random": (3.11, 9.25, 15.96, 26.12),
        "oracle": (524.80,),
    },
}


# The figure is of the code's square goal; the text's disc is nearly as large.
_RETURNS["point_navigation_square_goal"] = _RETURNS["point_navigation"]


class PaperReturn(NamedTuple):
    """A mean return of the paper.

    Attributes:
        method: One of `maml_tf.experiments.meta_rl_config.METHODS`.
        shots: Rollouts a gradient step.
        step: Gradient steps taken.
        mean: Mean over the test tasks.
        ci95: NaN: not every one is known.
    """

    method: str
    shots: int
    step: int
    mean: float
    ci95: float = math.nan


def paper_returns(environment: str, rollouts: int) -> list[PaperReturn]:
    """Lists the paper's returns in an environment.

    Args:
        environment: One of `maml_tf.experiments.meta_rl_config.ENVIRONMENTS`.
        rollouts: Rollouts a gradient step of the results that they are drawn beside.

    Returns:
        The returns; none where the paper has no such environment.

    Source: Finn, Abbeel and Levine, 2017, Figures 4 and 5.

    Example:
    >>> from maml_tf.experiments.paper_returns import paper_returns
    >>> [point.mean for point in paper_returns("half_cheetah_direction", 20) if point.method == "maml"]
    [-50.69, 293.19, 313.48, 315.65]
    """
    return [
        PaperReturn(method, rollouts, step, mean)
        for method, means in _RETURNS.get(environment, {}).items()
        for step, mean in enumerate(means)
    ]
