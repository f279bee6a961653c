"""The experiments of the paper, each a configuration and a function that runs it."""
