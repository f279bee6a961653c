"""Pictures of MuJoCo's simulations, drawn in a process of their own.

Mesa's software renderer OSMesa and TensorFlow each bring a copy of LLVM, and crash in one process.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

import numpy as np

from maml_tf.checks import whole_number

_DRAWS = "MUJOCO_GL"
_PROGRAM = pathlib.Path(__file__).with_name("render_process.py")
# MuJoCo's names of backends that draw without a display, in the order to try.
_BACKENDS = ("egl", "osmesa")


@contextlib.contextmanager
def without_osmesa() -> Iterator[None]:
    """Keeps OSMesa out of this process while MuJoCo is imported, which loads the backend that MUJOCO_GL names."""
    chosen = os.environ.get(_DRAWS)
    if (chosen or "").strip().lower() == "osmesa":
        os.environ[_DRAWS] = "disable"
    try:
        yield
    finally:
        if chosen is not None:
            os.environ[_DRAWS] = chosen


def draw_states(
    save_model: Callable[[str], None], qpos: np.ndarray, width: int, height: int, camera: str = "track"
) -> np.ndarray:
    """Draws states of a model from one of its cameras.

    The environment variable MUJOCO_GL chooses the backend; without it, EGL is tried first and then OSMesa.

    Args:
        save_model: `save_model(path)` writes the model in MuJoCo's binary format.
        qpos: Positions of each state, [frames, positions].
        width: Pixels.
        height: Pixels.
        camera: Name of the camera.

    Returns:
        uint8 [frames, height, width, 3].

    Raises:
        ValueError: If width or height is not positive.
        RuntimeError: If no backend on this machine can draw.
    """
    width, height = whole_number("width", width, 1), whole_number("height", height, 1)
    chosen = os.environ.get(_DRAWS)
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        save_model(os.path.join(folder, "model.mjb"))
        np.save(os.path.join(folder, "qpos.npy"), np.asarray(qpos, np.float64))
        for backend in [chosen] if chosen else _BACKENDS:
            done = subprocess.run(
                [sys.executable, _PROGRAM, folder, str(width), str(height), camera],
                env={**os.environ, _DRAWS: backend},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode == 0:
                return np.load(os.path.join(folder, "frames.npy"))
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            failures.append(f"{backend}: {said[-1]}")
    raise RuntimeError(
        "Expected EGL or OSMesa, to draw without a display: on Debian and Ubuntu, apt-get install libegl1 or "
        f"libosmesa6; MUJOCO_GL=egl, osmesa or glfw selects one. Received: {'; '.join(failures)}"
    )
