"""An algorithm in one file. Try it: see docs/contributing/algorithm.md."""

import maml_tf
from maml_tf.algorithms import algorithms
from maml_tf.methods import Method, methods


class Halves(maml_tf.Algorithm):
    """Minimizes the mean of the query losses before and after adaptation."""

    first_order = True

    def loss(self, functions, theta, task, steps, iteration):
        before, _ = super().loss(functions, theta, task, 0, iteration)
        after, outcome = super().loss(functions, theta, task, steps, iteration)
        return (before + after) / 2, outcome


algorithms.register("halves", Halves())
methods.register("halves", Method("halves", {"classification": {"inner_steps": 2}}, algorithm="halves"))
