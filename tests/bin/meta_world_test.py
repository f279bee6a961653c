"""Tests of bin/meta_world.py without Meta-World; `python -m tests.meta_world` trains with it."""

import importlib.util
import tempfile
import unittest

from absl.testing import absltest

from tests.support import binary


@unittest.skipIf(importlib.util.find_spec("metaworld"), "Meta-World is here")
class MetaWorldTest(absltest.TestCase):
    def test_without_the_package_one_error_says_how_to_run_it(self):
        with tempfile.TemporaryDirectory() as folder:
            finished = binary.run("meta_world", "--benchmark=ml1_push", f"--logdir={folder}")
        self.assertEqual((finished.code, finished.stdout), (1, ""))
        [error] = finished.errors
        self.assertIn("run: python3 bin/bootstrap.py meta_world", error)
        self.assertNotIn("Traceback", finished.stderr)


if __name__ == "__main__":
    absltest.main()
