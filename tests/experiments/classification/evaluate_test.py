"""Tests of how the baselines of few-shot classification are measured."""

from unittest import mock

import numpy as np
from absl.testing import absltest

from maml_tf.baselines import tune_step_size
from maml_tf.core.selection import head
from maml_tf.evaluation import Evaluator, accuracy
from maml_tf.experiments.classification import evaluate as evaluate_module
from maml_tf.experiments.classification.config import ClassificationConfig
from maml_tf.experiments.classification.evaluate import evaluate_baselines
from maml_tf.few_shot.learner import build_learner, task_loss
from maml_tf.learner import MAML

CONFIG = ClassificationConfig(method="pretrained", network="dense", ways=2, shots=4, evaluation_steps=2, adapted="head")


def episodes(turn=0):
    """One meta-batch of tasks whose query is the support set; with `turn`, under other labels."""
    images = np.random.default_rng(0).random((3, 8, 28, 28, 1), np.float32)
    labels = np.tile([0, 1] * 4, (3, 1))
    return [((images, labels, images), (labels + turn) % 2)]


class EvaluateBaselinesTest(absltest.TestCase):
    def test_the_step_size_is_the_best_on_validation_tasks(self):
        learner = build_learner(CONFIG)
        # Under turned labels every step is wrong, and without one all examples get the same label: half are right.
        for turn, expected in ((0, 0.01), (1, 0.0)):
            with (
                mock.patch.object(evaluate_module, "STEP_SIZES", (0.0, 0.01)),
                mock.patch.object(evaluate_module, "MAML", wraps=MAML) as tuned,
                mock.patch.object(evaluate_module, "tune_step_size", wraps=tune_step_size) as tune,
            ):
                evaluations, protocol = evaluate_baselines(learner, CONFIG, episodes(turn), episodes(1 - turn))
            self.assertEqual(protocol, {"loss_scale": "mean", "inner_learning_rate_on_the_mean": expected})
            self.assertEqual(list(evaluations), ["pretrained", "nearest_neighbour"])
            self.assertEqual(tuned.call_args.args[2], expected)
            error = tune.call_args.kwargs["error"]
            np.testing.assert_allclose(error([0, 1, 1, 1], [[2.0, 1.0], [0.0, 1.0], [3.0, 2.0], [0.0, 9.0]]), 0.25)
            self.assertEqual(tune.call_args.kwargs, {"adapted": head, "error": error})
            self.assertEqual(tuned.call_args.kwargs, {"first_order": True, "adapted": head})
            learner_of_test = MAML(learner.model, task_loss(), expected, first_order=True, adapted=head)
            measured = Evaluator(learner_of_test, {"accuracy": accuracy})(episodes(1 - turn), 2).values["accuracy"]
            np.testing.assert_allclose(evaluations["pretrained"].values["accuracy"], measured)
            # Each query is its own nearest neighbour.
            np.testing.assert_array_equal(evaluations["nearest_neighbour"].values["accuracy"], [[turn] * 3])


if __name__ == "__main__":
    absltest.main()
