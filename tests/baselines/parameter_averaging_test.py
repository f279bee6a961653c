"""Tests of maml_tf.baselines.parameter_averaging."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf.baselines.parameter_averaging import AnchoredRegression, ParameterAveraging

X = np.array([[1.0], [2.0], [-1.0], [0.5]], "float32")
Y = np.array([[3.0], [1.0], [0.0], [2.0]], "float32")


def anchored_line(strength, optimizer=None):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)], name="line")
    model.set_weights([np.array([[2.0]], "float32"), np.array([0.5], "float32")])
    anchored = AnchoredRegression(model, strength)
    anchored.compile(optimizer or keras.optimizers.SGD(0.1), loss="mse")
    anchored.optimizer.build(anchored.trainable_variables)
    return anchored


def fresh(number):
    return [tf.fill((1, 1), float(number)), tf.fill((1,), -float(number))]


def weights_of(anchored):
    return np.array([float(np.squeeze(value)) for value in anchored.model.get_weights()])


class Recorder(keras.callbacks.Callback):
    """Keeps the weights at the end of each epoch; it stands before what changes them."""

    def __init__(self, anchored):
        super().__init__()
        self.anchored, self.ends = anchored, []

    def on_epoch_end(self, epoch, logs=None):
        self.ends.append(weights_of(self.anchored))


class AnchoredRegressionTest(absltest.TestCase):
    def test_the_penalty_is_the_squared_distance_to_the_anchor(self):
        anchored = anchored_line(0.3)
        error = np.mean((2.0 * X + 0.5 - Y) ** 2)
        loss = anchored.compute_loss(X, Y, anchored(X))
        self.assertAlmostEqual(float(loss), error + 0.3 * (2.0**2 + 0.5**2), places=5)
        anchored.anchor[0].assign([[1.0]])
        anchored.anchor[1].assign([-1.0])
        self.assertAlmostEqual(
            float(anchored.compute_loss(X, Y, anchored(X))), error + 0.3 * (1.0**2 + 1.5**2), places=5
        )

    def test_without_strength_the_loss_is_the_error(self):
        anchored = anchored_line(0.0)
        self.assertAlmostEqual(
            float(anchored.compute_loss(X, Y, anchored(X))), np.mean((2.0 * X + 0.5 - Y) ** 2), places=5
        )

    def test_a_step_follows_the_gradient_of_error_and_penalty(self):
        anchored = anchored_line(0.3)
        anchored.anchor[0].assign([[5.0]])
        anchored.fit(X, Y, batch_size=4, verbose=0)
        residual = 2 * (2.0 * X + 0.5 - Y)
        gradient = np.array([np.mean(residual * X) + 0.6 * (2.0 - 5.0), np.mean(residual) + 0.6 * 0.5])
        np.testing.assert_allclose(weights_of(anchored), [2.0, 0.5] - 0.1 * gradient, rtol=1e-5)

    def test_a_negative_strength_is_an_error(self):
        for strength in (-1.0, float("nan")):
            with self.assertRaisesRegex(ValueError, f"Expected strength .* Received: strength={strength}"):
                AnchoredRegression(keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]), strength)


class ParameterAveragingTest(parameterized.TestCase):
    def test_the_mean_is_numpys_mean_of_the_networks(self):
        anchored = anchored_line(0.0)
        recorder, averaging = Recorder(anchored), ParameterAveraging(anchored, fresh)
        averaging.start()
        np.testing.assert_array_equal(weights_of(anchored), [0.0, 0.0])
        anchored.fit(X, Y, epochs=3, batch_size=4, verbose=0, callbacks=[recorder, averaging])
        self.assertLen({tuple(end) for end in recorder.ends}, 3)
        averaging.apply()
        np.testing.assert_allclose(weights_of(anchored), np.mean(recorder.ends, axis=0), rtol=1e-5)
        self.assertEqual(int(averaging.state.count), 3)

    def test_each_network_starts_fresh_and_so_does_its_optimizer(self):
        anchored = anchored_line(0.0, keras.optimizers.Adam(0.25))
        averaging = ParameterAveraging(anchored, fresh)
        averaging.start()
        for number in (1, 2):
            anchored.fit(X, Y, epochs=1, batch_size=2, verbose=0, callbacks=[averaging])
            np.testing.assert_array_equal(weights_of(anchored), [number, -number])
            for variable in anchored.optimizer.variables:
                if variable is anchored.optimizer.learning_rate:
                    self.assertEqual(float(variable), 0.25)
                else:
                    np.testing.assert_array_equal(variable, np.zeros(variable.shape), variable.path)

    def test_each_network_is_measured_before_the_next_one_starts(self):
        anchored = anchored_line(0.0)
        recorder = Recorder(anchored)
        averaging = ParameterAveraging(anchored, fresh, error=lambda number: 100.0 * number + weights_of(anchored)[0])
        averaging.start()
        history = anchored.fit(X, Y, epochs=2, batch_size=4, verbose=0, callbacks=[recorder, averaging]).history
        expected = [100.0 * number + end[0] for number, end in enumerate(recorder.ends)]
        self.assertEqual(history["network_error"], expected)

    def test_a_learning_rate_set_meanwhile_stays(self):
        anchored = anchored_line(0.0)
        averaging = ParameterAveraging(anchored, fresh)
        anchored.optimizer.learning_rate = 0.125
        averaging.on_epoch_end(0)
        self.assertEqual(float(anchored.optimizer.learning_rate), 0.125)

    @parameterized.parameters(keras.optimizers.Adagrad, keras.optimizers.Nadam, keras.optimizers.Adam)
    def test_each_network_is_trained_as_by_an_optimizer_of_its_own(self, optimizer):
        anchored = anchored_line(0.0, optimizer(0.25))
        recorder, averaging = Recorder(anchored), ParameterAveraging(anchored, fresh)
        averaging.start()
        anchored.fit(X, Y, epochs=3, batch_size=2, shuffle=False, verbose=0, callbacks=[recorder, averaging])
        for number, end in enumerate(recorder.ends):
            alone = anchored_line(0.0, optimizer(0.25))
            alone.model.set_weights([value.numpy() for value in fresh(number)])
            alone.fit(X, Y, epochs=1, batch_size=2, shuffle=False, verbose=0)
            np.testing.assert_array_equal(end, weights_of(alone))

    @parameterized.parameters(True, False)
    def test_the_anchor_is_the_mean_so_far_if_it_moves_and_zero_if_not(self, move_anchor):
        anchored = anchored_line(0.1)
        recorder, averaging = Recorder(anchored), ParameterAveraging(anchored, fresh, move_anchor=move_anchor)
        averaging.start()
        for _ in range(2):
            anchored.fit(X, Y, epochs=1, batch_size=4, verbose=0, callbacks=[recorder, averaging])
            anchor = np.array([float(np.squeeze(variable)) for variable in anchored.anchor])
            expected = np.mean(recorder.ends, axis=0) if move_anchor else np.zeros(2)
            np.testing.assert_allclose(anchor, expected, rtol=1e-5)

    def test_the_first_network_has_no_penalty_on_the_distance_to_a_mean(self):
        start, ends = lambda number: fresh(number + 1), {}
        for name, strength, move_anchor in (("none", 0.0, False), ("mean", 0.1, True), ("l2", 0.1, False)):
            anchored = anchored_line(strength)
            recorder, averaging = Recorder(anchored), ParameterAveraging(anchored, start, move_anchor=move_anchor)
            averaging.start()
            anchored.fit(X, Y, epochs=2, batch_size=4, verbose=0, callbacks=[recorder, averaging])
            ends[name] = recorder.ends
        np.testing.assert_array_equal(ends["mean"][0], ends["none"][0])
        self.assertFalse(np.array_equal(ends["l2"][0], ends["none"][0]))
        # The second is drawn to the first by the gradient 2 * 0.1 * (theta - mean), times the step size 0.1.
        pull = 0.1 * 0.2 * (np.array([2.0, -2.0]) - ends["none"][0])
        np.testing.assert_allclose(ends["mean"][1], ends["none"][1] - pull, rtol=1e-5)

    def test_a_restored_state_goes_on_where_it_was(self):
        path = self.create_tempdir().full_path
        whole = anchored_line(0.1)
        averaging = ParameterAveraging(whole, fresh, move_anchor=True)
        averaging.start()
        whole.fit(X, Y, epochs=2, batch_size=4, verbose=0, callbacks=[averaging])
        saved = tf.train.Checkpoint(state=averaging.state, model=whole.model.variables).save(f"{path}/checkpoint")
        whole.fit(X, Y, epochs=1, batch_size=4, verbose=0, callbacks=[averaging])
        averaging.apply()

        resumed = anchored_line(0.1)
        other = ParameterAveraging(resumed, fresh, move_anchor=True)
        other.start()
        checkpoint = tf.train.Checkpoint(state=other.state, model=resumed.model.variables)
        checkpoint.restore(saved).assert_existing_objects_matched()
        resumed.fit(X, Y, epochs=1, batch_size=4, verbose=0, callbacks=[other])
        other.apply()
        np.testing.assert_array_equal(weights_of(resumed), weights_of(whole))

    def test_an_optimizer_without_variables_is_an_error(self):
        anchored = AnchoredRegression(keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]), 0.0)
        anchored.compile("adam", loss="mse")
        with self.assertRaisesRegex(ValueError, "Expected a built optimizer. Received: 'adam' with built=False"):
            ParameterAveraging(anchored, fresh)

    def test_the_mean_of_no_network_is_an_error(self):
        with self.assertRaisesRegex(ValueError, "Expected at least one trained network to average"):
            ParameterAveraging(anchored_line(0.0), fresh).apply()


if __name__ == "__main__":
    absltest.main()
