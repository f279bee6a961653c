"""Policies as SavedModels: steps on rollouts equal those of the adaptation."""

import pathlib
import tempfile
import warnings

import numpy as np
import tensorflow as tf
from absl.testing import absltest

from tests.support import with_rl  # noqa: F401

# isort: split
import maml_tf
from maml_tf.export import save, save_litert
from maml_tf.rl.adaptation import PolicyAdaptation
from maml_tf.rl.objectives import likelihood_ratio
from maml_tf.rl.policy import PurePolicy
from tests.rl import examples


class PolicyTest(absltest.TestCase):
    def test_steps_equal_those_of_the_adaptation(self):
        pure = PurePolicy(examples.policy(dtype="float32", hidden=(6, 5)).policy)
        adaptation = PolicyAdaptation(
            pure, [0.4, 0.1], objective=likelihood_ratio, adapted=maml_tf.matching("hidden2|head|log_std")
        )
        with tempfile.TemporaryDirectory() as folder:
            served = tf.saved_model.load(str(save(adaptation, folder)))
        self.assertNotIn("adapt_and_predict", served.signatures)
        params = pure.parameters()
        weights = served.get_weights()["weights"]
        for step, rows in enumerate((8, 11)):
            batch = examples.batch(pure, params, seed=step, steps=rows)
            params = (
                adaptation.adapt(params, [batch]) if not step else adaptation.step_of_task(params, batch, step).params
            )
            rollouts = batch.observations, batch.actions, batch.advantages
            weights = served.adapt(weights, *rollouts, tf.constant(step))["weights"]
            served.fit_task(*rollouts, tf.constant(step))
        np.testing.assert_allclose(served.get_weights()["weights"], weights, atol=1e-6)
        observations = tf.random.normal([3, 2])
        expected = pure(params, observations)
        for outputs in (served.infer(observations), served.predict(weights, observations)):
            np.testing.assert_allclose(outputs["mean"], expected.mean, atol=1e-6)
            np.testing.assert_allclose(outputs["log_std"], expected.log_std, atol=1e-6)
        with self.assertRaisesRegex(tf.errors.InvalidArgumentError, "as many targets as inputs"):
            served.fit_task(rollouts[0], rollouts[1][:3], rollouts[2], tf.constant(0))
        np.testing.assert_allclose(served.get_weights()["weights"], weights, atol=1e-6)
        served.reset()
        np.testing.assert_allclose(served.infer(observations)["mean"], pure.policy(observations)[0], atol=1e-6)
        self.assertTrue(np.all(np.isnan(served.infer(observations * np.nan)["mean"])))

    def test_a_file_for_litert_takes_the_same_steps(self):
        pure = PurePolicy(examples.policy(dtype="float32", hidden=(6, 5)).policy)
        adaptation = PolicyAdaptation(pure, [0.4, 0.1], objective=likelihood_ratio)
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = save_litert(adaptation, pathlib.Path(folder, "policy.tflite"), support_examples=8).read_bytes()
            interpreter = tf.lite.Interpreter(model_content=content)
        adapt, infer = map(interpreter.get_signature_runner, ("adapt", "infer"))
        params = pure.parameters()
        for step in range(2):
            batch = examples.batch(pure, params, seed=step, steps=8)
            params = adaptation.step_of_task(params, batch, step).params
            rollouts = {"observations": batch.observations, "actions": batch.actions, "advantages": batch.advantages}
            rollouts = {name: np.asarray(value) for name, value in rollouts.items()}
            self.assertTrue(adapt(**rollouts, step=np.int32(step))["done"])
        observations = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
        outputs, expected = infer(observations=observations), pure(params, observations)
        np.testing.assert_allclose(outputs["mean"], expected.mean, atol=1e-5)
        np.testing.assert_allclose(outputs["log_std"], expected.log_std, atol=1e-5)


if __name__ == "__main__":
    absltest.main()
