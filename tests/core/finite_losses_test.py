"""Tests of maml_tf.core.finite_losses."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf.core.finite_losses import NonFiniteLossError, NonFiniteRecord, require_finite


class RequireFiniteTest(parameterized.TestCase):
    def test_finite_passes(self):
        self.assertEqual(require_finite(tf.ones((2, 3))), [])

    @parameterized.parameters(float("nan"), float("inf"))
    def test_names_tasks_and_steps(self, bad):
        losses = tf.constant([[1.0, 1.0, 1.0], [1.0, bad, bad]])
        message = r"Expected finite losses.*the last step being the query loss \(2 here\): \[\[1, 1\], \[1, 2\]\]"
        with self.assertRaisesRegex(tf.errors.InvalidArgumentError, message):
            require_finite(losses)

        @tf.function
        def checked(losses):
            with tf.control_dependencies(require_finite(losses)):
                return tf.identity(losses)

        with self.assertRaisesRegex(
            tf.errors.InvalidArgumentError, r"(?s)Expected finite losses.*\[\[1 1\]\s*\[1 2\]\]"
        ):
            checked(losses)
        np.testing.assert_array_equal(checked(tf.ones((2, 3))), np.ones((2, 3)))


class NonFiniteRecordTest(parameterized.TestCase):
    @parameterized.product(bad=(float("nan"), float("inf")), jit_compile=(True, False))
    def test_keeps_the_first_until_it_is_read(self, bad, jit_compile):
        record = NonFiniteRecord()
        note = tf.function(record.note, jit_compile=jit_compile)
        good = tf.ones((3, 3))
        self.assertTrue(note(good))
        record.require_none(iteration=1)
        self.assertFalse(note(tf.constant([[1.0, 1.0, 1.0], [1.0, 1.0, bad], [1.0, bad, bad]])))
        self.assertFalse(note(tf.fill((3, 3), bad)))
        self.assertFalse(note(good))
        message = (
            r"iteration 5 at \[task, inner step\] \[1, 2\], the last step being the query loss \(2 here\); "
            "2 of 3 tasks have such losses"
        )
        with self.assertRaisesRegex(NonFiniteLossError, message):
            record.require_none(iteration=5)
        record.require_none(iteration=6)
        self.assertTrue(note(good))

    def test_the_error_is_of_the_types_that_callers_catch(self):
        self.assertIsInstance(NonFiniteLossError("x"), ValueError)
        self.assertIsInstance(NonFiniteLossError("x"), tf.errors.InvalidArgumentError)


if __name__ == "__main__":
    absltest.main()
