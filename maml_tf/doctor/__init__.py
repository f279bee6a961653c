"""Diagnosis of learners: what is measured, what it means, and how it is shown."""
