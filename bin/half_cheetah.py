"""Trains and evaluates MAML with TRPO and its baselines on the half-cheetah (Section 5.3 of the paper, Figure 5)."""

from maml_tf.commands.half_cheetah import main

if __name__ == "__main__":
    main()
