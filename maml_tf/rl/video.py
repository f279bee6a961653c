"""Videos of rollouts, as GIF or MP4."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable

import imageio.v3 as imageio
import numpy as np

from maml_tf.checks import number, whole_number
from maml_tf.files import save_atomically
from maml_tf.rl.environments import DrawableEnvironment


def film(
    environment: DrawableEnvironment,
    policy: Callable[[np.ndarray], np.ndarray],
    *,
    simulation: int = 0,
    every: int = 1,
    width: int = 320,
    height: int = 240,
) -> np.ndarray:
    """Runs a policy from initial states, and draws one simulation until it is done.

    Args:
        environment: The environment, with its tasks set; it is reset.
        policy: Maps observations [B, observation] to actions [B, action].
        simulation: Number of the simulation to draw.
        every: Steps between two pictures.
        width: Pixels.
        height: Pixels.

    Returns:
        uint8 [frames, height, width, 3].

    Raises:
        TypeError: If the environment cannot be drawn.
        ValueError: If `every` is not positive.
    """
    if not isinstance(environment, DrawableEnvironment):
        raise TypeError(f"Expected environment to be a DrawableEnvironment. Received: {type(environment).__name__}")
    whole_number("every", every, minimum=1)
    observations = environment.reset_batch()
    snapshots, done, steps = [environment.snapshot(simulation)], np.zeros(environment.batch_size, bool), 0
    while not done[simulation]:
        observations, _, done = environment.step_batch(policy(observations))
        steps += 1
        if steps % every == 0 or done[simulation]:
            snapshots.append(environment.snapshot(simulation))
    return environment.draw(np.stack(snapshots), width, height)


def write_video(path: str | os.PathLike[str], frames: np.ndarray, frames_per_second: float) -> pathlib.Path:
    """Writes a video, completely or not at all.

    Args:
        path: The file, ending in .gif or .mp4.
        frames: uint8 [frames, height, width, 3]; for .mp4, even height and width.
        frames_per_second: Speed; GIF players round the time of a frame to hundredths of a second.

    Returns:
        The path.

    Raises:
        ValueError: If the path has another ending, the frames have another form, or the speed is not positive.
    """
    path = pathlib.Path(path)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
        raise ValueError(
            f"Expected frames uint8 [frames, height, width, 3]. Received: {frames.dtype} {list(frames.shape)}"
        )
    number("frames_per_second", frames_per_second, positive=True)
    if path.suffix == ".gif":
        options = {"plugin": "pillow", "duration": 1000 / frames_per_second, "loop": 0}
    elif path.suffix == ".mp4":
        options = {"plugin": "FFMPEG", "fps": frames_per_second, "macro_block_size": 2}
    else:
        raise ValueError(f"Expected a path that ends in .gif or .mp4. Received: {str(path)!r}")
    return save_atomically(path, lambda temporary: imageio.imwrite(temporary, frames, **options))
