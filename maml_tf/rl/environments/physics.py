"""Many simulations of one MuJoCo model, advanced together on the processor's threads."""

from __future__ import annotations

import importlib.resources
import time
from collections.abc import Callable

import numpy as np

from maml_tf.rl.environments.drawing import without_osmesa
from maml_tf.rl.environments.threads import default_threads

try:
    with without_osmesa():
        import gymnasium
        import mujoco
        from mujoco import batch
except ImportError as error:
    raise ImportError(
        "Expected gymnasium and MuJoCo 3.17 or later: in the project's folder, run: pip install '.[rl]'. "
        f"Received: {error}"
    ) from error

_INSTABILITIES = [int(getattr(mujoco.mjtWarning, f"mjWARN_BAD{name}")) for name in ("QPOS", "QVEL", "QACC")]


def gymnasium_model(name: str) -> mujoco.MjSpec:
    """Loads the model of a body from gymnasium; it may be changed before it is simulated.

    Args:
        name: File name without its suffix, such as "half_cheetah" or "ant".

    Returns:
        The model's specification, with sensors "centre_of_mass" and "velocity" of the whole body added.
    """
    path = importlib.resources.files(gymnasium) / "envs" / "mujoco" / "assets" / f"{name}.xml"
    spec = mujoco.MjSpec.from_string(path.read_text(encoding="utf-8"))
    for sensor, kind in (
        ("centre_of_mass", mujoco.mjtSensor.mjSENS_SUBTREECOM),
        ("velocity", mujoco.mjtSensor.mjSENS_SUBTREELINVEL),
    ):
        spec.add_sensor(name=sensor, type=kind, objtype=mujoco.mjtObj.mjOBJ_BODY, objname="torso")
    return spec


