"""MuJoCo, and gymnasium with the models it brings, imported so that Mesa stays out of TensorFlow's process."""

from __future__ import annotations

import os

_DRAWS = "MUJOCO_GL"
_chosen = os.environ.get(_DRAWS)
# MuJoCo loads what this variable names as it is imported. OSMesa and TensorFlow each bring a copy of LLVM, and crash
# together; what draws is a process of its own, in maml_tf.rl.environments.rendering.
if (_chosen or "").strip().lower() == "osmesa":
    os.environ[_DRAWS] = "disable"

try:
    import gymnasium
    import mujoco
    from mujoco import batch
except ImportError as error:
    raise ImportError(
        "Expected gymnasium and MuJoCo 3.17 or later: in the project's folder, run: pip install '.[rl]'. "
        f"Received: {error}"
    ) from error
finally:
    if _chosen is not None:
        os.environ[_DRAWS] = _chosen

__all__ = ["batch", "gymnasium", "mujoco"]
