"""Meta-reinforcement learning: what needs tf-agents, TensorFlow Probability or MuJoCo (the extra `rl`)."""

import contextlib
import importlib.util
import io
import os
import sys
import warnings

# The modules that all of maml_tf.rl needs, with the distributions that bring them.
_NEEDED = {"tf_agents": "tf-agents", "tensorflow_probability": "tensorflow-probability", "tf_keras": "tf_keras"}
_FLAG = "TF_USE_LEGACY_KERAS"
_ON = ("1", "true", "True")


def _check_installed() -> None:
    missing = [name for module, name in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if not missing:
        return
    remedy = "in the project's folder, run: pip install '.[rl]'"
    if sys.version_info >= (3, 12):
        remedy += ". It installs on Python 3.10 and 3.11 alone, as tf-agents' dependency pygame 2.1.3 does"
    raise ImportError(
        f"Expected the extra rl of maml_tf to be installed: {remedy}. Received: Python {sys.version_info.major}."
        f"{sys.version_info.minor} without {', '.join(missing)}"
    )


def _import_tf_agents() -> None:
    # tf-agents and TensorFlow Probability need Keras 2 under the name tf.keras. The flag changes that name's
    # meaning alone: `import keras`, which is all that maml_tf uses, stays Keras 3.
    if os.environ.setdefault(_FLAG, "1") not in _ON:
        raise ImportError(
            f"Expected the environment variable {_FLAG} to be unset or 1 when maml_tf.rl is imported: tf-agents "
            f"needs Keras 2 as tf.keras. Received: {_FLAG}={os.environ[_FLAG]!r}"
        )
    try:
        # What they say at import is of their own dependencies (gym's end, distutils), not of our use of them.
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore", DeprecationWarning)
            importlib.import_module("tf_agents")
    except AttributeError as error:
        raise ImportError(
            f"Expected tf.keras to be Keras 2 for tf-agents: import maml_tf.rl before the first use of tf_agents, "
            f"tensorflow_probability or tf.keras, or set the environment variable {_FLAG}=1 from the start. "
            f"Received: {error}"
        ) from error


_check_installed()
_import_tf_agents()
