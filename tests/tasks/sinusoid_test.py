"""Tests of maml_tf.tasks.sinusoid."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from maml_tf.tasks.sinusoid import Sinusoids, pooled, sine_wave, with_task_input

SINUSOIDS = Sinusoids()


def flat(drawn):
    return [np.asarray(tensor) for tensor in tf.nest.flatten(drawn)]


class DrawTest(parameterized.TestCase):
    def test_shapes_and_dtypes(self):
        drawn = SINUSOIDS.draw(0, 0, tasks=3, shots=5, queries=7)
        self.assertEqual(
            [array.shape for array in flat(drawn)], [(3,), (3,), (3, 5, 1), (3, 5, 1), (3, 7, 1), (3, 7, 1)]
        )
        self.assertEqual({array.dtype for array in flat(drawn)}, {np.dtype("float32")})

    @settings(max_examples=15, deadline=None)
    @given(
        amplitude=st.tuples(st.floats(-3, 3), st.floats(0, 3)),
        phase=st.tuples(st.floats(-3, 3), st.floats(0, 3)),
        x=st.tuples(st.floats(-3, 3), st.floats(0, 3)),
        index=st.integers(0, 2**40),
    )
    def test_draws_lie_in_their_ranges(self, amplitude, phase, x, index):
        ranges = [(low, low + width) for low, width in (amplitude, phase, x)]
        drawn = Sinusoids(*ranges).draw(5, index, tasks=4, shots=3, queries=2)
        x_drawn = np.concatenate([drawn.episode.support_x, drawn.episode.query_x], axis=1)
        for values, (low, high) in zip((drawn.amplitude, drawn.phase, x_drawn), ranges, strict=True):
            self.assertGreaterEqual(np.min(values), low - 1e-6)
            self.assertLessEqual(np.max(values), high + 1e-6)

    def test_targets_follow_the_closed_form(self):
        drawn = SINUSOIDS.draw(1, 2, tasks=6, shots=4, queries=3)
        amplitude, phase, support_x, support_y, query_x, query_y = (array.astype(np.float64) for array in flat(drawn))
        for x, y in ((support_x, support_y), (query_x, query_y)):
            for task in range(6):
                np.testing.assert_allclose(y[task], amplitude[task] * np.sin(x[task] - phase[task]), atol=5e-6)

    def test_an_element_is_a_function_of_seed_and_index(self):
        count = dict(tasks=2, shots=3, queries=3)
        first = flat(SINUSOIDS.draw(7, 11, **count))
        SINUSOIDS.draw(7, 12, **count)
        for one, other in zip(first, flat(SINUSOIDS.draw(7, 11, **count)), strict=True):
            np.testing.assert_array_equal(one, other)
        for seed, index in ((7, 12), (8, 11), (11, 7)):
            for one, other in zip(first, flat(SINUSOIDS.draw(seed, index, **count)), strict=True):
                self.assertFalse(np.any(one == other), msg=f"seed {seed}, index {index}")

    def test_eager_graph_and_xla_draw_the_same(self):
        def draw(index):
            return SINUSOIDS.draw(3, index, tasks=25, shots=10, queries=10)

        index = tf.constant(2**33 + 5, tf.int64)
        eager, graph = flat(draw(index)), flat(tf.function(draw)(index))
        compiled = flat(tf.function(draw, jit_compile=True)(index))
        for one, other, third in zip(eager, graph, compiled, strict=True):
            np.testing.assert_array_equal(one, other)
            # XLA contracts a product and a sum into one rounding.
            np.testing.assert_allclose(one, third, atol=3e-6)

    def test_more_shots_extend_the_support_set_of_the_same_tasks(self):
        few = SINUSOIDS.draw(3, 4, tasks=6, shots=5, queries=5)
        many = SINUSOIDS.draw(3, 4, tasks=6, shots=10, queries=20)
        np.testing.assert_array_equal(few.amplitude, many.amplitude)
        np.testing.assert_array_equal(few.phase, many.phase)
        np.testing.assert_array_equal(few.episode.support_x, many.episode.support_x[:, :5])

    def test_support_and_query_points_differ(self):
        episode = SINUSOIDS.draw(3, 4, tasks=50, shots=10, queries=10).episode
        for task in range(50):
            points = np.concatenate([episode.support_x[task, :, 0], episode.query_x[task, :, 0]])
            self.assertLen(np.unique(points), 20)

    def test_distribution_is_uniform(self):
        drawn = SINUSOIDS.draw(9, 0, tasks=4000, shots=5, queries=5)
        x = np.concatenate([drawn.episode.support_x, drawn.episode.query_x], axis=1).ravel()
        ranges = ((drawn.amplitude, 0.1, 5.0), (drawn.phase, 0.0, math.pi), (x, -5.0, 5.0))
        for values, low, high in ranges:
            values = (np.ravel(values).astype(np.float64) - low) / (high - low)
            # Four standard deviations of the mean of uniforms, and of the mean of their squares.
            self.assertAlmostEqual(values.mean(), 1 / 2, delta=4 * math.sqrt(1 / 12 / values.size))
            self.assertAlmostEqual((values**2).mean(), 1 / 3, delta=4 * math.sqrt(4 / 45 / values.size))

    def test_amplitude_phase_and_inputs_are_uncorrelated(self):
        drawn = SINUSOIDS.draw(10, 0, tasks=4000, shots=2, queries=1)
        x = drawn.episode.support_x
        columns = np.stack([drawn.amplitude, drawn.phase, x[:, 0, 0], x[:, 1, 0], drawn.episode.query_x[:, 0, 0]])
        off_diagonal = np.corrcoef(columns)[np.triu_indices(5, 1)]
        self.assertLess(np.abs(off_diagonal).max(), 4 / math.sqrt(4000))

    def test_query_grid_spans_the_range(self):
        drawn = Sinusoids(x=(-2.0, 4.0)).draw(0, 1, tasks=3, shots=5, queries=4, query_grid=True)
        np.testing.assert_allclose(drawn.episode.query_x[:, :, 0], np.tile([-2.0, 0.0, 2.0, 4.0], (3, 1)), atol=1e-6)
        expected = sine_wave(drawn.episode.query_x, drawn.amplitude, drawn.phase)
        np.testing.assert_array_equal(drawn.episode.query_y, expected)

    @parameterized.parameters(("left", -5.0, 0.0), ("right", 0.0, 5.0))
    def test_support_half_holds_all_support_points(self, half, low, high):
        episode = SINUSOIDS.draw(0, 1, tasks=50, shots=5, queries=10, support_half=half).episode
        self.assertBetween(np.min(episode.support_x), low, low + 0.2)
        self.assertBetween(np.max(episode.support_x), high - 0.2, high)
        self.assertLess(np.min(episode.query_x), -4.5)
        self.assertGreater(np.max(episode.query_x), 4.5)

    @parameterized.parameters(
        (dict(amplitude=(2.0, 1.0)), r"Expected amplitude .* Received: amplitude=\(2\.0, 1\.0\)"),
        (dict(phase=(0.0, math.inf)), "phase=inf"),
        (dict(x=(math.nan, 1.0)), "x=nan"),
        (dict(x=(1.0, 2.0, 3.0)), r"Expected x .* Received: x=\(1\.0, 2\.0, 3\.0\)"),
        (dict(x=("1", 2.0)), "x='1'"),
        (dict(amplitude=1.0), "amplitude=1.0"),
    )
    def test_bad_ranges_are_refused(self, ranges, message):
        with self.assertRaisesRegex(ValueError, message):
            Sinusoids(**ranges)

    @parameterized.parameters(
        (dict(tasks=0), "Received: tasks=0"),
        (dict(shots=0), "Received: shots=0"),
        (dict(queries=-1), "Received: queries=-1"),
        (dict(queries=1, query_grid=True), "Received: queries=1"),
        (dict(query_grid="no"), "query_grid='no'"),
        *((dict([(name, 1.5)]), f"{name}=1.5") for name in ("tasks", "shots", "queries", "seed", "index")),
        *((dict([(name, True)]), f"{name}=True") for name in ("tasks", "shots", "queries", "seed", "index")),
        (dict(support_half="top"), "Expected support_half .* Received: support_half='top'"),
    )
    def test_bad_arguments_are_refused(self, arguments, message):
        with self.assertRaisesRegex(ValueError, message):
            SINUSOIDS.draw(**{**dict(seed=0, index=0, tasks=1, shots=1, queries=1), **arguments})

    def test_numbers_of_numpy_are_those_of_python(self):
        drawn = SINUSOIDS.draw(np.int64(3), np.uint8(1), tasks=np.int32(2), shots=np.int64(1), queries=np.int64(1))
        np.testing.assert_array_equal(drawn.amplitude, SINUSOIDS.draw(3, 1, tasks=2, shots=1, queries=1).amplitude)


class DatasetTest(parameterized.TestCase):
    @parameterized.parameters(False, True)
    def test_elements_are_the_draws_from_first_on(self, query_grid):
        options = {"tasks": 3, "shots": 2, "queries": 5, "query_grid": query_grid}
        dataset = SINUSOIDS.dataset(4, first=6, **options)
        for index, element in zip(range(6, 9), dataset, strict=False):
            expected = SINUSOIDS.draw(4, index, **options).episode.keras_data()
            for one, other in zip(tf.nest.flatten(element), tf.nest.flatten(expected), strict=True):
                np.testing.assert_array_equal(one, other)

    def test_shapes_are_static(self):
        (support_x, _, query_x), query_y = SINUSOIDS.dataset(4, tasks=3, shots=2, queries=5).element_spec
        self.assertEqual(
            [spec.shape.as_list() for spec in (support_x, query_x, query_y)], [[3, 2, 1]] + 2 * [[3, 5, 1]]
        )

    def test_a_wrong_argument_is_one_line(self):
        with self.assertRaisesRegex(ValueError, "Received: shots=1.5") as caught:
            SINUSOIDS.dataset(0, tasks=1, shots=1.5, queries=1)
        self.assertNotIn("\n", str(caught.exception))

    def test_a_negative_first_is_refused(self):
        with self.assertRaisesRegex(ValueError, "Received: first=-1"):
            SINUSOIDS.dataset(4, tasks=3, shots=2, queries=5, first=-1)


class TransformationTest(absltest.TestCase):
    def test_task_input_is_appended_at_every_point(self):
        drawn = SINUSOIDS.draw(0, 0, tasks=3, shots=4, queries=2)
        episode = with_task_input(drawn)
        for x, plain in (
            (episode.support_x, drawn.episode.support_x),
            (episode.query_x, drawn.episode.query_x),
        ):
            np.testing.assert_array_equal(x[:, :, :1], plain)
            for point in range(x.shape[1]):
                np.testing.assert_array_equal(x[:, point, 1], drawn.amplitude)
                np.testing.assert_array_equal(x[:, point, 2], drawn.phase)
        np.testing.assert_array_equal(episode.query_y, drawn.episode.query_y)

    def test_pooled_holds_every_point_with_its_target(self):
        drawn = SINUSOIDS.draw(0, 0, tasks=3, shots=4, queries=2)
        x, y = pooled(with_task_input(drawn))
        self.assertEqual((x.shape, y.shape), ((18, 3), (18, 1)))
        np.testing.assert_allclose(y[:, 0], x[:, 1] * tf.sin(x[:, 0] - x[:, 2]), atol=1e-6)

    def test_pooled_without_queries(self):
        x, y = pooled(SINUSOIDS.draw(0, 0, tasks=3, shots=4, queries=0).episode)
        self.assertEqual((x.shape, y.shape), ((12, 1), (12, 1)))


if __name__ == "__main__":
    absltest.main()
