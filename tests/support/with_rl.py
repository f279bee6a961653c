"""Import this before tf_agents: it imports maml_tf.rl.agents, which sets what tf_agents needs."""

import maml_tf.rl.agents  # noqa: F401
