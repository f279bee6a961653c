"""Trains and evaluates MAML with TRPO and its baselines on 2D navigation (Section 5.3 of the paper, Figure 4)."""

from maml_tf.commands.point_navigation import main

if __name__ == "__main__":
    main()
