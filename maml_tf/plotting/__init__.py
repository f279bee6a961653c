"""Figures of the paper, drawn without matplotlib's global state."""

from maml_tf.plotting.episode import episode_predictions
from maml_tf.plotting.learning_curves import learning_curves
from maml_tf.plotting.sinusoid import SinusoidFit, sinusoid_fits
from maml_tf.plotting.style import figure_to_image, save
from maml_tf.plotting.training_curves import training_curves
from maml_tf.plotting.trajectories import Trajectories, trajectories

__all__ = [
    "SinusoidFit",
    "Trajectories",
    "episode_predictions",
    "figure_to_image",
    "learning_curves",
    "save",
    "sinusoid_fits",
    "training_curves",
    "trajectories",
]
