"""Trains and evaluates few-shot classification of Omniglot characters (Section 5.2 of the paper, Tables 1 and 3)."""

from maml_tf.commands.omniglot import main

if __name__ == "__main__":
    main()
