"""What a policy is made of, so that its weights can be used again."""

from __future__ import annotations

import dataclasses

from maml_tf.configuration import Configuration, setting
from maml_tf.rl.environments import environments


@dataclasses.dataclass(frozen=True)
class PolicyConfig(Configuration):
    """What the policy of a method depends on.

    A training's configuration has more fields, and so has the card of `maml_tf.pretrained`; these make the policy.
    """

    environment: str = setting("point_navigation", "Environment whose tasks are learned.", choices=environments)
    hidden: int = setting(100, "Units of each of the policy's two hidden layers.", minimum=1)
