"""Measures the weights of a classification training on the test classes again."""

from maml_tf.commands.evaluate import main

if __name__ == "__main__":
    main()
