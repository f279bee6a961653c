"""Makes an entry of maml_tf.pretrained: a training's best weights and a card."""

from maml_tf.commands.publish import main

if __name__ == "__main__":
    main()
