"""Exports what was trained as a model that adapts without maml_tf."""

from maml_tf.commands.export import main

if __name__ == "__main__":
    main()
