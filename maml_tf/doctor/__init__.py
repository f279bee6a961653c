"""Diagnosis of learners: measurements, their interpretation, and their display."""
