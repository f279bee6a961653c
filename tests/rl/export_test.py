"""Tests of policies as tf-agents policies."""

import pathlib
import tempfile
import warnings

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest

from tests.support import with_rl  # noqa: F401

# isort: split
from tf_agents.drivers import dynamic_step_driver
from tf_agents.environments import tf_py_environment
from tf_agents.policies import policy_saver

from maml_tf.models import mlp
from maml_tf.rl.adaptation import PolicyAdaptation
from maml_tf.rl.environments import PointNavigation
from maml_tf.rl.export import AgentsPolicy, with_parameters
from maml_tf.rl.policy import GaussianPolicy, PurePolicy, gaussian_mlp_policy
from tests.rl import examples


class ExportTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.environment = PointNavigation(4, horizon=5)
        self.policy = gaussian_mlp_policy(2, 2, hidden=(6,))
        self.pure = PurePolicy(self.policy)

    def adapted(self):
        batch = examples.batch(self.pure, self.pure.parameters())
        return with_parameters(self.policy, PolicyAdaptation(self.pure, 0.5).adapt(self.pure.parameters(), [batch]))

    def test_other_parameters_in_a_copy_of_any_network(self):
        class Bounded(GaussianPolicy):
            def call(self, observations):
                mean, log_std = super().call(observations)
                return tf.tanh(mean), log_std

        layers = [keras.Input((2,)), keras.layers.Dense(3, activation="tanh"), keras.layers.Dense(2)]
        for kind in (GaussianPolicy, Bounded):
            policy = kind(keras.Sequential(layers))
            pure = PurePolicy(policy)
            params = {name: value + 1.0 for name, value in pure.parameters().items()}
            observations = tf.constant([[0.3, -0.2]])
            copy = with_parameters(policy, params)
            self.assertIs(type(copy), kind)
            np.testing.assert_allclose(copy(observations)[0], pure(params, observations).mean, rtol=1e-6)

    def test_distribution_is_the_policys_before_and_after_adaptation(self):
        time_step = self.environment.reset()
        time_step = time_step._replace(observation=np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32))
        adapted = self.adapted()
        for policy in (self.policy, adapted):
            distribution = AgentsPolicy(policy, self.environment).distribution(time_step).action
            mean, log_std = policy(time_step.observation)
            np.testing.assert_allclose(distribution.mean(), mean, rtol=1e-5)
            np.testing.assert_allclose(distribution.stddev(), np.tile(np.exp(log_std), (4, 1)), rtol=1e-5)
        before, after = (np.asarray(policy.network(time_step.observation)) for policy in (self.policy, adapted))
        self.assertFalse(np.allclose(before, after))

    def test_a_policy_in_float64_acts_in_the_environments_float32(self):
        policy = GaussianPolicy(mlp((2,), (6,), 2, dtype="float64"))
        action = AgentsPolicy(policy, self.environment).action(self.environment.reset()).action
        self.assertEqual(action.dtype, self.environment.action_spec().dtype)

    def test_drives_a_driver(self):
        seen = []
        environment = tf_py_environment.TFPyEnvironment(self.environment)
        driver = dynamic_step_driver.DynamicStepDriver(
            environment, AgentsPolicy(self.adapted(), self.environment), observers=[seen.append], num_steps=12
        )
        driver.run(environment.reset())
        actions = np.concatenate([trajectory.action for trajectory in seen])
        self.assertEqual(actions.shape, (12, 2))
        self.assertLessEqual(np.abs(actions).max(), 1.0)

    def test_saves_and_loads(self):
        # tf-agents' own: what is loaded must know TensorFlow Probability's distributions.
        warnings.filterwarnings("ignore", "Encoding a StructuredValue with type tfp", UserWarning)
        self.policy.log_std.assign([-50.0, -50.0])
        agents = AgentsPolicy(self.policy, self.environment)
        self.assertLen(agents.variables(), 5)
        time_step = tf.nest.map_structure(tf.convert_to_tensor, self.environment.reset())
        time_step = time_step._replace(
            observation=tf.constant(np.random.default_rng(0).normal(size=(4, 2)) / 9, tf.float32)
        )
        with tempfile.TemporaryDirectory() as folder:
            policy_saver.PolicySaver(agents).save(str(pathlib.Path(folder, "policy")))
            loaded = tf.saved_model.load(str(pathlib.Path(folder, "policy")))
            np.testing.assert_allclose(loaded.action(time_step).action, agents.action(time_step).action, atol=1e-4)


if __name__ == "__main__":
    absltest.main()
