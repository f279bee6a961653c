"""Tests of functions in two stages."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.rl.hessian_products import TwoStages

_VECTOR = tf.TensorSpec([3], tf.float64)


def example(early, late):
    hidden = tf.tanh(early["x"])
    of_both = {"product": hidden * late + early["y"], "early_alone": tf.exp(hidden), "late_alone": late * 2}
    return {"sum": tf.reduce_sum(hidden)}, of_both


class TwoStagesTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.early = {"x": tf.constant([0.1, 0.2, 0.3], tf.float64), "y": tf.constant([1.0, 2.0, 3.0], tf.float64)}
        self.stages = TwoStages(example, {"x": _VECTOR, "y": _VECTOR}, _VECTOR)

    def test_equals_the_function_for_many_late_arguments(self):
        of_early, kept = self.stages.first(self.early)
        np.testing.assert_array_equal(of_early["sum"], tf.reduce_sum(tf.tanh(self.early["x"])))
        for scale in (1.0, -2.0):
            late = tf.constant([scale, 2 * scale, 0.0], tf.float64)
            expected, actual = example(self.early, late)[1], self.stages.second(late, kept)
            for name, value in expected.items():
                np.testing.assert_array_equal(actual[name], value)

    def test_the_first_stage_does_the_work(self):
        second = {operation.type for operation in self.stages._second.graph.get_operations()}
        first = {operation.type for operation in self.stages._first.graph.get_operations()}
        self.assertContainsSubset({"Tanh", "Exp"}, first)
        self.assertNoCommonElements({"Tanh", "Exp"}, second)
        self.assertIn("Mul", second)

    def test_specifications(self):
        self.assertEqual([spec.shape for spec in self.stages.kept], [tf.TensorShape([3])] * len(self.stages.kept))
        self.assertEqual(set(self.stages.early_results), {"sum"})
        self.assertEqual(set(self.stages.results), {"product", "early_alone", "late_alone"})

    def test_keeps_what_a_conversion_was_made_from(self):
        def gated(early, late):
            return (), tf.cast(early > 0, late.dtype) * late

        stages = TwoStages(gated, _VECTOR, _VECTOR)
        self.assertEqual([spec.dtype for spec in stages.kept], [tf.bool])
        _, kept = stages.first(tf.constant([-1.0, 0.0, 2.0], tf.float64))
        np.testing.assert_array_equal(stages.second(tf.constant([3.0, 4.0, 5.0], tf.float64), kept), [0.0, 0.0, 5.0])

    def test_a_conversion_to_fewer_bits_stays_as_it_is(self):
        def rounded(early, late):
            return (), tf.cast(tf.cast(early, tf.float32), late.dtype) * late

        stages = TwoStages(rounded, _VECTOR, _VECTOR)
        self.assertEqual([spec.dtype for spec in stages.kept], [tf.float32])
        _, kept = stages.first(tf.constant([0.1, 0.2, 0.3], tf.float64))
        expected = np.array([0.1, 0.2, 0.3], np.float32).astype(np.float64)
        np.testing.assert_array_equal(stages.second(tf.ones([3], tf.float64), kept), expected)

    def test_what_no_result_needs_is_not_kept(self):
        def wasteful(early, late):
            unused = tf.exp(early) * late
            del unused
            return (), early + late

        self.assertLen(TwoStages(wasteful, _VECTOR, _VECTOR).kept, 1)

    def test_inside_a_compiled_function(self):
        @tf.function
        def both(early, late):
            return self.stages.second(late, self.stages.first(early)[1])["product"]

        late = tf.ones([3], tf.float64)
        np.testing.assert_array_equal(both(self.early, late), example(self.early, late)[1]["product"])

    def test_first_results_of_the_late_arguments_are_refused(self):
        with self.assertRaisesRegex(ValueError, "early arguments. Received: some .*late"):
            TwoStages(lambda early, late: (early * late, late), _VECTOR, _VECTOR)


if __name__ == "__main__":
    absltest.main()