class Simulations:
    """B simulations of one model, whose states and outputs are live arrays.

    A step is `frame_skip` times MuJoCo's mj_step, then mj_forward up to the stage that the outputs need, so that
    outputs are those of the new state. The results are bitwise equal on any number of threads.

    MuJoCo logs a simulation that becomes unstable to MUJOCO_LOG.TXT in the working directory.

    Args:
        spec: The model.
        count: B.
        timestep: Seconds of one mj_step.
        frame_skip: Number of mj_step calls in a step.
        contact_forces: Whether contact forces are computed, which costs a pass over the accelerations.
        threads: Threads to use; 0 for one on each processor core, or MAML_TF_SIMULATION_THREADS of the environment.

    Attributes:
        model: The compiled model.
        count: The argument.
        dt: Duration of a step in seconds.
        qpos: Positions, float64 [B, positions].
        qvel: Velocities, float64 [B, velocities].
        centre_of_mass: Centre of mass of the whole body, float64 [B, 3].
        velocity: The instantaneous velocity of that centre, float64 [B, 3].
    """

    def __init__(
        self,
        spec: mujoco.MjSpec,
        count: int,
        *,
        timestep: float,
        frame_skip: int,
        contact_forces: bool = False,
        threads: int = 0,
    ):
        spec.option.timestep = timestep
        if contact_forces:
            # The engine computes contact forces on bodies only if a sensor of accelerations needs them.
            kind, body = mujoco.mjtSensor.mjSENS_FRAMELINACC, mujoco.mjtObj.mjOBJ_BODY
            spec.add_sensor(name="acceleration", type=kind, objtype=body, objname="torso")
        self.model = _compiled(spec)
        self.count, self.dt = count, timestep * frame_skip
        self._frame_skip = frame_skip
        self._stage = int(mujoco.mjtStage.mjSTAGE_ACC if contact_forces else mujoco.mjtStage.mjSTAGE_VEL)
        # A persistent batch keeps mj_forward's results for positions and velocities for the next mj_step. If
        # accelerations are computed too, these results are the smaller part, and keeping them saves nothing.
        threads = threads or default_threads()
        self._batch = batch.Batch(self.model, count, threads, persistent=not contact_forces)
        self.qpos, self.qvel = self._batch.bind("qpos"), self._batch.bind("qvel")
        sensors = self._batch.bind("sensordata")
        self.centre_of_mass, self.velocity = sensors[:, :3], sensors[:, 3:6]
        self._control = self._batch.bind("ctrl")

    def output(self, name: str) -> np.ndarray:
        """Returns the live array, [B, ...], of another field of mjData, such as "xmat"; zero until the next call."""
        return self._batch.bind(name)

    def set_state(self, simulations: np.ndarray, qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Puts simulations into states, without any trace of earlier states.

        Args:
            simulations: bool [B], the n simulations to set.
            qpos: [n, positions]; quaternions in it are normalized.
            qvel: [n, velocities].
        """
        ids = np.flatnonzero(simulations)
        self._batch.reset(ids, stage=int(mujoco.mjtStage.mjSTAGE_NONE))
        qpos = np.array(qpos, np.float64, order="C")
        if self.model.nq != self.model.nv:  # The model has a quaternion.
            for row in qpos:
                mujoco.mj_normalizeQuat(self.model, row)
        self.qpos[ids], self.qvel[ids] = qpos, qvel
        self._batch.forward(ids, self._stage)

    def step(self, controls: np.ndarray, simulations: np.ndarray) -> np.ndarray:
        """Advances simulations by a step.

        Args:
            controls: [B, controls].
            simulations: bool [B], the simulations to advance.

        Returns:
            Which simulations are sound, bool [B]: MuJoCo found no instability and raised no error.
        """
        sound = np.ones(len(simulations), bool)
        if np.all(simulations):
            ids = None
            self._control[:] = controls
        else:
            ids = np.flatnonzero(simulations)
            self._control[ids] = controls[ids]
        try:
            self._batch.step(ids, self._frame_skip, self._stage)
        except batch.SimulationError as error:
            sound[error.ids] = False
        sound &= ~self._batch.warning[:, _INSTABILITIES, 1].any(axis=1)
        return sound


def engine_loop(model: mujoco.MjModel, count: int) -> Callable[..., tuple[float, np.ndarray]]:
    """Makes the loop with which the collection of rollouts is compared: only mj_step and mj_forward.

    Args:
        model: The model.
        count: B, the number of simulations, on one thread for each processor core.

    Returns:
        A function of the start states, qpos [B, positions] and qvel [B, velocities], the controls
        [steps, B, controls], and the simulations that take each step, bool [steps, B]. It returns the steps per second
        over all simulations, and the positions at the end.
    """
    simulations = batch.Batch(model, count)
    control, positions, velocities = (simulations.bind(name) for name in ("ctrl", "qpos", "qvel"))
    stage = int(mujoco.mjtStage.mjSTAGE_ACC)

    def run(qpos: np.ndarray, qvel: np.ndarray, controls: np.ndarray, running: np.ndarray) -> tuple[float, np.ndarray]:
        simulations.reset()
        positions[:], velocities[:] = qpos, qvel
        simulations.forward(None, stage)
        ids = [None if of_step.all() else np.flatnonzero(of_step) for of_step in running]
        began = time.perf_counter()
        for of_step, who in zip(controls, ids, strict=True):
            control[:] = of_step
            simulations.step(who, 1, stage)
        return np.count_nonzero(running) / (time.perf_counter() - began), positions.copy()

    return run


def _compiled(spec: mujoco.MjSpec) -> mujoco.MjModel:
    # MuJoCo warns, on the terminal and in a file, about a total mass in the model's file, which is set afterwards.
    total_mass, spec.compiler.settotalmass = spec.compiler.settotalmass, -1.0
    model = spec.compile()
    if total_mass > 0:
        mujoco.mj_setTotalmass(model, total_mass)
        mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


def save_model(model: mujoco.MjModel, path: str) -> None:
    """Writes a model in MuJoCo's binary format."""
    mujoco.mj_saveModel(model, path, None)
