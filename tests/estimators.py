"""Compares estimators of the meta-gradient of meta-reinforcement learning with the exact one.

    python -m tests.estimators [--output=FIGURE.png] [--results=FILE.json]

The problem has two states, two actions and up to four time steps, so that the expectation over all rollouts is a sum
(`tests/rl/tabular.py`). Prints the bias and the standard deviation of each estimator, as shares of the length of the
exact gradient, draws them, and fails if one that is unbiased in theory is biased or one that is biased is not.

Takes half a minute of one core.
"""

import argparse
import json
import pathlib
import sys

import numpy as np

from maml_tf.plotting.style import PALETTE, new_figure, save, styled
from maml_tf.rl.objectives import dice, likelihood_ratio, low_variance_curvature, reinforce
from tests.rl.tabular import Decisions, bias, moments

STEP_SIZE, HORIZON, HORIZONS, COUNTS = 2.0, 3, (1, 2, 3, 4), (1, 2, 3)
EXACT = 1e-10

# Name -> (inner objective, weight of E-MAML's correction for so many time steps, colour, line, marker).
ESTIMATORS = {
    "MAML, reinforce": (reinforce, None, "green", "-", "o"),
    "likelihood ratio": (likelihood_ratio, None, "vermilion", "-.", "s"),
    "low-variance curvature": (low_variance_curvature, None, "orange", ":", "x"),
    "DiCE": (dice, None, "blue", "--", "^"),
    "E-MAML, mean": (reinforce, lambda steps: 1.0, "grey", ":", "v"),
    "E-MAML, sum": (reinforce, float, "purple", "-", "P"),
}
FIRST_ORDER = "MAML, first order"
SAME = "low-variance curvature"  # As the likelihood ratio, where the rollouts are sampled.


def limits():
    """The bias with infinitely many rollouts at each horizon: {estimator: [horizons]}."""
    biases = {name: [] for name, (_, correction, *_) in ESTIMATORS.items() if correction is None}
    biases[FIRST_ORDER] = []
    for horizon in HORIZONS:
        problem = Decisions(horizon, STEP_SIZE)
        exact = problem.gradient(problem.after_exact_step)
        for name, values in biases.items():
            objective = reinforce if name == FIRST_ORDER else ESTIMATORS[name][0]
            values.append(bias(problem.in_the_limit(objective, first_order=name == FIRST_ORDER), exact))
    return biases


def samples():
    """The bias and the standard deviation for each number of rollouts: {estimator: [counts, 2]}."""
    problem, values = Decisions(HORIZON, STEP_SIZE), {name: [] for name in ESTIMATORS if name != SAME}
    for count in COUNTS:
        exact = problem.gradient(lambda logits, count=count: problem.after_sampled_step(logits, count))
        for name in values:
            objective, correction, *_ = ESTIMATORS[name]
            weight = correction and correction(count * HORIZON)
            values[name].append(moments(*problem.of_samples(objective, count, weight), exact))
    return {name: np.array(rows) for name, rows in values.items()}


def faults(in_the_limit, of_samples):
    """What is not as the theory has it."""
    wrong = []
    for name, values in in_the_limit.items():
        for horizon, value in zip(HORIZONS, values, strict=True):
            one_step = horizon == 1 and name not in (FIRST_ORDER, "MAML, reinforce")
            if (value < EXACT) != (name == "DiCE" or one_step):
                wrong.append(f"{name}: a bias of {value:.1e} with infinitely many rollouts of {horizon} steps")
    for name, rows in of_samples.items():
        for count, (value, _) in zip(COUNTS, rows, strict=True):
            # With one rollout of one step the mean would be the sum.
            if (value < EXACT) != (name == "E-MAML, sum"):
                wrong.append(f"{name}: a bias of {value:.1e} with {count} rollouts")
    return wrong


def table(in_the_limit, of_samples):
    """The numbers as docs/tables.py takes them, in per cent."""
    number = {"digits": 1, "unit": "%"}
    columns = [
        "estimator", {"title": f"bias, infinitely many rollouts of {HORIZON} steps", **number},
        *({"title": f"{what}, {count} rollout{'s' * (count > 1)}", **number}
          for count in COUNTS for what in ("bias", "standard deviation")),
    ]  # fmt: skip
    rows = []
    for name in of_samples:
        limit = in_the_limit.get(name)
        cells = [None if limit is None else limit[HORIZONS.index(HORIZON)], *of_samples[name].reshape(-1)]
        rows.append([name, *(None if cell is None else round(float(100 * cell), 2) for cell in cells)])
    return {"columns": columns, "rows": rows}


def draw(in_the_limit, of_samples, path):
    """Draws bias and standard deviation."""
    with styled():
        figure = new_figure(10.5, 3.4)
        axes = figure.subplots(1, 3)
        for name, (*_, color, line, marker) in ESTIMATORS.items():
            style = {"color": PALETTE[color], "linestyle": line, "marker": marker, "label": name}
            if name in in_the_limit:
                axes[0].plot(HORIZONS, 100 * np.array(in_the_limit[name]), **style)
            for place in range(2) if name in of_samples else ():
                axes[1 + place].plot(COUNTS, 100 * of_samples[name][:, place], **style)
        for axis, title, label, ticks in zip(
            axes,
            ("Bias, infinitely many rollouts", f"Bias, rollouts of {HORIZON} steps", "Standard deviation"),
            ("time steps of a rollout", "rollouts of the inner step", "rollouts of the inner step"),
            (HORIZONS, COUNTS, COUNTS),
            strict=True,
        ):
            axis.set(title=title, xlabel=label, xticks=ticks)
            axis.set_ylim(bottom=0.0 if title == "Standard deviation" else None)
        axes[0].set_ylabel("% of the exact gradient")
        handles = {
            label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=6)
        save(figure, path, dpi=110)


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", help="PNG file to draw to")
    parser.add_argument("--results", help="JSON file to write the numbers to, as docs/tables.py takes them")
    options = parser.parse_args(arguments)
    in_the_limit, of_samples = limits(), samples()
    print(f"bias with infinitely many rollouts of {HORIZONS} steps, % of the exact gradient")
    for name, values in in_the_limit.items():
        print(f"{name:26}", *(f"{100 * value:8.1f}" for value in values))
    print(f"bias +- standard deviation with {COUNTS} rollouts of {HORIZON} steps, % of the exact gradient")
    for name, rows in of_samples.items():
        print(f"{name:26}", *(f"{100 * mean:8.1f} +- {100 * deviation:5.0f}" for mean, deviation in rows))
    if options.output:
        draw(in_the_limit, of_samples, options.output)
    if options.results:
        numbers = {"tables": {"estimators": table(in_the_limit, of_samples)}}
        pathlib.Path(options.results).write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    wrong = faults(in_the_limit, of_samples)
    for line in wrong:
        print("NOT AS THE THEORY HAS IT", line)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
