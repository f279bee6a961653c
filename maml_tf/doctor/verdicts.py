"""Verdicts on the measurements of a learner: one rule for each fault, with a threshold, a statement and a remedy.

Thresholds are between the numbers of healthy learners and those of faulty ones. The healthy learners are the sinusoid
experiment's network before training and after 300 and 2,000 iterations, and published weights for Omniglot and
mini-ImageNet. The numbers in the comments are their extremes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from maml_tf.doctor.measurements import Measurements


class Verdict(NamedTuple):
    """A fault that was found.

    Attributes:
        name: Name of the fault, such as "step_too_large".
        statement: The observation, with the number and the threshold.
        remedy: What to do.
        value: The number.
        threshold: The limit beyond which the number is a fault.
    """

    name: str
    statement: str
    remedy: str
    value: float
    threshold: float


def verdicts(measured: Measurements) -> list[Verdict]:
    """Lists the faults that the measurements show, causes before their possible effects."""
    found = [verdict for rule in _RULES if (verdict := rule(measured)) is not None]
    return found or [verdict for verdict in [_no_gain(measured)] if verdict is not None]


def _loss_not_finite(m: Measurements) -> Verdict | None:
    # No healthy loss is infinite at any outputs; Keras' losses are bounded.
    start = ~np.isfinite(np.column_stack([m.support_before[:, 0], m.query_loss[:, 0]])).all(axis=1)
    remedy = (
        "Use a Keras loss, with from_logits=True for logits, or keep logarithms, roots and quotients away from 0: "
        "tf.math.log(p + 1e-7), tf.sqrt(x + 1e-12). Also check the inputs for NaN."
    )
    if start.any():
        share = float(start.mean())
        statement = f"The loss is NaN or infinite before any step in {share:.0%} of the tasks (threshold: none)."
        return Verdict("loss_not_finite", statement, remedy, share, 0.0)
    if m.loss_not_finite_at is None:
        return None
    statement = f"The loss or its gradient is NaN or infinite at {m.loss_not_finite_at} (threshold: nowhere)."
    return Verdict("loss_not_finite", statement, remedy, 1.0, 0.0)


def _labels_shuffled(m: Measurements) -> Verdict | None:
    # A healthy learner gains 0.00 by renaming its classes. If a learner has learned little from its support set, as an
    # untrained network, predictions may be consistent without being right.
    threshold = 0.25
    accuracy, matched = float(np.mean(m.accuracy)), float(np.mean(m.matched_accuracy))
    gained = matched - accuracy
    above_chance = matched - np.mean(m.chance_matched_accuracy) > threshold / 2
    learned = _support_fall(m) > 0.25
    if not (m.ways and learned and above_chance and gained > max(threshold, accuracy - 1 / m.ways)):
        return None
    return Verdict(
        "labels_shuffled",
        f"Renaming the predicted classes in each task raises the accuracy by {gained:.2f}, from {accuracy:.2f} "
        f"(threshold {threshold}): support and query sets number the classes differently.",
        "Give a class the same label in the support and in the query set of a task; shuffle examples together with "
        "their labels.",
        gained,
        threshold,
    )


def _support_in_query(m: Measurements) -> Verdict | None:
    # Support and query sets of healthy tasks share no example, except for 0.2 % of drawings that are identical.
    threshold = 0.05
    share = float(np.mean(m.duplicates) - np.mean(m.chance_duplicates))
    if share <= threshold:
        return None
    return Verdict(
        "support_in_query",
        f"{np.mean(m.duplicates):.0%} of the query examples are in the support set of their task, "
        f"{np.mean(m.chance_duplicates):.0%} in that of another task (threshold {threshold:.0%} more): the query loss "
        "measures memory.",
        "Draw the examples of a class without replacement, then split them into support and query.",
        share,
        threshold,
    )


def _loss_scale(m: Measurements) -> Verdict | None:
    # Every mean gives 1.00. The cross-entropy of equal outputs gives 1.00 too; a focal loss gives about 0.6.
    threshold = 1.5
    if m.doubled_loss > threshold:
        return Verdict(
            "loss_scale",
            f"With every example twice, the loss is {m.doubled_loss:.2f} times that with every example once (threshold "
            f"{threshold}): it sums over the examples, and the step grows with their number.",
            'Average over the examples: tf.reduce_mean, or a Keras loss with reduction="sum_over_batch_size"; or '
            "divide inner_learning_rate by the number of support examples.",
            m.doubled_loss,
            threshold,
        )
    threshold = 4.0
    ratio = m.uninformed_loss
    if not (ratio > threshold or ratio < 1 / threshold):
        return None
    return Verdict(
        "loss_scale",
        f"Outputs that are equal for all {m.ways} classes have {ratio:.3g} times the cross-entropy ln({m.ways}) "
        f"(threshold {threshold:g} or 1/{threshold:g}): the loss is scaled, and so is every inner step.",
        "Remove the factor from the loss, or divide inner_learning_rate by it.",
        ratio,
        threshold,
    )


def _step_too_large(m: Measurements) -> Verdict | None:
    # The first step raises the support loss in at most 4 % of healthy tasks.
    threshold = 0.25
    share = _share(~(m.support_after[:, 0] <= m.support_before[:, 0]), np.isfinite(m.support_before[:, 0]))
    if share <= threshold:
        return None
    before, after = (_median(losses[:, 0]) for losses in (m.support_before, m.support_after))
    used = _median(m.slope_used[:, 0])
    factor = f" to about {1 / used:.1g} times its value" if 2 < used < 1e3 else ""
    return Verdict(
        "step_too_large",
        f"The first step raises the support loss in {share:.0%} of the tasks (threshold {threshold:.0%}), from "
        f"{before:.3g} to {after:.3g} (medians).",
        f"Lower inner_learning_rate{factor}, clip the gradients with maml_tf.ClipByValue, or scale the loss down.",
        share,
        threshold,
    )


def _step_too_small(m: Measurements) -> Verdict | None:
    # The smallest healthy value is 0.17, of an untrained network for sinusoids; meta-learned ones reach 0.4 to 1.1.
    threshold = 0.08
    used, fall = sum(_median(m.slope_used[:, step]) for step in range(m.steps)), _support_fall(m)
    # A loss without curvature, such as an absolute error, keeps its slope for steps of any length.
    if not (0 <= used < threshold and fall < threshold):
        return None
    factor = f" up to {1 / used:.0f} times" if used > 1e-6 else ""
    return Verdict(
        "step_too_small",
        f"All {m.steps} inner steps together use up {used:.2g} of the slope (threshold {threshold}) and lower the "
        f"support loss by {fall:.2%}: the weights hardly change.",
        f"Raise inner_learning_rate{factor}, take more inner steps, or learn the step sizes: maml_tf.LearnedStepSizes.",
        used,
        threshold,
    )


def _diverging_tasks(m: Measurements) -> Verdict | None:
    # No healthy task that was measured diverged; of the sinusoid experiment's 4,000 validation tasks, a few do.
    threshold = 0.05
    share = _share(~(m.query_loss[:, -1] <= 10 * m.query_loss[:, 0]), np.isfinite(m.query_loss[:, 0]))
    if share <= threshold or _step_too_large(m):
        return None
    return Verdict(
        "diverging_tasks",
        f"In {share:.0%} of the tasks the query loss is not finite or more than ten times the loss before adaptation "
        f"(threshold {threshold:.0%}).",
        "Clip the inner gradients with maml_tf.ClipByValue, lower inner_learning_rate or take fewer steps.",
        share,
        threshold,
    )


def _head_frozen(m: Measurements) -> Verdict | None:
    if not m.head_trainable:
        return Verdict(
            "head_frozen",
            "0 weights of the last layer are trainable (threshold: 1): neither the inner steps nor training change it.",
            "Set trainable=True on the layer before the learner is made.",
            0.0,
            1.0,
        )
    # A head that only training changes may be intended: the paper's context vector gains 85 % without adapting it.
    threshold = 0.1
    gain = _query_fall(m)
    if m.adapted[-1] or not gain < threshold:
        return None
    return Verdict(
        "head_frozen",
        f"The inner steps do not change the last layer, {m.layers[-1]}, and lower the query loss by {gain:.1%} "
        f"(threshold {threshold:.0%}).",
        "Let the last layer adapt: adapted=maml_tf.everything, maml_tf.head, or a pattern that matches it.",
        gain,
        threshold,
    )


def _meta_gradient_cut(m: Measurements) -> Verdict | None:
    # The second-order part grows with the steps. In healthy meta-gradients its share is at least 0.35 times the slope
    # that all steps use up: 7 % before training, up to 270 % later. No layer's meta-gradient is exactly 0.
    threshold = 0.01
    remedy = (
        "Look for tf.stop_gradient, .numpy(), rounding or argmax between the weights and the query loss, in the model, "
        "the loss and the algorithm."
    )
    if m.meta_gradient_missing is not None:
        statement = f"There is no meta-gradient (threshold: one for every weight): {m.meta_gradient_missing}"
        return Verdict("meta_gradient_cut", statement, remedy, 0.0, threshold)
    without = [layer for layer, norm in zip(m.layers, m.meta_gradient, strict=True) if norm == 0]
    if without:
        statement = f"The meta-gradient of {', '.join(without)} is exactly 0 (threshold: above 0)."
        return Verdict("meta_gradient_cut", statement, remedy, 0.0, 0.0)
    share = float(m.second_order_share[-1])
    used = sum(_median(m.slope_used[:, step]) for step in range(m.steps))
    if m.first_order or not share < threshold * used:
        return None
    return Verdict(
        "meta_gradient_cut",
        f"The second-order part is {share:.1g} of the meta-gradient (threshold {threshold * used:.1g}), which should "
        "be exact: the gradient of the query loss does not flow back through the inner steps.",
        remedy,
        share,
        threshold * used,
    )


def _wrong_second_derivative(m: Measurements) -> Verdict | None:
    if not m.second_order_findings:
        return None
    listed = "; ".join(f"{finding.layer}: {finding.reason}" for finding in m.second_order_findings)
    return Verdict(
        "wrong_second_derivative",
        f"{len(m.second_order_findings)} layers have wrong or no second derivatives (threshold: none), "
        f"which makes the meta-gradient wrong: {listed}.",
        "Convert the model with maml_tf.exact, use the layer of the same name in maml_tf.layers, or first_order=True.",
        float(len(m.second_order_findings)),
        0.0,
    )


def _statistics_leak(m: Measurements) -> Verdict | None:
    # 0 without batch statistics, up to rounding (1e-6). The paper's image networks have 0.9, and declare it: their
    # layers have batch_statistics="always".
    threshold = 1e-3
    change = _median(m.leakage)
    if not change > threshold or m.transductive_layers:
        return None
    return Verdict(
        "statistics_leak",
        f"An adapted prediction changes by {change:.1%} when its example is predicted alone (threshold "
        f"{threshold:.1%}): predictions depend on other query examples, and no layer declares it.",
        'Use maml_tf.layers.BatchNormalization: batch_statistics="training" does not use the query set, "always" '
        "does, and declares it.",
        change,
        threshold,
    )


def _dead_units(m: Measurements) -> Verdict | None:
    # Up to 0.32, in a hidden layer of the sinusoid network before training.
    threshold = 0.6
    shares = np.nan_to_num(m.dead_units)
    worst = int(np.argmax(shares))
    if shares[worst] <= threshold:
        return None
    listed = [f"{m.layers[i]} {share:.0%}" for i, share in enumerate(shares) if share > threshold]
    return Verdict(
        "dead_units",
        f"Units without a gradient in any task and step: {', '.join(listed)} (threshold {threshold:.0%}).",
        "Initialize again with a smaller scale or bias, lower the learning rates, normalize the inputs, or use a leaky "
        "activation.",
        float(shares[worst]),
        threshold,
    )


def _labels_ignored(m: Measurements) -> Verdict | None:
    # Healthy learners that lower the loss by a fifth lose at least a quarter of this gain with permuted labels.
    threshold = 0.9
    gain = _median(m.query_loss[:, 0] - m.query_loss[:, -1])
    kept = _median(m.query_loss[:, 0] - m.permuted_loss) / gain if gain > 0 else math.nan
    if not (kept > threshold and _query_fall(m) > 0.2):
        return None
    return Verdict(
        "labels_ignored",
        f"With permuted support labels {kept:.0%} of the gain remains (threshold {threshold:.0%}): the steps do not "
        "use the labels.",
        "Number the classes at random in every task, so that no network can know them without the support set.",
        kept,
        threshold,
    )


def _label_order(m: Measurements) -> Verdict | None:
    # Up to 0.13, for the context vector on Omniglot.
    threshold = 0.5
    gap = float(np.mean(m.order_gap))
    if not gap > threshold:
        return None
    return Verdict(
        "label_order",
        f"The accuracy of a task varies by {gap:.2f} with the order in which its classes are numbered (threshold "
        f"{threshold}).",
        "Number the classes at random in training, begin with a head of zeros, or average predictions over orders.",
        gap,
        threshold,
    )


def _no_gain(m: Measurements) -> Verdict | None:
    # Healthy learners gain at least 2 % of the query loss; the untrained network for sinusoids gains least.
    gain, support = _query_fall(m), _support_fall(m)
    if not (gain <= 0 < support):
        return None
    return Verdict(
        "no_gain",
        f"The steps lower the support loss by {support:.1%} and change the query loss by {-gain:+.1%} (threshold: "
        "below 0).",
        "Check that support and query sets belong to the same task and that their labels mean the same; then train "
        "longer, or use more support examples or fewer steps.",
        gain,
        0.0,
    )


def _median(values: np.ndarray) -> float:
    """Returns the median over the tasks with finite values; NaN if there are none."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else math.nan


def _share(flags: np.ndarray, counted: np.ndarray) -> float:
    """Returns the share of the counted tasks that are flagged; 0 if none is counted."""
    return float(flags[counted].mean()) if counted.any() else 0.0


def _support_fall(m: Measurements) -> float:
    """Returns the fraction by which the steps lower the support loss, the median over tasks."""
    with np.errstate(all="ignore"):
        return _median(1 - m.support_after[:, -1] / m.support_before[:, 0])


def _query_fall(m: Measurements) -> float:
    with np.errstate(all="ignore"):
        return _median(1 - m.query_loss[:, -1] / m.query_loss[:, 0])


_RULES: tuple[Callable[[Measurements], Verdict | None], ...] = (
    _loss_not_finite,
    _labels_shuffled,
    _support_in_query,
    _loss_scale,
    _step_too_large,
    _step_too_small,
    _diverging_tasks,
    _head_frozen,
    _meta_gradient_cut,
    _wrong_second_derivative,
    _statistics_leak,
    _dead_units,
    _labels_ignored,
    _label_order,
)
