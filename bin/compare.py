"""Trains and tests few-shot methods under one setting, and writes a table of them."""

from maml_tf.commands.compare import main

if __name__ == "__main__":
    main()
