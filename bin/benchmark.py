"""Times meta-iterations and the sampling of rollouts: one JSON line each."""

from maml_tf.commands.benchmark import main

if __name__ == "__main__":
    main()
