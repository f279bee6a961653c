"""What every test under pytest starts from: TensorFlow quiet and on one thread, Keras cleared and seeded."""

import gc
import importlib.metadata
import os
import signal

import pytest
from absl import flags
from absl.testing import absltest  # noqa: F401  Defines --test_tmpdir.

# Read when TensorFlow is imported: say only what is an error.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# XLA's and LLVM's optimizations take longer than the tests run what they compile: two thirds of such a test's time.
# An older XLA than that of TensorFlow 2.21 ends the program at a flag it does not know.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0"
    + " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    * (importlib.metadata.version("tensorflow") >= "2.21"),
)

import keras
import tensorflow as tf

# The tests run in as many processes as there are cores: one thread each, set before the first operation.
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)

# Tests send SIGINT, which shells let the commands ignore that they start in the background, and all that these start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Under pytest nobody parses absl's flags, and absltest's create_tempdir reads them.
flags.FLAGS.mark_as_parsed()


def pytest_addoption(parser):
    parser.addoption("--thorough", action="store_true", help="run the tests marked thorough too")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--thorough"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("thorough")])
        items[:] = [item for item in items if not item.get_closest_marker("thorough")]


def pytest_collection_finish():
    # The objects of the imported packages are no garbage. With them full collections are slow, and so seldom that one
    # of them has the graphs of hundreds of tests to free.
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _temporary_folder(tmp_path_factory):
    flags.FLAGS.test_tmpdir = str(tmp_path_factory.mktemp("absltest"))


@pytest.fixture(autouse=True)
def _clean_keras():
    # Without the garbage collection that clear_session adds: over small tests it costs more than they do.
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
