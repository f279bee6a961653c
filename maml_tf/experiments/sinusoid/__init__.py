"""Sinusoid regression: Section 5.1, Appendices B and C.1, Figures 2, 3, 6 and 7, Table 2."""
