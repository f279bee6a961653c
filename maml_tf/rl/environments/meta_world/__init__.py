"""Meta-World's benchmarks ML1 and ML10 (Yu et al., 2020): a robot arm that is not told its goal.

They need an environment of Python of their own, because Meta-World asks for MuJoCo 3.3.0:
`python3 bin/bootstrap.py meta_world`. The names of the benchmarks need neither Meta-World nor TensorFlow.
"""

from maml_tf.rl.environments.meta_world.benchmarks import NAMES

__all__ = ["NAMES"]
