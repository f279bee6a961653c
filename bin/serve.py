"""Serves a model that adapts to many tenants, over HTTP; needs the extra serve."""

from maml_tf.commands.serve import main

if __name__ == "__main__":
    main()
