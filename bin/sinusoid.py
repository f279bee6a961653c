"""Trains and evaluates MAML and its baselines on sinusoid regression (Section 5.1 of the paper)."""

from maml_tf.commands.sinusoid import main

if __name__ == "__main__":
    main()
