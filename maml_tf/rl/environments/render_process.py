"""Draws states of a MuJoCo model in a separate program, `python render_process.py FOLDER WIDTH HEIGHT CAMERA`.

Mesa's software renderer and TensorFlow each bring a copy of LLVM, and crash in one process. This program therefore
imports only MuJoCo and NumPy, and nothing of maml_tf. FOLDER holds model.mjb and qpos.npy; the program writes
frames.npy.
"""

import pathlib
import sys

import mujoco
import numpy as np


def main(folder: str, width: str, height: str, camera: str) -> None:
    """Draws every state from a camera of the model.

    Args:
        folder: Holds the model, and qpos float64 [frames, positions]; frames uint8 [frames, height, width, 3] are
            written to it.
        width: Pixels.
        height: Pixels.
        camera: The camera's name.
    """
    directory = pathlib.Path(folder)
    model = mujoco.MjModel.from_binary_path(str(directory / "model.mjb"))
    # The engine's buffer has 640 x 480 pixels by default.
    model.vis.global_.offwidth, model.vis.global_.offheight = int(width), int(height)
    data = mujoco.MjData(model)
    renderer = mujoco.Renderer(model, int(height), int(width))
    frames = []
    for qpos in np.load(directory / "qpos.npy"):
        data.qpos[:] = qpos
        mujoco.mj_forward(model, data)
        renderer.update_scene(data, camera)
        # These take half of the time of software rendering.
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        frames.append(renderer.render())
    np.save(directory / "frames.npy", np.stack(frames))
    renderer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
