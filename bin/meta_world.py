"""Trains and evaluates MAML with TRPO, or another method, on ML1 and ML10 of Meta-World."""

from maml_tf.commands.meta_world import main

if __name__ == "__main__":
    main()
