"""What the experiments have in common: the run of a binary and the directory that it writes to."""
