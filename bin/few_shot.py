"""Trains and evaluates few-shot classification of any registered data set."""

from maml_tf.commands.few_shot import main

if __name__ == "__main__":
    main()
