"""Makes mini-ImageNet of ImageNet's training images and the split's lists."""

from maml_tf.commands.prepare_mini_imagenet import main

if __name__ == "__main__":
    main()
