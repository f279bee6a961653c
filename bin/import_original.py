"""Reads a TensorFlow 1 checkpoint of the original implementation."""

from maml_tf.commands.import_original import main

if __name__ == "__main__":
    main()
