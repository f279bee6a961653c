"""A sweep: an experiment under many settings, each from several seeds, a process a run, and one table of all of them.

Nothing here imports TensorFlow.
"""
