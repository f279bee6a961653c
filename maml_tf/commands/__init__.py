"""The commands of `maml-tf`, one a module; the scripts in bin/ run the same."""
