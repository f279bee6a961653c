"""The configuration of a policy, needed to use its weights again."""

from __future__ import annotations

import dataclasses

from maml_tf.configuration import Configuration, setting
from maml_tf.rl.environments import environments


@dataclasses.dataclass(frozen=True)
class PolicyConfig(Configuration):
    """The settings that define a method's policy.

    A training's configuration and the card of `maml_tf.pretrained` have more fields; the policy depends only on these.
    """

    environment: str = setting("point_navigation", "Environment whose tasks are learned.", choices=environments)
    hidden: int = setting(100, "Units of each of the policy's two hidden layers.", minimum=1)
