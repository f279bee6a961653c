"""What the experiments have in common: the run of a binary."""
