"""Trains and evaluates few-shot classification of mini-ImageNet's classes (Section 5.2 of the paper, Table 1)."""

from maml_tf.commands.mini_imagenet import main

if __name__ == "__main__":
    main()
