"""Measures a trained policy on the test tasks again."""

from maml_tf.commands.evaluate_policy import main

if __name__ == "__main__":
    main()
