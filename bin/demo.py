"""Shows a page to try maml_tf in the browser: characters, sinusoids, navigation; needs the extra demo."""

from maml_tf.commands.demo import main

if __name__ == "__main__":
    main()
