"""Trains and evaluates MAML with TRPO and its baselines in any registered environment."""

from maml_tf.commands.meta_rl import main

if __name__ == "__main__":
    main()
