"""The only import of tf-agents; if it fails, the error says what to install or to set."""

from __future__ import annotations

import importlib.util
import sys
import warnings

_NEEDED = {"tf_agents": "tf-agents", "tensorflow_probability": "tensorflow-probability", "tf_keras": "tf_keras"}
_missing = [name for module, name in _NEEDED.items() if importlib.util.find_spec(module) is None]
if _missing:
    _remedy = "in the project's folder, run: pip install '.[rl]'"
    if sys.version_info >= (3, 12):
        _remedy += ", and: pip install --no-deps --requirement requirements_tf_agents.txt"
    raise ImportError(
        f"Expected the extra rl of maml_tf to be installed: {_remedy}. Received: Python {sys.version_info.major}."
        f"{sys.version_info.minor} without {', '.join(_missing)}"
    )

# tf-agents imports gym, which prints a deprecation notice that it finds here. maml_tf does not use gym.
_notices = "gym_notices"
if importlib.util.find_spec(_notices):
    importlib.import_module(f"{_notices}.notices").notices.clear()

try:
    with warnings.catch_warnings():
        # Deprecations inside tf-agents' dependencies, such as distutils.
        warnings.simplefilter("ignore", DeprecationWarning)
        import tensorflow_probability as tfp
        from tf_agents.environments import py_environment
        from tf_agents.policies import tf_policy
        from tf_agents.specs import array_spec, tensor_spec
        from tf_agents.trajectories import policy_step, time_step
except AttributeError as error:
    raise ImportError(
        "Expected tf.keras to be Keras 2 for tf-agents: import maml_tf.rl before the first use of tf_agents, "
        "tensorflow_probability or tf.keras, or set the environment variable TF_USE_LEGACY_KERAS=1 from the start. "
        f"Received: {error}"
    ) from error

__all__ = ["array_spec", "policy_step", "py_environment", "tensor_spec", "tf_policy", "tfp", "time_step"]
