"""Networks and training settings that data sets of colour images share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# oneDNN's convolutions are faster on maps of 84 x 84 on every processor; TensorFlow enables them by default only with
# AVX-512.
ENVIRONMENT = {"TF_ENABLE_ONEDNN_OPTS": "1"}


def conv(ways: int, **options: Any) -> Any:
    """Builds four convolutions with pooling, the network of mini-ImageNet, for the images of a data set."""
    # Imported here because names of data sets are listed without TensorFlow.
    from maml_tf.models import mini_imagenet_conv

    return mini_imagenet_conv(ways, **options)


def resnet12(ways: int, *, drop_rate: float = 0.0, **options: Any) -> Any:
    """Builds ResNet-12."""
    from maml_tf import models

    return models.resnet12(ways, drop_rate=drop_rate, **options)


def wrn_28_10(ways: int, *, drop_rate: float = 0.0, **options: Any) -> Any:
    """Builds WRN-28-10."""
    from maml_tf import models

    return models.wide_resnet(ways, drop_rate=drop_rate, **options)


NETWORKS = {"conv": conv, "resnet12": resnet12, "wrn_28_10": wrn_28_10}


def five_way_presets(
    *, evaluation_queries: int | None = 15, paper: Mapping[str, Any] | None = None
) -> dict[str, dict[str, Any]]:
    """Returns training settings for 5 classes with 1 and 5 shots, and for baselines.

    Args:
        evaluation_queries: Query examples of each class in validation and test; None uses the number of shots.
        paper: The paper's settings, for presets with _paper added to their names; None makes no such presets.

    Returns:
        A dictionary from the name of a preset to fields of the configuration.
    """
    found: dict[str, dict[str, Any]] = {}
    for shots in (1, 5):
        common = {
            "ways": 5, "shots": shots, "queries": 15, "evaluation_queries": evaluation_queries or shots,
            "meta_batch_size": 4 if shots == 1 else 2,
            "inner_steps": 5,
            "evaluation_steps": 10,
            "filters": 32,
            "validate_every": 1000,
            "validation_tasks": 200 if shots == 1 else 100,
        }  # fmt: skip
        fastest = {"loss_scale": "mean", "inner_learning_rate": 0.05, "head": "zeros"}
        for suffix, options in (("", {}), ("_first_order", {"first_order": True})):
            found[f"5way_{shots}shot{suffix}"] = {**common, **fastest, **options}
            if paper:
                found[f"5way_{shots}shot{suffix}_paper"] = {**common, **paper, **options}
        for method in ("pretrained", "random"):
            found[f"5way_{shots}shot_{method}"] = {**found[f"5way_{shots}shot"], "method": method}
    return found
