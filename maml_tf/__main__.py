"""`python -m maml_tf` is `maml-tf`."""

from maml_tf.commands.launcher import main

if __name__ == "__main__":
    main()
