"""Runs an experiment under many settings and seeds, side by side, and writes one table of them."""

from maml_tf.commands.sweep import main

if __name__ == "__main__":
    main()
