"""Draws the settings of a search by Optuna, which is told of all earlier settings anew before each draw.

No storage of Optuna's can then be locked or damaged by a kill. Runs that go on side by side end in an order that
depends on time, and so do the draws after them; of runs one after the other a draw is a function of the results.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

from maml_tf.experiments.sweep.plan import Plan, Range, Setting


def draw(plan: Plan, earlier: Sequence[tuple[Setting, float | None, str]]) -> Setting:
    """Draws the next setting of a search, by Optuna's tree-structured Parzen estimator.

    What is drawn is a function of the arguments.

    Args:
        plan: The plan, with its ranges and values.
        earlier: The settings so far, each with its value in validation, None where there is none (yet), and "min" or
            "max": which values are better.

    Returns:
        The setting.
    """
    optuna = import_optuna()
    distributions = {
        **{flag: optuna.distributions.CategoricalDistribution(values) for flag, values in plan.values.items()},
        **{
            flag: optuna.distributions.IntDistribution(one.least, one.greatest, one.log, one.step)
            if one.whole
            else optuna.distributions.FloatDistribution(one.least, one.greatest, one.log)
            for flag, one in plan.ranges.items()
        },
    }
    # Of all settings, where one has a value; without a value the direction does not count.
    mode = next((mode for _, value, mode in earlier if value is not None), "min")
    with warnings.catch_warnings():
        # Before Optuna 5 the option is called experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Settings that still run are taken for bad ones, so that those beside them differ.
        sampler = optuna.samplers.TPESampler(seed=len(earlier), constant_liar=True)
    study = optuna.create_study(sampler=sampler, direction={"min": "minimize", "max": "maximize"}[mode])
    states = optuna.trial.TrialState
    for setting, value, _ in earlier:
        known = value is not None and math.isfinite(value)
        study.add_trial(
            optuna.trial.create_trial(
                state=states.COMPLETE if known else states.RUNNING,
                value=value if known else None,
                params={
                    flag: _number(text, plan.ranges[flag]) if flag in plan.ranges else text
                    for flag, text in setting.items()
                },
                distributions=distributions,
            )
        )
    return {flag: str(value) for flag, value in study.ask(distributions).params.items()}


def import_optuna() -> Any:
    """Imports Optuna.

    Raises:
        ValueError: If it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ValueError(
            "Expected the extra sweep of maml_tf to be installed, which searches need: in the project's folder, run "
            f"pip install '.[sweep]'. Received: {error}"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _number(text: str, of: Range) -> float | int:
    return int(text) if of.whole else float(text)
