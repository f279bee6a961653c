"""Pictures of MuJoCo simulations, with or without a display."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from maml_tf.rl.environments.engine import mujoco

_PROGRAM = pathlib.Path(__file__).with_name("render_process.py")
# MuJoCo's names of what draws without a display, in the order to try.
_BACKENDS = ("egl", "osmesa")


def draw_states(model: mujoco.MjModel, qpos: np.ndarray, width: int, height: int) -> np.ndarray:
    """Draws states from the model's camera "track", in a process of its own.

    The environment variable MUJOCO_GL chooses what draws; without it, EGL is tried and then OSMesa.

    Args:
        model: The model.
        qpos: Positions of each state, [frames, positions].
        width: Pixels.
        height: Pixels.

    Returns:
        uint8 [frames, height, width, 3].

    Raises:
        ValueError: If width or height is not positive.
        RuntimeError: If nothing on this machine can draw.
    """
    if width < 1 or height < 1:
        raise ValueError(f"Expected width and height of at least 1. Received: width={width}, height={height}")
    chosen = os.environ.get("MUJOCO_GL")
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        mujoco.mj_saveModel(model, os.path.join(folder, "model.mjb"), None)
        np.save(os.path.join(folder, "qpos.npy"), np.asarray(qpos, np.float64))
        for backend in [chosen] if chosen else _BACKENDS:
            done = subprocess.run(
                [sys.executable, _PROGRAM, folder, str(width), str(height)],
                env={**os.environ, "MUJOCO_GL": backend},
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
        f"libosmesa6; MUJOCO_GL=egl, osmesa or glfw chooses. Received: {'; '.join(failures)}"
    )
