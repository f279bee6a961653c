"""The locomotion models as plain MuJoCo, one simulation at a time: the ground truth of the batched ones."""

from __future__ import annotations

import importlib.resources
import os
import tempfile
import warnings

import numpy as np

from tests.support import with_rl  # noqa: F401

# isort: split
import gymnasium
import mujoco


def model(name: str) -> mujoco.MjModel:
    """Returns gymnasium's model with the constants of the paper's physics."""
    path = importlib.resources.files(gymnasium) / "envs" / "mujoco" / "assets" / f"{name}.xml"
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        # MuJoCo says, to the working directory too, that it will not know one of the file's attributes for ever.
        os.chdir(directory)
        warnings.simplefilter("ignore", UserWarning)
        made = mujoco.MjModel.from_xml_string(path.read_text())
        os.chdir(here)
    if name == "ant":
        made.opt.timestep = 0.02
        made.geom_solimp[:, :3] = 0.8, 0.8, 0.01
    return made


class Reference:
    """One simulation, with all that MuJoCo computes of its state."""

    def __init__(self, name: str, qpos: np.ndarray, qvel: np.ndarray):
        self.model = model(name)
        self.data = mujoco.MjData(self.model)
        self.data.qpos[:], self.data.qvel[:] = qpos, qvel
        self._forward()

    def step(self, control: np.ndarray) -> mujoco.MjData:
        self.data.ctrl[:] = control
        mujoco.mj_step(self.model, self.data)
        self._forward()
        return self.data

    def _forward(self) -> None:
        mujoco.mj_forward(self.model, self.data)
        mujoco.mj_subtreeVel(self.model, self.data)
        mujoco.mj_rnePostConstraint(self.model, self.data)
