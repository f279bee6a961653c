"""A policy that a training of meta-reinforcement learning kept."""

from __future__ import annotations

import dataclasses
import os
import pathlib

from maml_tf import pretrained
from maml_tf.configuration import from_dict
from maml_tf.experiments.meta_rl_config import MetaRLConfig
from maml_tf.experiments.meta_rl_methods import build_environment, build_policy
from maml_tf.results import POLICY, RESULTS
from maml_tf.rl.policy import GaussianPolicy
from maml_tf.training import load_weights, read_json


@dataclasses.dataclass(frozen=True)
class TrainedPolicy:
    """What there is to know of a policy that was trained.

    Attributes:
        method: One of `maml_tf.experiments.meta_rl_config.METHODS`.
        config: The training's configuration.
        weights: File of its weights before adaptation: what `save` or `save_weights` wrote.

    Example:
    >>> from maml_tf.experiments.trained_policy import TrainedPolicy
    >>> trained = TrainedPolicy.of_entry("point_navigation")
    >>> trained.method, trained.config.environment, trained.load().count_params()
    ('maml', 'point_navigation', 10604)
    """

    method: str
    config: MetaRLConfig
    weights: pathlib.Path

    @classmethod
    def of_training(cls, logdir: str | os.PathLike[str], method: str) -> TrainedPolicy:
        """Finds the policy that a training kept.

        Args:
            logdir: Directory of a training that was evaluated, with results.json.
            method: Whose policy.

        Returns:
            The policy; whether its file is there, `load` finds out.

        Raises:
            FileNotFoundError: If there is no evaluated training.
            ValueError: If its results are not those of meta-reinforcement learning.
        """
        logdir = pathlib.Path(logdir).expanduser()
        results = logdir / RESULTS
        if not results.is_file():
            raise FileNotFoundError(f"Expected a training that was evaluated. Received: no {str(results)!r}")
        content = read_json(results)
        if "environment" not in content.get("config", {}):
            raise ValueError(f"Expected results of meta-reinforcement learning. Received: others in {str(results)!r}")
        return cls(method, from_dict(MetaRLConfig, content["config"]), logdir / method / POLICY)

    @classmethod
    def of_entry(cls, name: str, folder: str | os.PathLike[str] | None = None) -> TrainedPolicy:
        """Finds a policy of `maml_tf.pretrained`.

        Args:
            name: One of `maml_tf.pretrained.available()`.
            folder: Folder of the entries, by default the package's.

        Raises:
            ValueError: If there is no such entry, or it learned from images.
        """
        card = pretrained.card(name, folder)
        if "environment" not in card["config"]:
            raise ValueError(
                f"Expected an entry of reinforcement learning. Received: {name!r}, of images: bin/evaluate.py"
            )
        config = from_dict(MetaRLConfig, card["config"])
        return cls(card["training"]["method"], config, pretrained.weights_path(name, folder))

    def load(self) -> GaussianPolicy:
        """Builds the policy and reads its weights.

        Returns:
            The policy before adaptation.

        Raises:
            FileNotFoundError: If there is no file of weights.
            ValueError: If they are not those of the method's policy.
        """
        policy = build_policy(self.method, self.config, build_environment(self.method, self.config, 1))
        load_weights(policy, self.weights)
        return policy
