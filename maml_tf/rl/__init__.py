"""Meta-reinforcement learning, which needs the extra `rl`: tf-agents, TensorFlow Probability and MuJoCo.

Importing it is cheap. It prepares for tf-agents, which needs Keras 2 under the name `tf.keras`: import it before the
first use of tf-agents, TensorFlow Probability or `tf.keras`. maml_tf uses `import keras`, which stays Keras 3.
"""

import os

_FLAG = "TF_USE_LEGACY_KERAS"

if os.environ.setdefault(_FLAG, "1") not in ("1", "true", "True"):
    raise ImportError(
        f"Expected the environment variable {_FLAG} to be unset or 1 when maml_tf.rl is imported: tf-agents "
        f"needs Keras 2 as tf.keras. Received: {_FLAG}={os.environ[_FLAG]!r}"
    )
