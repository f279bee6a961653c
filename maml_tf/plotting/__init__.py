"""Figures of the paper, drawn outside of matplotlib's global state."""

from maml_tf.plotting.comparison import method_comparison
from maml_tf.plotting.costs import cost_curves
from maml_tf.plotting.curves import learning_curves, training_curves
from maml_tf.plotting.diagnosis import diagnosis_figure
from maml_tf.plotting.episode import episode_predictions
from maml_tf.plotting.navigation import Trajectories, trajectories
from maml_tf.plotting.sinusoid import SinusoidFit, sinusoid_fits
from maml_tf.plotting.style import figure_to_image, save, write_figures

__all__ = [
    "SinusoidFit",
    "Trajectories",
    "cost_curves",
    "diagnosis_figure",
    "episode_predictions",
    "figure_to_image",
    "learning_curves",
    "method_comparison",
    "save",
    "sinusoid_fits",
    "training_curves",
    "trajectories",
    "write_figures",
]
