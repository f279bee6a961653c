"""The core: adaptation and meta-gradients, on TensorFlow and Keras alone."""
