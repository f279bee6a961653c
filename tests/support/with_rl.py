"""Import this before tf_agents: it imports maml_tf.rl.agents, or skips the test where the extra cannot be installed."""

import importlib.util
import sys
import unittest

if sys.version_info >= (3, 12) and importlib.util.find_spec("tf_agents") is None:
    raise unittest.SkipTest("the extra rl installs on Python 3.10 and 3.11 alone")

import maml_tf.rl.agents  # noqa: F401
