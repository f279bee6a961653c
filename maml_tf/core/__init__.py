"""The core: adaptation and meta-gradients, with TensorFlow and Keras only."""
