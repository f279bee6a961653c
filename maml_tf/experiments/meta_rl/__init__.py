"""Meta-reinforcement learning: Section 5.3, Figures 4 and 5, Tables 4 and 5."""
