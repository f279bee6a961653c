"""AdaptationDiagnosis: diagnoses in training, in the logs and for TensorBoard."""

import pathlib

import keras
import tensorflow as tf
from absl.testing import absltest

import maml_tf
from maml_tf.training import AdaptationDiagnosis
from tests.support.small_learner import make_data
from tests.support.small_models import sequential


class AdaptationDiagnosisTest(absltest.TestCase):
    def test_diagnoses_every_few_epochs_and_writes_summaries(self):
        keras.utils.set_random_seed(0)
        learner = maml_tf.MAML(sequential(keras.layers.Dense(1, name="out"), features=2), "mse", 1e-5)
        learner.compile("adam")
        inputs, query_y = make_data()
        folder = self.create_tempdir().full_path
        callback = AdaptationDiagnosis(maml_tf.Doctor(learner), [(inputs, query_y)], every_epochs=2, logdir=folder)
        history = learner.fit(inputs, query_y, batch_size=3, epochs=4, callbacks=[callback], verbose=0)
        self.assertEqual(callback.diagnosis.names, ["step_too_small"])
        self.assertEqual(history.history["diagnosis_verdicts"], [1, 1])
        (events,) = pathlib.Path(folder).glob("events*")
        written = [
            (event.step, value.tag.replace(learner.model.name + "/", ""))
            for event in tf.compat.v1.train.summary_iterator(str(events))
            for value in event.summary.value
        ]
        self.assertContainsSubset(
            [(2, "diagnosis/slope_used/first_step"), (4, "diagnosis/update/out"), (4, "diagnosis/table")], written
        )

    def test_epochs_below_one_are_refused(self):
        with self.assertRaisesRegex(ValueError, "every_epochs=0"):
            AdaptationDiagnosis(None, [], every_epochs=0)


if __name__ == "__main__":
    absltest.main()
